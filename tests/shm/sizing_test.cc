#include "pannier/shm/sizing.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <limits>

#include "harness.h"
#include "pannier/shm/copy.h"
#include "pannier/shm/machine_memory.h"

namespace pannier {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kGiB = uint64_t{1} << 30;
constexpr uint64_t kNoQuota = std::numeric_limits<uint64_t>::max();

TEST(Sizing, ParsesByteCounts) {
  EXPECT_EQ(ParseByteCount("4096"), 4096u);
  EXPECT_EQ(ParseByteCount("3K"), 3072u);
  EXPECT_EQ(ParseByteCount(" 512M "), 512 * kMiB);
  EXPECT_EQ(ParseByteCount("2G"), 2 * kGiB);
  for (const char* wrong : {"", "G", "-1", "+1", "1.5G", "12X", "1 000", "0", "0G",
                            "99999999999999999999", "99999999999G"}) {
    EXPECT_EQ(ParseByteCount(wrong), std::nullopt) << wrong;
  }
}

TEST(MachineMemory, ReadsNumbers) {
  const char* text = "MemTotal:       24684096 kB\nMemFree:  5 kB\ninactive_file 77\n";
  EXPECT_EQ(NumberAfter(text, "MemTotal:"), 24684096u);
  EXPECT_EQ(NumberAfter(text, "MemFree:"), 5u);
  EXPECT_EQ(NumberAfter(text, "inactive_file "), 77u);
  EXPECT_EQ(NumberAfter(text, "file "), std::nullopt) << "not inside of a line";
  EXPECT_EQ(NumberAfter("max\n", ""), std::nullopt);
  EXPECT_EQ(NumberAfter("", "MemTotal:"), std::nullopt);
}

TEST(MachineMemory, IsThere) {
  EXPECT_GE(UsableMemory(), 64 * kMiB);
  EXPECT_LT(AvailableMemory(), UsableMemory());
  EXPECT_GT(AvailableMemory(), 0u);
}

TEST(Sizing, TheQuotaIsTheVariablesOrHalfOfMemory) {
  ::unsetenv("PANNIER_POOL_QUOTA");
  EXPECT_EQ(*DefaultQuota(), UsableMemory() / 2);
  ::setenv("PANNIER_POOL_QUOTA", "96M", 1);
  EXPECT_EQ(*DefaultQuota(), 96 * kMiB);
  ::setenv("PANNIER_POOL_QUOTA", "much", 1);
  EXPECT_EQ(KindOf(DefaultQuota().status()), ErrorKind::kInvalidArgument);
  EXPECT_NE(DefaultQuota().status().message().find("much"), std::string::npos);
  EXPECT_EQ(KindOf(Pool::Create().status()), ErrorKind::kInvalidArgument);
  ::unsetenv("PANNIER_POOL_QUOTA");
}

TEST(Sizing, SegmentsDoubleThePool) {
  uint64_t held = 0;
  std::vector<uint64_t> sizes;
  for (int i = 0; i < 9; ++i) {
    sizes.push_back(NextSegmentBytes(kPage, held, kNoQuota, kPage) / kMiB);
    held += sizes.back() * kMiB;
  }
  EXPECT_EQ(sizes, (std::vector<uint64_t>{4, 4, 8, 16, 32, 64, 128, 256, 256}));
}

TEST(Sizing, ASegmentHoldsItsRequest) {
  EXPECT_EQ(NextSegmentBytes(5 * kMiB, 0, kNoQuota, kPage), 5 * kMiB);
  EXPECT_EQ(NextSegmentBytes(256 * kMiB, 0, kNoQuota, kPage), 256 * kMiB);
  EXPECT_EQ(NextSegmentBytes(256 * kMiB + kPage, 4 * kMiB, kNoQuota, kPage), 258 * kMiB);
  EXPECT_EQ(NextSegmentBytes(5 * kGiB + kPage, kGiB, kNoQuota, kPage), 5 * kGiB + 2 * kMiB);
}

TEST(Sizing, SegmentsStayWithinTheQuota) {
  EXPECT_EQ(NextSegmentBytes(kPage, 4 * kMiB, 5 * kMiB, kPage), kMiB);
  EXPECT_EQ(NextSegmentBytes(kMiB, 4 * kMiB, 5 * kMiB, kPage), kMiB);
  EXPECT_EQ(NextSegmentBytes(kMiB + kPage, 4 * kMiB, 5 * kMiB, kPage), 0u);
  EXPECT_EQ(NextSegmentBytes(kPage, 5 * kMiB, 5 * kMiB, kPage), 0u);
  EXPECT_EQ(NextSegmentBytes(kPage, 6 * kMiB, 5 * kMiB, kPage), 0u);
  EXPECT_EQ(NextSegmentBytes(kPage, 0, kPage + 5, kPage), kPage) << "whole pages of the quota";
  EXPECT_EQ(NextSegmentBytes(257 * kMiB, 0, 257 * kMiB, kPage), 257 * kMiB);
  EXPECT_EQ(NextSegmentBytes(~kPage + 1, 0, kNoQuota, kPage), 0u) << "no size wraps around";
}

TEST(Copy, OfAnySizeAndAlignment) {
  constexpr size_t kStreamed = 16 * kMiB;
  std::vector<std::byte> from(kStreamed + 4096);
  std::vector<std::byte> to(kStreamed + 8192);
  Fill(from, 5);
  for (const size_t size :
       {size_t{0}, size_t{1}, size_t{4097}, kStreamed - 1, kStreamed, kStreamed + 1001}) {
    for (const size_t shift : {0, 1, 63}) {
      const size_t skip = 2 * shift + 64;
      std::fill(to.begin(), to.end(), std::byte{0xee});
      CopyPayload(to.data() + skip, from.data() + shift, size);
      EXPECT_TRUE(std::equal(from.begin() + shift, from.begin() + shift + size, to.begin() + skip))
          << size << " bytes from " << shift;
      EXPECT_EQ(to[skip - 1], std::byte{0xee});
      EXPECT_EQ(to[skip + size], std::byte{0xee});
    }
  }
}

}  // namespace
}  // namespace pannier

#include "pannier/base/bytes.h"

#include <gtest/gtest.h>

#include <limits>

namespace pannier {
namespace {

constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();

TEST(Checked, OverflowIsNothing) {
  EXPECT_EQ(CheckedAdd(kMax - 1, 1), kMax);
  EXPECT_EQ(CheckedAdd(kMax, 1), std::nullopt);
  EXPECT_EQ(CheckedMul(1ull << 32, 1ull << 31), 1ull << 63);
  EXPECT_EQ(CheckedMul(1ull << 32, 1ull << 32), std::nullopt);
}

TEST(RangeInside, HoldsAtTheEdgesAndCannotOverflow) {
  EXPECT_TRUE(RangeInside(0, 0, 0));
  EXPECT_TRUE(RangeInside(4, 4, 8));
  EXPECT_TRUE(RangeInside(8, 0, 8));
  EXPECT_FALSE(RangeInside(8, 1, 8));
  EXPECT_FALSE(RangeInside(9, 0, 8));
  EXPECT_FALSE(RangeInside(kMax, 2, 8));
  EXPECT_FALSE(RangeInside(1, kMax, 8));
}

TEST(ByteReader, ReadsWhatTheWriterWrote) {
  std::string out;
  ByteWriter writer(&out);
  writer.Write<uint32_t>(0x04030201);
  writer.Write<uint8_t>(5);
  writer.WriteSpan(AsBytes("tail"));
  EXPECT_EQ(out.substr(0, 5), std::string("\x01\x02\x03\x04\x05"));
  ByteReader reader(AsBytes(out));
  EXPECT_EQ(reader.Read<uint32_t>(), 0x04030201u);
  EXPECT_EQ(reader.Read<uint8_t>(), 5);
  EXPECT_EQ(AsText(reader.ReadSpan(4)), "tail");
  EXPECT_TRUE(reader.ok());
  EXPECT_EQ(reader.remaining(), 0u);
}

TEST(ByteReader, StaysFailedPastTheEnd) {
  ByteReader reader(AsBytes("abc"));
  EXPECT_EQ(reader.Read<uint32_t>(), 0u);
  EXPECT_FALSE(reader.ok());
  EXPECT_EQ(reader.Read<uint8_t>(), 0);
  EXPECT_TRUE(reader.ReadSpan(kMax).empty());
}

}  // namespace
}  // namespace pannier

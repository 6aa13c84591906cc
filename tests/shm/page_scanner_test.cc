#include "pannier/shm/page_scanner.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <random>
#include <set>

#include "harness.h"
#include "pannier/shm/memfd.h"

namespace pannier {
namespace {

// Pages of the range that are in this process's page tables.
size_t Present(const Mapping& mapping, size_t pages) {
  const UniqueFd pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  std::vector<uint64_t> entries(pages);
  const auto first = reinterpret_cast<uint64_t>(mapping.data()) / PageBytes();
  if (::pread(pagemap.get(), entries.data(), pages * 8, static_cast<off_t>(first * 8)) < 0)
    return 0;
  size_t count = 0;
  for (const uint64_t entry : entries) count += entry >> 63;
  return count;
}

class PageScannerTest : public ::testing::Test {
 protected:
  static constexpr size_t kPages = 200;
  PageScannerTest()
      : size_(kPages * PageBytes()),
        fd_(CreateMemfd("test", size_).value()),
        owner_(Mapping::Create(fd_.get(), Access::kShared, 0, size_).value()),
        reader_(Mapping::Create(fd_.get(), Access::kPrivate, 0, size_).value()) {
    std::memset(owner_.data(), 1, size_);
  }
  std::byte& At(size_t page) { return reader_.data()[page * PageBytes() + 5]; }
  void Read() {
    for (size_t page = 0; page < kPages; ++page) sum_ = sum_ + static_cast<uint64_t>(At(page));
  }

  const uint64_t size_;
  UniqueFd fd_;
  Mapping owner_;
  Mapping reader_;
  volatile uint64_t sum_ = 0;
};

TEST_F(PageScannerTest, DropsWhatWasWrittenHoweverScattered) {
  std::mt19937 random(7);
  const PageScanner scanner;
  for (const size_t written : {0, 1, 3, 16, 17, 60, 200}) {
    Read();
    std::set<size_t> pages;
    while (pages.size() < written) pages.insert(random() % kPages);
    for (const size_t page : pages) At(page) = std::byte{9};
    // Outside of the range: stays.
    const bool kept = pages.contains(0);
    EXPECT_TRUE(scanner.DropWritten(reader_, PageBytes(), size_ - PageBytes()));
    EXPECT_EQ(At(0), kept ? std::byte{9} : std::byte{1});
    for (size_t page = 1; page < kPages; ++page) {
      ASSERT_EQ(At(page), std::byte{1}) << "page " << page << " of " << written << " written";
    }
    EXPECT_TRUE(scanner.DropWritten(reader_, 0, size_));
    EXPECT_EQ(At(0), std::byte{1});
  }
}

TEST_F(PageScannerTest, LeavesWhatWasReadAlone) {
  const PageScanner scanner;
  Read();
  if (Present(reader_, kPages) != kPages) GTEST_SKIP() << "the page tables cannot be seen here";
  At(3) = std::byte{9};
  EXPECT_TRUE(scanner.DropWritten(reader_, 0, size_));
  const size_t left = Present(reader_, kPages);
  if (left == 0) GTEST_SKIP() << "this kernel has no PAGEMAP_SCAN";
  EXPECT_EQ(left, kPages - 1);
  // What is left are the file's pages: the owner's next write shows.
  std::memset(owner_.data(), 2, size_);
  for (size_t page = 0; page < kPages; ++page) ASSERT_EQ(At(page), std::byte{2});
}

TEST_F(PageScannerTest, DropsEverythingWhereTheKernelCannotTell) {
  const PageScanner none{UniqueFd()};
  const PageScanner wrong{UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC))};
  for (const PageScanner* scanner : {&none, &wrong}) {
    Read();
    At(3) = std::byte{9};
    EXPECT_TRUE(scanner->DropWritten(reader_, 0, size_));
    EXPECT_EQ(Present(reader_, kPages), 0u);
    EXPECT_EQ(At(3), std::byte{1});
  }
}

}  // namespace
}  // namespace pannier

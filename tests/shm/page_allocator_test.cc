#include "pannier/shm/page_allocator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <vector>

#include "harness.h"

namespace pannier {
namespace {

TEST(PageAllocator, GivesAndTakes) {
  PageAllocator allocator;
  EXPECT_EQ(allocator.Allocate(1), kNoBlock);
  allocator.AddSegment(5, 100);
  const BlockId a = allocator.Allocate(60);
  ASSERT_NE(a, kNoBlock);
  EXPECT_EQ(allocator.run(a).segment, 5u);
  EXPECT_EQ(allocator.run(a).pages, 60u);
  EXPECT_EQ(allocator.Allocate(41), kNoBlock);
  const BlockId b = allocator.Allocate(40);
  ASSERT_NE(b, kNoBlock);
  EXPECT_EQ(allocator.used_pages(), 100u);
  EXPECT_EQ(allocator.used_blocks(), 2u);
  EXPECT_EQ(allocator.Find(5, allocator.run(a).first + 59), a);
  EXPECT_EQ(allocator.Find(5, allocator.run(b).first), b);
  EXPECT_EQ(allocator.Find(5, 100), kNoBlock);
  EXPECT_EQ(allocator.Find(6, 0), kNoBlock);
  allocator.Free(a);
  EXPECT_EQ(allocator.Find(5, allocator.run(b).first == 0 ? 99 : 0), kNoBlock);
  allocator.Free(b);
  EXPECT_OK(allocator.Audit());
  EXPECT_NE(allocator.Allocate(100), kNoBlock) << "free neighbours are joined";
  EXPECT_OK(allocator.Audit());
}

TEST(PageAllocator, ReusesTheLastFreedFirst) {
  PageAllocator allocator;
  allocator.AddSegment(1, 1000);
  std::vector<BlockId> blocks;
  for (int i = 0; i < 10; ++i) blocks.push_back(allocator.Allocate(3));
  std::vector<uint64_t> freed;
  for (const int i : {2, 7, 4}) {
    freed.push_back(allocator.run(blocks[i]).first);
    allocator.Free(blocks[i]);
  }
  allocator.Free(blocks[0]);
  const BlockId other = allocator.Allocate(5);  // another size takes none of them
  EXPECT_EQ(std::count(freed.begin(), freed.end(), allocator.run(other).first), 0);
  EXPECT_NE(allocator.Allocate(3), kNoBlock);
  for (int i = 2; i >= 0; --i) EXPECT_EQ(allocator.run(allocator.Allocate(3)).first, freed[i]);
  EXPECT_OK(allocator.Audit());
}

TEST(PageAllocator, TakesABlockOfItsOwnClassWhenNothingElseIsLeft) {
  // 1023 pages are in the class [992, 1024): a search that rounds up does not see them.
  PageAllocator allocator;
  allocator.AddSegment(1, 1023);
  const BlockId block = allocator.Allocate(1000);
  ASSERT_NE(block, kNoBlock);
  EXPECT_EQ(allocator.run(block).pages, 1000u);
  EXPECT_NE(allocator.Allocate(23), kNoBlock);
  EXPECT_OK(allocator.Audit());
}

TEST(PageAllocator, RemovesAFreeSegmentAlone) {
  PageAllocator allocator;
  allocator.AddSegment(1, 10);
  allocator.AddSegment(2, 10);
  const BlockId block = allocator.Allocate(10);
  const uint32_t used = allocator.run(block).segment;
  EXPECT_FALSE(allocator.RemoveSegment(used));
  EXPECT_FALSE(allocator.RemoveSegment(3));
  EXPECT_EQ(allocator.FreeSegments(), std::vector<uint32_t>{3 - used});
  EXPECT_TRUE(allocator.RemoveSegment(3 - used));
  EXPECT_OK(allocator.Audit());
  EXPECT_EQ(allocator.pages(), 10u);
  allocator.Free(block);
  EXPECT_TRUE(allocator.RemoveSegment(used));
  EXPECT_EQ(allocator.pages(), 0u);
  EXPECT_EQ(allocator.Allocate(1), kNoBlock);
  EXPECT_OK(allocator.Audit());
}

TEST(PageAllocator, CountsPastFourGigabytes) {
  constexpr uint64_t k4GiB = (uint64_t{4} << 30) / 4096;
  PageAllocator allocator;
  allocator.AddSegment(1, k4GiB + 1);
  allocator.AddSegment(2, 3 * k4GiB + 7);
  const BlockId b = allocator.Allocate(2 * k4GiB);
  const BlockId c = allocator.Allocate(k4GiB + 7);
  const BlockId a = allocator.Allocate(k4GiB + 1);
  ASSERT_NE(a, kNoBlock);
  ASSERT_NE(b, kNoBlock);
  ASSERT_NE(c, kNoBlock);
  EXPECT_EQ(allocator.run(a).segment, 1u);
  EXPECT_EQ(allocator.run(c).first + allocator.run(c).pages, 3 * k4GiB + 7);
  EXPECT_EQ(allocator.Find(2, allocator.run(c).first), c);
  EXPECT_EQ(allocator.Find(2, allocator.run(c).first - 1), b);
  EXPECT_EQ(allocator.used_pages(), 4 * k4GiB + 8);
  EXPECT_OK(allocator.Audit());
  // Requests that no table has a row for.
  EXPECT_EQ(allocator.Allocate(uint64_t{1} << 51), kNoBlock);
  EXPECT_EQ(allocator.Allocate(~uint64_t{0}), kNoBlock);
}

// Random steps against a model that knows only which pages are used.
class PageAllocatorRandom : public ::testing::TestWithParam<int> {};

TEST_P(PageAllocatorRandom, AgreesWithAModel) {
  std::mt19937 random(GetParam());
  PageAllocator allocator;
  struct Block {
    BlockId id;
    PageRun run;
  };
  std::vector<Block> used;
  std::map<uint32_t, std::vector<bool>> pages;  // by segment: used or not
  uint32_t next_segment = 1;
  const auto free_run = [&](uint64_t length) {  // is there a free run that long?
    for (const auto& [id, segment] : pages) {
      uint64_t run = 0;
      for (const bool taken : segment) {
        run = taken ? 0 : run + 1;
        if (run >= length) return true;
      }
    }
    return false;
  };
  for (int step = 0; step < 4000; ++step) {
    const uint32_t what = random() % 100;
    if (what < 2 && pages.size() < 6) {
      const uint64_t length = 1 + random() % 400;
      allocator.AddSegment(next_segment, length);
      pages[next_segment++].assign(length, false);
    } else if (what < 4 && !pages.empty()) {
      const uint32_t id = std::next(pages.begin(), random() % pages.size())->first;
      const auto& segment = pages[id];
      const bool free = std::find(segment.begin(), segment.end(), true) == segment.end();
      ASSERT_EQ(allocator.RemoveSegment(id), free);
      if (free) pages.erase(id);
    } else if (what < 55) {
      const uint64_t length = random() % 4 == 0 ? 1 + random() % 200 : 1 + random() % 8;
      const BlockId id = allocator.Allocate(length);
      // Every request that a free run can hold is met: nothing is lost to classes or stack.
      ASSERT_EQ(id != kNoBlock, free_run(length)) << length << " pages, step " << step;
      if (id != kNoBlock) {
        const PageRun run = allocator.run(id);
        ASSERT_EQ(run.pages, length);
        auto& segment = pages.at(run.segment);
        for (uint64_t page = run.first; page < run.first + length; ++page) {
          ASSERT_FALSE(segment.at(page)) << "given twice";
          segment[page] = true;
        }
        used.push_back({id, run});
      }
    } else if (!used.empty()) {
      const size_t index = random() % used.size();
      const Block block = used[index];
      ASSERT_EQ(allocator.Find(block.run.segment, block.run.first + random() % block.run.pages),
                block.id);
      allocator.Free(block.id);
      used.erase(used.begin() + index);
      auto& segment = pages[block.run.segment];
      std::fill_n(segment.begin() + block.run.first, block.run.pages, false);
    }
    ASSERT_OK(allocator.Audit());
    ASSERT_EQ(allocator.used_blocks(), used.size());
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, PageAllocatorRandom, ::testing::Range(1, 9));

}  // namespace
}  // namespace pannier

#include "pannier/shm/page_index.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace pannier {
namespace {

TEST(PageIndex, FindsTheNearestStart) {
  for (const uint64_t pages : {1, 2, 63, 64, 65, 4096, 4097, 70000, 300000}) {
    SCOPED_TRACE(pages);
    PageIndex index(pages);
    EXPECT_EQ(index.AtOrBefore(pages - 1), PageIndex::kNone);
    index.Set(0, 7);
    EXPECT_EQ(index.AtOrBefore(0), 7u);
    EXPECT_EQ(index.AtOrBefore(pages - 1), 7u);
    index.Clear(0);
    index.Set(pages - 1, 9);
    EXPECT_EQ(index.AtOrBefore(pages - 1), 9u);
    if (pages > 1) {
      EXPECT_EQ(index.AtOrBefore(pages - 2), PageIndex::kNone);
    }
  }
}

TEST(PageIndex, AgreesWithAMap) {
  constexpr uint64_t kPages = 20000;
  std::mt19937 random(1);
  PageIndex index(kPages);
  std::map<uint64_t, uint32_t> model;
  for (int step = 0; step < 100000; ++step) {
    // Few starts and many take turns, so that all levels are searched.
    const uint64_t page = step % 20000 < 10000 ? random() % kPages : random() % 300 * 64 % kPages;
    if (random() % 3 != 0 && model.contains(page)) {
      index.Clear(page);
      model.erase(page);
    } else if (random() % 2 == 0) {
      index.Set(page, step);
      model[page] = step;
    }
    const uint64_t asked = random() % kPages;
    const auto above = model.upper_bound(asked);
    ASSERT_EQ(index.AtOrBefore(asked),
              above == model.begin() ? PageIndex::kNone : std::prev(above)->second);
  }
  EXPECT_EQ(index.Count(), model.size());
}

}  // namespace
}  // namespace pannier

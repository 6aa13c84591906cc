// PageIndex: which block contains a page. One bit per page says that a block starts
// there, and summaries of 64 bits each above them make the search for the nearest
// start at or before a page a handful of word operations, whatever the segment's size.
//
// Not thread-safe. No operating system in it.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace pannier {

class PageIndex {
 public:
  static constexpr uint32_t kNone = ~uint32_t{0};

  explicit PageIndex(uint64_t pages);

  // A block starts at `page`. REQUIRES: page < pages.
  void Set(uint64_t page, uint32_t block);
  // No block starts at `page` any more.
  void Clear(uint64_t page);
  // The block that starts last at or before `page`, or kNone.
  uint32_t AtOrBefore(uint64_t page) const;
  // Number of starts, by counting; for audits.
  uint64_t Count() const;

 private:
  // levels_[0] has a bit per page; levels_[n + 1] a bit per word of levels_[n] that is
  // not zero. The last level is one word.
  std::vector<std::vector<uint64_t>> levels_;
  // By page; meaningful only where the bit is set, so the rest is never touched.
  std::unique_ptr<uint32_t[]> blocks_;
};

}  // namespace pannier

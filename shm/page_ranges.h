// PageRanges: which pages of a segment are on offer. Disjoint ranges; a range that
// overlaps one of them is refused.
//
// Not thread-safe. No operating system in it.
#pragma once

#include <cstdint>
#include <iterator>
#include <map>

namespace pannier {

class PageRanges {
 public:
  // Adds [begin, end). False, and nothing changed, if a page of it is in already.
  // REQUIRES: begin < end.
  bool Add(uint64_t begin, uint64_t end) {
    const auto next = ranges_.lower_bound(begin);
    if (next != ranges_.end() && next->first < end) return false;
    if (next != ranges_.begin() && std::prev(next)->second > begin) return false;
    ranges_.emplace_hint(next, begin, end);
    return true;
  }
  // REQUIRES: `begin` begins a range that was added.
  void Remove(uint64_t begin) { ranges_.erase(begin); }

  size_t size() const { return ranges_.size(); }

 private:
  std::map<uint64_t, uint64_t> ranges_;  // begin to end
};

}  // namespace pannier

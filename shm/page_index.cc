#include "pannier/shm/page_index.h"

#include <bit>

namespace pannier {
namespace {

// Bits 0..bit.
constexpr uint64_t UpTo(uint64_t bit) { return ~uint64_t{0} >> (63 - bit); }

}  // namespace

PageIndex::PageIndex(uint64_t pages) : blocks_(std::make_unique_for_overwrite<uint32_t[]>(pages)) {
  uint64_t bits = pages;
  do {
    const uint64_t words = (bits + 63) / 64;
    levels_.emplace_back(words, 0);
    bits = words;
  } while (bits > 1);
}

void PageIndex::Set(uint64_t page, uint32_t block) {
  blocks_[page] = block;
  uint64_t index = page;
  for (auto& level : levels_) {
    uint64_t& word = level[index / 64];
    const bool was_empty = word == 0;
    word |= uint64_t{1} << (index % 64);
    if (!was_empty) return;
    index /= 64;
  }
}

void PageIndex::Clear(uint64_t page) {
  uint64_t index = page;
  for (auto& level : levels_) {
    uint64_t& word = level[index / 64];
    word &= ~(uint64_t{1} << (index % 64));
    if (word != 0) return;
    index /= 64;
  }
}

uint32_t PageIndex::AtOrBefore(uint64_t page) const {
  // Up: to the first level with a set bit at or before the position.
  uint64_t index = page;
  size_t height = 0;
  for (;;) {
    const uint64_t word = levels_[height][index / 64] & UpTo(index % 64);
    if (word != 0) {
      index = (index / 64) * 64 + (63 - std::countl_zero(word));
      break;
    }
    index /= 64;
    if (index == 0 || ++height == levels_.size()) return kNone;
    --index;  // the words before this one
  }
  // Down: the last set bit of each word.
  while (height > 0) index = index * 64 + (63 - std::countl_zero(levels_[--height][index]));
  return blocks_[index];
}

uint64_t PageIndex::Count() const {
  uint64_t count = 0;
  for (uint64_t word : levels_[0]) count += std::popcount(word);
  return count;
}

}  // namespace pannier

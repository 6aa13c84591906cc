// What globals_scan.cc knows of a value, and the memory that it keeps such in.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace pannier::codec::internal {

// A value: its shape in the lowest byte; of a str its length in the next, and of a str or float
// the offset of its bytes in the stream above.
using Slot = uint64_t;

// Shapes. A *cheap* key can be hashed, and to set it costs less of the decoder's allowance for
// comparisons than the bytes of its own opcodes add to that: 64 for each. There are at most 16
// entries that it is compared with, but for an equal one; with a str of 255 bytes for 4 each.
inline constexpr Slot kNotCheap = 0x80;
inline constexpr Slot kTuples = 0x40;
inline constexpr Slot kAtom = 1;        // None, a bool, an int of 64 bits
inline constexpr Slot kStr = 2;         // of at most 255 bytes
inline constexpr Slot kBytes = 3;       // the same
inline constexpr Slot kObject = 4;      // a global, a persistent id, what a call makes
inline constexpr Slot kFlat = kTuples;  // a tuple of at most 8 cheap values, none a tuple
inline constexpr Slot kDeepTuple = kTuples | kNotCheap;
inline constexpr Slot kFloat = kNotCheap | 1;  // cheap but for NaN, which equals no other
inline constexpr Slot kList = kNotCheap | 2;
inline constexpr Slot kDict = kNotCheap | 3;
inline constexpr Slot kSet = kNotCheap | 4;
inline constexpr Slot kLongBytes = kNotCheap | 5;
inline constexpr Slot kByteArray = kNotCheap | 6;
inline constexpr Slot kBuffer = kNotCheap | 7;
inline constexpr Slot kOther = kNotCheap | 8;  // a long int or str, a frozenset

inline Slot ShapeOf(Slot slot) { return slot & 0xff; }
inline bool MayBeTuple(Slot slot) { return (slot & kTuples) != 0 || ShapeOf(slot) == kObject; }
inline constexpr size_t kMostFlat = 8;

inline Slot TupleOf(const Slot* items, size_t count) {
  Slot all = 0;
  for (size_t i = 0; i < count; ++i) all |= items[i];
  return (all & (kNotCheap | kTuples)) == 0 ? kFlat : kDeepTuple;
}

// Slots that grow, and are used again.
class Slots {
 public:
  Slots() = default;
  ~Slots() { std::free(base_); }
  Slots(const Slots&) = delete;
  Slots& operator=(const Slots&) = delete;

  Slot* base() const { return base_; }
  // Room for `more` above the first `used`, which are kept. Throws std::bad_alloc.
  void Reserve(size_t used, size_t more) {
    if (used + more > capacity_) Resize(std::max(used + more, 2 * capacity_));
  }
  // Gives back what is more than a thread should keep.
  void Shrink() {
    if (capacity_ > kKept) Resize(kKept);
  }

 private:
  static constexpr size_t kKept = (512 << 10) / sizeof(Slot);

  void Resize(size_t capacity) {
    auto* moved = static_cast<Slot*>(std::realloc(base_, capacity * sizeof(Slot)));
    if (moved == nullptr) throw std::bad_alloc();
    base_ = moved;
    capacity_ = capacity;
  }

  Slot* base_ = nullptr;
  size_t capacity_ = 0;
};

}  // namespace pannier::codec::internal

// ReturnRing: the way home of leases. A peer writes one 64-bit cell per lease that it
// hands back; the owner reads the cells in order, when it likes. Neither side's index is
// shared, so the cells are all that a peer can spoil (docs/shm_layout.md, "Return ring",
// which also proves that a correct peer cannot overflow it). One word more says that the peer
// is done: what it did not hand back, it never saw. That needs no socket that still works.
//
// No operating system in it: it works on any memory, so that ThreadSanitizer can watch
// it on the heap.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "pannier/base/status.h"

namespace pannier {

using RingCell = std::atomic<uint64_t>;
static_assert(sizeof(RingCell) == 8 && RingCell::is_always_lock_free);

// The first 64 bytes of a ring's memory; the cells follow.
struct ReturnRingHeader {
  static constexpr uint64_t kMagic = 0x474e495254455250;  // "PRETRING"
  static constexpr uint32_t kVersion = 1;
  static constexpr uint32_t kMaxCapacity = 1u << 20;

  uint64_t magic;
  uint32_t version;
  uint32_t capacity;
  uint64_t done;  // a RingCell
  uint8_t zero[40];
};
static_assert(sizeof(ReturnRingHeader) == 64);

// Bytes of a ring of that many cells, header included.
constexpr uint64_t ReturnRingBytes(uint32_t capacity) {
  return sizeof(ReturnRingHeader) + uint64_t{capacity} * sizeof(RingCell);
}

// Owner: writes header and empty cells. REQUIRES: ReturnRingBytes(capacity) bytes at
// `memory`, 64-byte aligned; a power of two, at most kMaxCapacity.
void InitReturnRing(std::byte* memory, uint32_t capacity);

// Peer: the capacity that the header at `memory` states. Errors: CorruptMessage (magic,
// version, capacity not a power of two or past the limit, `size` too small for it).
StatusOr<uint32_t> CheckReturnRing(const std::byte* memory, uint64_t size);

inline RingCell* ReturnRingCells(std::byte* memory) {
  return reinterpret_cast<RingCell*>(memory + sizeof(ReturnRingHeader));
}

inline RingCell* ReturnRingDone(std::byte* memory) {
  return reinterpret_cast<RingCell*>(memory + offsetof(ReturnRingHeader, done));
}

// The peer's end. Any thread; wait-free.
class ReturnRingProducer {
 public:
  // REQUIRES: `capacity`, a power of two, came from CheckReturnRing, not from the memory.
  ReturnRingProducer(std::byte* memory, uint32_t capacity)
      : cells_(ReturnRingCells(memory)), done_(ReturnRingDone(memory)), mask_(capacity - 1) {}

  // REQUIRES: `cell` names a lease that the owner granted and that was not pushed yet.
  void Push(uint64_t cell) {
    // Relaxed: the number alone matters, each thread gets its own.
    const uint64_t index = tail_.fetch_add(1, std::memory_order_relaxed);
    // Release pairs with the acquire in Pop: this process's last access to the lease's
    // bytes comes before the owner's use of them. The cell is empty, and stays so until
    // this store: see the layout page.
    cells_[index & mask_].store(cell, std::memory_order_release);
  }

  // This process holds no lease of the row, and opens none any more: all that are out end.
  // REQUIRES: every Push happened before, and none comes after.
  void Finish() {
    // Release pairs with the acquire in Done: the last access to any lease's bytes, and the last
    // Push, come before the owner's use of what it sees.
    done_->store(1, std::memory_order_release);
  }

 private:
  RingCell* const cells_;
  RingCell* const done_;
  const uint64_t mask_;
  std::atomic<uint64_t> tail_{0};
};

// The owner's end: one thread at a time, under the owner's lock.
class ReturnRingConsumer {
 public:
  ReturnRingConsumer(std::byte* memory, uint32_t capacity)
      : cells_(ReturnRingCells(memory)), done_(ReturnRingDone(memory)), mask_(capacity - 1) {}

  // The peer said that it is done, which stays so. To be asked before Pop: once it is true, Pop
  // sees every cell that there will be, and what is left in the row then was never handed back.
  bool Done() const { return done_->load(std::memory_order_acquire) != 0; }

  // The next cell, or 0 if none came. The cell is empty when this returns; the lease may
  // be given out again only after that.
  uint64_t Pop() {
    RingCell& cell = cells_[head_ & mask_];
    // Acquire pairs with the release in Push.
    const uint64_t value = cell.load(std::memory_order_acquire);
    if (value == 0) return 0;
    // Relaxed: the next store to this cell follows a lease that is granted after this,
    // and what carries the lease to the peer orders the two.
    cell.store(0, std::memory_order_relaxed);
    ++head_;
    return value;
  }

 private:
  RingCell* const cells_;
  const RingCell* const done_;
  const uint64_t mask_;
  uint64_t head_ = 0;
};

}  // namespace pannier

// LaneRing: records from one process to another through shared memory. One writer, one
// reader; no lock, no system call, no allocation. docs/lane.md has the layout, why the order
// suffices, and what a broken peer can do.
//
// No operating system in it: it works on any memory, so that ThreadSanitizer can watch
// it on the heap.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "pannier/base/bytes.h"
#include "pannier/base/status.h"

namespace pannier {

// The start of a ring's memory; the records follow. Indices and bell are shared.
struct LaneRingHeader {
  static constexpr uint64_t kMagic = 0x474e49524e4c4e50;  // "PNLNRING"
  static constexpr uint32_t kVersion = 1;
  static constexpr uint32_t kLeastCapacity = 4096;
  static constexpr uint32_t kGreatestCapacity = 16u << 20;

  uint64_t magic;
  uint32_t version;
  uint32_t capacity;
  alignas(128) std::atomic<uint64_t> head;  // bytes that the reader is done with
  alignas(128) std::atomic<uint32_t> bell;  // 1: the reader sleeps
};
static_assert(sizeof(LaneRingHeader) == 384 && std::atomic<uint64_t>::is_always_lock_free);

// Bytes of a ring with so many bytes of records, header included.
constexpr uint64_t LaneRingBytes(uint32_t capacity) { return sizeof(LaneRingHeader) + capacity; }

// The reader, who makes the ring: writes the header and an empty ring. REQUIRES:
// LaneRingBytes(capacity) bytes of zeros at `memory`, 128-byte aligned; `capacity` is a
// power of two within the bounds.
void InitLaneRing(std::byte* memory, uint32_t capacity);

// The writer: the capacity that the header at `memory` states. Errors: CorruptMessage.
StatusOr<uint32_t> CheckLaneRing(const std::byte* memory, uint64_t size);

// A record's header word, taken apart.
struct LaneWord {
  static constexpr uint8_t kSkip = 255;
  static constexpr uint32_t kMaxLength = (1u << 24) - 1;

  uint32_t sequence = 0;
  uint8_t kind = 0;
  uint32_t length = 0;

  static LaneWord Of(uint64_t word) {
    return {static_cast<uint32_t>(word >> 32), static_cast<uint8_t>(word >> 24),
            static_cast<uint32_t>(word) & kMaxLength};
  }
  uint64_t word() const { return uint64_t{sequence} << 32 | uint32_t{kind} << 24 | length; }
};

inline constexpr uint32_t kLaneLine = 64;  // records start at multiples of this
// Bytes of the ring that a record takes up.
constexpr uint64_t LaneRecordBytes(uint64_t length) {
  return RoundUp(sizeof(uint64_t) + length, kLaneLine);
}

// One thread at a time.
class LaneWriter {
 public:
  // REQUIRES: `capacity` came from CheckLaneRing, not from the memory. The ring is new.
  LaneWriter(std::byte* memory, uint32_t capacity);

  // Where to write a record of `length` bytes; null if they, and `reserve` bytes more, do not
  // fit now. Begin again replaces what was begun. REQUIRES: length <= max_length().
  std::byte* Begin(uint32_t length, uint64_t reserve = 0);
  // The reader may see the record begun last. `kind` is 1 to 254. After one or several,
  // TakeBell must be asked.
  void Commit(uint8_t kind);
  // True if the reader sleeps, or is about to: ring its doorbell, once.
  bool TakeBell() {
    // Pairs with the exchange in LaneReader::Arm, and is ordered with it by being one word:
    // see the page.
    return header_->bell.exchange(0, std::memory_order_acq_rel) == 1;
  }

  // Any record up to this length fits into an empty ring.
  uint32_t max_length() const { return capacity_ / 2 - 2 * kLaneLine; }
  uint32_t capacity() const { return capacity_; }

 private:
  uint64_t Room();  // as far as known

  LaneRingHeader* const header_;
  std::byte* const records_;
  const uint32_t capacity_;
  uint64_t tail_ = 0;  // position: bytes written since the start
  uint64_t head_ = 0;  // as last read, and checked
  uint32_t sequence_ = 0;
  uint32_t length_ = 0;  // of the record begun
};

// One thread at a time.
class LaneReader {
 public:
  // REQUIRES: as InitLaneRing, which was called.
  LaneReader(std::byte* memory, uint32_t capacity);

  struct Record {
    uint8_t kind = 0;
    ByteSpan bytes;  // in the ring: its writer may still change them
  };
  // The next record; false if there is none. It stays until Pop. Errors: CorruptMessage.
  StatusOr<bool> Peek(Record* record);
  // The next record, if it is a whole one of that kind. False says nothing: Peek does.
  bool PeekAt(uint8_t kind, Record* record) {
    // Acquire, as in Peek.
    const LaneWord word = LaneWord::Of(Word(head_).load(std::memory_order_acquire));
    const uint64_t at = head_ & (capacity_ - 1);
    if (word.kind != kind || word.sequence != sequence_ ||
        !RangeInside(at, LaneRecordBytes(word.length), capacity_)) {
      return false;
    }
    length_ = word.length;
    *record = {kind, {records_ + at + sizeof(uint64_t), word.length}};
    return true;
  }
  // Gives the record's place back. REQUIRES: Peek gave one since the last Pop.
  void Pop() {
    head_ += LaneRecordBytes(length_);
    ++sequence_;
    // Release pairs with the acquire in LaneWriter::Room.
    header_->head.store(head_, std::memory_order_release);
  }

  // Whether nothing is there; one load.
  bool Empty() const {
    // Relaxed: Peek loads it again with acquire before anything is read.
    return Word(head_).load(std::memory_order_relaxed) == 0;
  }
  // From now on the writer rings. True if nothing is there, so that sleeping is right.
  bool Arm();
  // The writer need not ring any more. False if it took the bell before: it rings, or did.
  bool Disarm() {
    // An exchange, not a store, so that the next one in Arm is still ordered after the writer's.
    return header_->bell.exchange(0, std::memory_order_acq_rel) == 1;
  }

 private:
  std::atomic_ref<uint64_t> Word(uint64_t position) const {
    return std::atomic_ref<uint64_t>(
        *reinterpret_cast<uint64_t*>(records_ + (position & (capacity_ - 1))));
  }

  LaneRingHeader* const header_;
  std::byte* const records_;
  const uint32_t capacity_;
  uint64_t head_ = 0;  // position of the next record
  uint32_t sequence_ = 0;
  uint32_t length_ = 0;  // of the record that Peek gave
};

}  // namespace pannier

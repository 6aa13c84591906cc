#include "pannier/shm/lane_ring.h"

#include <bit>
#include <cstring>
#include <new>

#include "absl/strings/str_cat.h"

namespace pannier {
namespace {

Status Corrupt(const std::string& what) {
  return MakeError(ErrorKind::kCorruptMessage, absl::StrCat("lane: ", what));
}

LaneRingHeader* HeaderOf(std::byte* memory) {
  return std::launder(reinterpret_cast<LaneRingHeader*>(memory));
}

}  // namespace

void InitLaneRing(std::byte* memory, uint32_t capacity) {
  new (memory) LaneRingHeader{LaneRingHeader::kMagic, LaneRingHeader::kVersion, capacity, {0}, {0}};
}

StatusOr<uint32_t> CheckLaneRing(const std::byte* memory, uint64_t size) {
  if (size < sizeof(LaneRingHeader)) {
    return Corrupt(absl::StrCat("a ring of ", size, " bytes is too short for its header"));
  }
  uint64_t magic;
  uint32_t version, capacity;
  std::memcpy(&magic, memory + offsetof(LaneRingHeader, magic), sizeof(magic));
  std::memcpy(&version, memory + offsetof(LaneRingHeader, version), sizeof(version));
  std::memcpy(&capacity, memory + offsetof(LaneRingHeader, capacity), sizeof(capacity));
  if (magic != LaneRingHeader::kMagic) {
    return Corrupt(absl::StrCat("the ring's magic is ", absl::Hex(magic)));
  }
  if (version != LaneRingHeader::kVersion) {
    return Corrupt(absl::StrCat("the ring is of version ", version, ", and this side writes ",
                                LaneRingHeader::kVersion));
  }
  if (!std::has_single_bit(capacity) || capacity < LaneRingHeader::kLeastCapacity ||
      capacity > LaneRingHeader::kGreatestCapacity || LaneRingBytes(capacity) > size) {
    return Corrupt(absl::StrCat("a ring of ", size, " bytes cannot have a capacity of ", capacity));
  }
  return capacity;
}

// ---- Writer -------------------------------------------------------------------------

LaneWriter::LaneWriter(std::byte* memory, uint32_t capacity)
    : header_(HeaderOf(memory)), records_(memory + sizeof(LaneRingHeader)), capacity_(capacity) {}

std::byte* LaneWriter::Begin(uint32_t length, uint64_t reserve) {
  const uint64_t to_end = capacity_ - (tail_ & (capacity_ - 1));
  const uint64_t bytes = LaneRecordBytes(length);
  const uint64_t skipped = bytes > to_end ? to_end : 0;
  const uint64_t needed = skipped + bytes + kLaneLine + reserve;  // the line of the zero behind it
  if (capacity_ - (tail_ - head_) < needed && Room() < needed) return nullptr;
  if (skipped != 0) {
    const auto word = [this](uint64_t position) {
      return std::atomic_ref<uint64_t>(
          *reinterpret_cast<uint64_t*>(records_ + (position & (capacity_ - 1))));
    };
    // As in Commit. The skip may be seen at once: at the start the reader finds zero.
    word(0).store(0, std::memory_order_relaxed);
    word(tail_).store(LaneWord{sequence_, LaneWord::kSkip, 0}.word(), std::memory_order_release);
    tail_ += skipped;
  }
  length_ = length;
  return records_ + (tail_ & (capacity_ - 1)) + sizeof(uint64_t);
}

void LaneWriter::Commit(uint8_t kind) {
  const uint64_t at = tail_ & (capacity_ - 1);
  tail_ += LaneRecordBytes(length_);
  const uint64_t behind = tail_ & (capacity_ - 1);
  const auto word = [this](uint64_t offset) {
    return std::atomic_ref<uint64_t>(*reinterpret_cast<uint64_t*>(records_ + offset));
  };
  // Relaxed: the release below orders it before the record that leads the reader there.
  word(behind).store(0, std::memory_order_relaxed);
  // Release pairs with the acquire in LaneReader::Peek.
  word(at).store(LaneWord{sequence_++, kind, length_}.word(), std::memory_order_release);
}

uint64_t LaneWriter::Room() {
  // Acquire pairs with the release in LaneReader::Pop: the reader's last access to the bytes
  // comes before ours.
  const uint64_t head = header_->head.load(std::memory_order_acquire);
  if (head >= head_ && head <= tail_) head_ = head;
  return capacity_ - (tail_ - head_);
}

// ---- Reader -------------------------------------------------------------------------

LaneReader::LaneReader(std::byte* memory, uint32_t capacity)
    : header_(HeaderOf(memory)), records_(memory + sizeof(LaneRingHeader)), capacity_(capacity) {}

StatusOr<bool> LaneReader::Peek(Record* record) {
  for (;;) {
    // Acquire pairs with the release in LaneWriter::Commit.
    const uint64_t loaded = Word(head_).load(std::memory_order_acquire);
    if (loaded == 0) return false;
    const LaneWord word = LaneWord::Of(loaded);
    const uint64_t at = head_ & (capacity_ - 1);
    if (word.sequence != sequence_) {
      return Corrupt(absl::StrCat("record ", word.sequence, " where ", sequence_, " was due"));
    }
    if (word.kind == LaneWord::kSkip) {
      if (at == 0 || word.length != 0) return Corrupt("a skip that leads nowhere");
      head_ += capacity_ - at;
      continue;
    }
    if (word.kind == 0 || !RangeInside(at, LaneRecordBytes(word.length), capacity_)) {
      return Corrupt(absl::StrCat("record ", sequence_, " of kind ", word.kind, " and ",
                                  word.length, " bytes, ", capacity_ - at, " before the end"));
    }
    length_ = word.length;
    *record = {word.kind, {records_ + at + sizeof(uint64_t), word.length}};
    return true;
  }
}

bool LaneReader::Arm() {
  // Pairs with the exchange in LaneWriter::TakeBell: if that came first, the look below sees
  // the record that it was for; if it comes later, it gives 1.
  header_->bell.exchange(1, std::memory_order_acq_rel);
  if (Empty()) return true;
  (void)Disarm();  // a ring that came between is one too many, and costs a turn
  return false;
}

}  // namespace pannier

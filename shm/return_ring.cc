#include "pannier/shm/return_ring.h"

#include <bit>
#include <cstring>
#include <new>

#include "absl/strings/str_cat.h"

namespace pannier {

void InitReturnRing(std::byte* memory, uint32_t capacity) {
  new (memory)
      ReturnRingHeader{ReturnRingHeader::kMagic, ReturnRingHeader::kVersion, capacity, 0, {}};
  new (ReturnRingDone(memory)) RingCell(0);
  RingCell* cells = ReturnRingCells(memory);
  for (uint32_t i = 0; i < capacity; ++i) new (&cells[i]) RingCell(0);
}

StatusOr<uint32_t> CheckReturnRing(const std::byte* memory, uint64_t size) {
  ReturnRingHeader header;
  if (size < sizeof(header)) {
    return MakeError(ErrorKind::kCorruptMessage,
                     absl::StrCat("return ring: ", size, " bytes are too few for its header"));
  }
  std::memcpy(&header, memory, sizeof(header));
  if (header.magic != ReturnRingHeader::kMagic) {
    return MakeError(ErrorKind::kCorruptMessage,
                     absl::StrCat("return ring: magic is ", absl::Hex(header.magic)));
  }
  if (header.version != ReturnRingHeader::kVersion) {
    return MakeError(ErrorKind::kCorruptMessage,
                     absl::StrCat("return ring: version is ", header.version, ", this side reads ",
                                  ReturnRingHeader::kVersion));
  }
  if (!std::has_single_bit(header.capacity) || header.capacity > ReturnRingHeader::kMaxCapacity) {
    return MakeError(
        ErrorKind::kCorruptMessage,
        absl::StrCat("return ring: capacity is ", header.capacity,
                     ", not a power of two of at most ", ReturnRingHeader::kMaxCapacity));
  }
  if (ReturnRingBytes(header.capacity) > size) {
    return MakeError(
        ErrorKind::kCorruptMessage,
        absl::StrCat("return ring: ", header.capacity, " cells do not fit into ", size, " bytes"));
  }
  return header.capacity;
}

}  // namespace pannier

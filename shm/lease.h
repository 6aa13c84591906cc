// A lease: the right of one peer to read one block until it hands it back.
#pragma once

#include <cstdint>

namespace pannier {

// What the owner of a segment tells a peer about one buffer, and all that the peer
// may believe of it is what it checked (docs/wire_format.md, "Buffer descriptor").
// The pair (slot, generation) names the lease in the owner's private ledger; a slot
// is used again under a new generation, so that a late or forged hand-back is known
// for what it is.
struct LeaseDescriptor {
  uint64_t offset = 0;      // of the first byte, in the segment
  uint64_t length = 0;      // bytes
  uint32_t segment = 0;     // the owner's number for it
  uint32_t slot = 0;        // of the ledger row
  uint32_t generation = 0;  // of the slot; never 0 for a lease that exists
  bool readonly = true;     // as the sender's buffer was
};

// How a peer names a lease in the return ring: slot in the low half, generation in
// the high half. 0 is an empty cell, as no generation is 0.
constexpr uint64_t LeaseCell(uint32_t slot, uint32_t generation) {
  return static_cast<uint64_t>(generation) << 32 | slot;
}
constexpr uint32_t CellSlot(uint64_t cell) { return static_cast<uint32_t>(cell); }
constexpr uint32_t CellGeneration(uint64_t cell) { return static_cast<uint32_t>(cell >> 32); }

}  // namespace pannier

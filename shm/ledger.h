// The owner's ledger: who holds which block. A block is held by at most one user
// reference (the process's own Buffers of it) and by leases; a row has the leases of one
// peer. What a peer claims is checked here, against its own row (docs/ownership.md).
//
// No operating system in it. Not thread-safe: the pool's mutex guards it. Granting and
// taking back allocate nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "pannier/base/status.h"
#include "pannier/shm/page_allocator.h"

namespace pannier {

// A slot of a row: one lease, or none.
struct LeaseSlot {
  uint64_t offset;  // of the range, in the block's segment
  uint64_t length;
  uint64_t granted;     // when, by the clock of who granted it
  uint32_t generation;  // of the last lease in this slot
  BlockId block;
  uint32_t next_free;  // meaningful if not in use
  bool in_use;
};

// The leases of one peer. Made and changed by Ledger alone.
class LedgerRow {
 public:
  // REQUIRES: capacity > 0.
  explicit LedgerRow(uint32_t capacity)
      : capacity_(capacity), slots_(std::make_unique_for_overwrite<LeaseSlot[]>(capacity)) {}

  uint32_t capacity() const { return capacity_; }
  uint32_t leases() const { return leases_; }
  uint64_t bytes() const { return bytes_; }
  // When the lease that has been out longest was granted; looks at every slot.
  std::optional<uint64_t> OldestGrant() const;

 private:
  friend class Ledger;
  static constexpr uint32_t kNone = ~uint32_t{0};

  const uint32_t capacity_;
  // Slots from touched_ on were never used and are not initialised: a row of 16384 slots
  // costs memory for as many as were ever in use at a time.
  std::unique_ptr<LeaseSlot[]> slots_;
  uint32_t touched_ = 0;
  uint32_t free_ = kNone;  // last freed first
  uint32_t leases_ = 0;
  uint64_t bytes_ = 0;
};

class Ledger {
 public:
  struct Ticket {
    uint32_t slot;
    uint32_t generation;
  };
  struct Taken {
    BlockId block;
    bool last;  // nobody holds the block any more: it was removed and is to be freed
  };

  // A new block, held by the user. REQUIRES: it is in the ledger no more than once.
  void AddBlock(BlockId block);
  // The user's reference ends; true if nobody holds the block any more.
  bool DropUser(BlockId block);
  bool Holds(BlockId block) const { return block < blocks_.size() && blocks_[block].holds > 0; }
  uint32_t LeasesOf(BlockId block) const {
    return Holds(block) ? blocks_[block].holds - (blocks_[block].user ? 1 : 0) : 0;
  }

  // Writes a lease on `block` into the row; nothing if the row's credit is used up. `now` is
  // kept for OldestGrant. REQUIRES: Holds(block).
  std::optional<Ticket> Grant(LedgerRow* row, BlockId block, uint64_t offset, uint64_t length,
                              uint64_t now = 0);
  // Ends the lease. Nothing, and nothing changed, if the row has no such lease: the
  // numbers may come from a peer.
  std::optional<Taken> Take(LedgerRow* row, uint32_t slot, uint32_t generation);
  // Ends all leases of the row; `ended` is called for each, at once.
  void Clear(LedgerRow* row, const std::function<void(const Taken&)>& ended);

  // Checks invariants 2 to 5 of docs/ownership.md over `rows`, which must be all rows that
  // have leases. `page_bytes` is the size of the allocator's pages.
  Status Audit(const std::vector<const LedgerRow*>& rows, const PageAllocator& allocator,
               uint64_t page_bytes) const;

 private:
  struct BlockHolds {
    uint32_t holds = 0;  // the user's, and leases of all rows
    bool user = false;
  };
  bool DropHold(BlockId block) { return --blocks_[block].holds == 0; }
  static Status AuditRow(const LedgerRow& row, const PageAllocator& allocator, uint64_t page_bytes,
                         std::vector<uint64_t>* leases);

  std::vector<BlockHolds> blocks_;  // by BlockId
};

}  // namespace pannier

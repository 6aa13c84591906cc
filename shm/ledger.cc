#include "pannier/shm/ledger.h"

#include "absl/strings/str_cat.h"
#include "pannier/base/bytes.h"

namespace pannier {

void Ledger::AddBlock(BlockId block) {
  if (block >= blocks_.size()) blocks_.resize(block + 1);
  blocks_[block] = {1, true};
}

bool Ledger::DropUser(BlockId block) {
  blocks_[block].user = false;
  return DropHold(block);
}

std::optional<uint64_t> LedgerRow::OldestGrant() const {
  std::optional<uint64_t> oldest;
  for (uint32_t i = 0; i < touched_; ++i) {
    const LeaseSlot& slot = slots_[i];
    if (slot.in_use && (!oldest || slot.granted < *oldest)) oldest = slot.granted;
  }
  return oldest;
}

std::optional<Ledger::Ticket> Ledger::Grant(LedgerRow* row, BlockId block, uint64_t offset,
                                            uint64_t length, uint64_t now) {
  uint32_t index = row->free_;
  if (index != LedgerRow::kNone) {
    row->free_ = row->slots_[index].next_free;
  } else if (row->touched_ < row->capacity_) {
    index = row->touched_++;
    row->slots_[index].generation = 0;
  } else {
    return std::nullopt;
  }
  LeaseSlot& slot = row->slots_[index];
  if (++slot.generation == 0) slot.generation = 1;
  slot.offset = offset;
  slot.length = length;
  slot.granted = now;
  slot.block = block;
  slot.in_use = true;
  ++row->leases_;
  row->bytes_ += length;
  ++blocks_[block].holds;
  return Ticket{index, slot.generation};
}

std::optional<Ledger::Taken> Ledger::Take(LedgerRow* row, uint32_t index, uint32_t generation) {
  if (index >= row->touched_) return std::nullopt;
  LeaseSlot& slot = row->slots_[index];
  if (!slot.in_use || slot.generation != generation) return std::nullopt;
  slot.in_use = false;
  slot.next_free = row->free_;
  row->free_ = index;
  --row->leases_;
  row->bytes_ -= slot.length;
  return Taken{slot.block, DropHold(slot.block)};
}

void Ledger::Clear(LedgerRow* row, const std::function<void(const Taken&)>& ended) {
  for (uint32_t i = 0; i < row->touched_; ++i) {
    if (!row->slots_[i].in_use) continue;
    ended(*Take(row, i, row->slots_[i].generation));
  }
}

Status Ledger::AuditRow(const LedgerRow& row, const PageAllocator& allocator, uint64_t page_bytes,
                        std::vector<uint64_t>* leases) {
  const auto broken = [](uint64_t slot, const char* what) {
    return absl::InternalError(absl::StrCat("ledger: slot ", slot, " ", what));
  };
  uint64_t in_use = 0;
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < row.touched_; ++i) {
    const LeaseSlot& slot = row.slots_[i];
    if (slot.generation == 0) return broken(i, "has generation 0");
    if (!slot.in_use) continue;
    if (!allocator.IsUsed(slot.block)) return broken(i, "leases a block that is not used");
    const PageRun run = allocator.run(slot.block);
    const uint64_t first = run.first * page_bytes;
    if (slot.offset < first ||
        !RangeInside(slot.offset - first, slot.length, run.pages * page_bytes)) {
      return broken(i, "leases a range outside of its block");
    }
    ++in_use;
    bytes += slot.length;
    ++(*leases)[slot.block];
  }
  uint64_t free = 0;
  for (uint32_t i = row.free_; i != LedgerRow::kNone; i = row.slots_[i].next_free) {
    if (i >= row.touched_) return broken(i, "is free and was never used");
    if (row.slots_[i].in_use) return broken(i, "is free and in use");
    if (++free > row.touched_) return broken(i, "is in the free list twice");
  }
  if (free + in_use != row.touched_) return broken(row.touched_, "is the limit, but one is lost");
  if (in_use != row.leases_ || bytes != row.bytes_) return broken(in_use, "in use: sums differ");
  return absl::OkStatus();
}

Status Ledger::Audit(const std::vector<const LedgerRow*>& rows, const PageAllocator& allocator,
                     uint64_t page_bytes) const {
  std::vector<uint64_t> leases(allocator.block_limit(), 0);
  for (const LedgerRow* row : rows) {
    PANNIER_RETURN_IF_ERROR(AuditRow(*row, allocator, page_bytes, &leases));
  }
  for (BlockId block = 0; block < allocator.block_limit(); ++block) {
    if (Holds(block) != allocator.IsUsed(block)) {
      return absl::InternalError(absl::StrCat("ledger: block ", block, " is ",
                                              Holds(block) ? "held and free" : "used by nobody"));
    }
    if (!Holds(block)) continue;
    const uint64_t holds = leases[block] + (blocks_[block].user ? 1 : 0);
    if (blocks_[block].holds != holds) {
      return absl::InternalError(absl::StrCat("ledger: block ", block, " counts ",
                                              blocks_[block].holds, " holds, but has ", holds));
    }
  }
  return absl::OkStatus();
}

}  // namespace pannier

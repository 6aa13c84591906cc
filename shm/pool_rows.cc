// The part of the pool that deals with peers: rows, leases, return rings.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "pannier/shm/backoff.h"
#include "pannier/shm/memfd.h"
#include "pannier/shm/pool_core.h"

namespace pannier {
namespace {

class RowHandle final : public LeaseRow {
 public:
  RowHandle(std::shared_ptr<PoolCore> pool, std::shared_ptr<RowState> state)
      : pool_(std::move(pool)), state_(std::move(state)) {}
  ~RowHandle() override {
    if (state_) pool_->Close(state_.get());
  }
  // Leaves the row to the pool that it is of.
  void LeaveToPool() { pool_->AdoptRow(std::exchange(state_, nullptr).get()); }

  StatusOr<LeaseDescriptor> Grant(const std::byte* data, size_t size, bool readonly,
                                  Deadline deadline) override {
    return pool_->Grant(state_.get(), data, size, readonly, deadline);
  }
  void Revoke(const LeaseDescriptor& lease) override { pool_->Revoke(state_.get(), lease); }
  void Close() override { pool_->Close(state_.get()); }
  StatusOr<size_t> Drain() override { return pool_->Drain(state_.get()); }
  bool peer_is_done() const override { return state_->ring.Done(); }
  uint64_t leases() const override { return pool_->LeasesOut(*state_); }
  uint32_t credit() const override { return state_->leases.capacity(); }
  int ring_fd() const override { return state_->ring_fd.get(); }
  const std::string& peer() const override { return state_->peer; }

 private:
  const std::shared_ptr<PoolCore> pool_;
  std::shared_ptr<RowState> state_;  // null only between LeaveToPool and the end
};

}  // namespace

RowState::RowState(std::string peer_name, std::function<bool()> is_alive, uint32_t capacity,
                   UniqueFd fd, Mapping ring_memory)
    : peer(std::move(peer_name)),
      alive(std::move(is_alive)),
      ring_fd(std::move(fd)),
      ring_mapping(std::move(ring_memory)),
      leases(capacity),
      ring(ring_mapping.data(), capacity) {}

StatusOr<std::unique_ptr<LeaseRow>> PoolCore::OpenRow(std::string peer,
                                                      std::function<bool()> alive) {
  PANNIER_RETURN_IF_ERROR(Usable());
  const uint64_t bytes = RoundUp(ReturnRingBytes(credit_), page_);
  PANNIER_ASSIGN_OR_RETURN(UniqueFd fd, CreateMemfd("pannier:return-ring", bytes));
  PANNIER_ASSIGN_OR_RETURN(Mapping memory, Mapping::Create(fd.get(), Access::kShared, 0, bytes));
  InitReturnRing(memory.data(), credit_);
  PANNIER_RETURN_IF_ERROR(SealSize(fd.get()));
  auto state = std::make_shared<RowState>(std::move(peer), std::move(alive), credit_, std::move(fd),
                                          std::move(memory));
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return ClosedError();
    rows_.push_back(state);
  }
  return std::make_unique<RowHandle>(shared_from_this(), std::move(state));
}

StatusOr<LeaseDescriptor> PoolCore::Grant(RowState* row, const std::byte* data, size_t size,
                                          bool readonly, Deadline deadline) {
  PANNIER_RETURN_IF_ERROR(Usable());
  Backoff backoff(deadline);
  bool asked = false;
  for (;;) {
    {
      const Lock lock(this);
      if (row->closed) {
        return MakeError(ErrorKind::kConnectionLost,
                         absl::StrCat("no lease for ", row->peer, ": its row is closed"));
      }
      const auto place = Locate(data, size);
      if (!place) {
        return MakeError(ErrorKind::kInvalidArgument,
                         absl::StrCat("pool '", name_, "': the ", size, " bytes to lease to ",
                                      row->peer, " do not lie in one block of it"));
      }
      const uint64_t now = Now();
      auto ticket = ledger_.Grant(&row->leases, place->block, place->offset, size, now);
      if (!ticket && DrainRow(row) > 0) {
        ticket = ledger_.Grant(&row->leases, place->block, place->offset, size, now);
      }
      if (ticket) {
        if (guard_ && ledger_.LeasesOf(place->block) == 1) SetWritable(place->block, false);
        return LeaseDescriptor{place->offset,      size,    place->segment, ticket->slot,
                               ticket->generation, readonly};
      }
    }
    if (backoff.TimeForMore() || !std::exchange(asked, true)) {
      if (CloseDeadRows() > 0) continue;
    }
    if (!backoff.Sleep()) break;
  }
  return MakeError(ErrorKind::kPoolExhausted,
                   absl::StrCat(row->peer, " holds ", credit_,
                                " leases, all that a peer may hold; it must release buffers, or "
                                "PoolOptions::leases_per_peer must be raised"));
}

void PoolCore::Revoke(RowState* row, const LeaseDescriptor& lease) {
  if (Forked(epoch_)) return;
  const Lock lock(this);
  const auto taken = ledger_.Take(&row->leases, lease.slot, lease.generation);
  if (taken) LeaseEnded(*taken);
}

void PoolCore::Close(RowState* row) {
  if (Forked(epoch_)) return;
  const Lock lock(this);
  CloseRow(row);
}

void PoolCore::CloseRow(RowState* row) {
  if (std::exchange(row->closed, true)) return;
  ledger_.Clear(&row->leases, [this](const Ledger::Taken& taken) { LeaseEnded(taken); });
  std::erase_if(rows_, [row](const auto& open) { return open.get() == row; });
}

void PoolCore::Adopt(std::unique_ptr<LeaseRow> row) {
  if (row) static_cast<RowHandle*>(row.get())->LeaveToPool();  // there is no other LeaseRow
}

// The pool's list keeps the row, unless it is closed.
void PoolCore::AdoptRow(RowState* row) {
  if (Forked(epoch_)) return;
  const Lock lock(this);
  if (row->closed) return;
  row->adopted = true;
  DrainAllRows();
}

void PoolCore::Abandon() {
  if (Forked(epoch_)) return;
  std::vector<std::shared_ptr<RowState>> adopted;
  const std::shared_ptr<PoolCore> self = shared_from_this();  // outlives the lock
  const Lock lock(this);
  for (const auto& row : rows_) {
    if (row->adopted) adopted.push_back(row);
  }
  for (const auto& row : adopted) CloseRow(row.get());
}

StatusOr<size_t> PoolCore::Drain(RowState* row) {
  PANNIER_RETURN_IF_ERROR(Usable());
  const Lock lock(this);
  const size_t count = row->closed ? 0 : DrainRow(row);
  Status corrupt = std::exchange(row->corrupt, absl::OkStatus());
  if (!corrupt.ok()) return corrupt;
  return count;
}

// The number of leases that came home. At most a ring's length of cells is read, so that a
// peer which keeps writing cannot keep the caller here.
size_t PoolCore::DrainRow(RowState* row) {
  const bool done = row->ring.Done();  // before the cells: see there
  size_t count = 0;
  for (uint32_t i = 0; i < row->leases.capacity(); ++i) {
    const uint64_t cell = row->ring.Pop();
    if (cell == 0) break;
    const auto taken = ledger_.Take(&row->leases, CellSlot(cell), CellGeneration(cell));
    if (taken) {
      ++count;
      LeaseEnded(*taken);
    } else if (row->corrupt.ok()) {
      row->corrupt =
          MakeError(ErrorKind::kCorruptMessage,
                    absl::StrCat(row->peer, " handed back a lease that it does not have: slot ",
                                 CellSlot(cell), ", generation ", CellGeneration(cell)));
    }
  }
  if (done && row->leases.leases() > 0) {
    count += row->leases.leases();
    ledger_.Clear(&row->leases, [this](const Ledger::Taken& taken) { LeaseEnded(taken); });
  }
  return count;
}

void PoolCore::DrainAllRows() {
  for (const auto& row : rows_) {
    if (row->leases.leases() > 0) DrainRow(row.get());
  }
  const auto ended = std::partition(rows_.begin(), rows_.end(), [](const auto& row) {
    return !row->adopted || row->leases.leases() > 0;
  });
  for (auto row = ended; row != rows_.end(); ++row) {
    (*row)->closed = true;
    leftovers_.rows.push_back(std::move(*row));
  }
  rows_.erase(ended, rows_.end());
}

void PoolCore::DrainReturns() {
  if (Forked(epoch_)) return;
  bool adopted = false;
  {
    const Lock lock(this);
    DrainAllRows();
    adopted = std::any_of(rows_.begin(), rows_.end(), [](const auto& row) { return row->adopted; });
  }
  if (adopted) CloseDeadRows(/*adopted_only=*/true);
}

uint64_t PoolCore::LeasesOut(const RowState& row) const {
  if (Forked(epoch_)) return 0;
  const std::lock_guard lock(mutex_);
  return row.leases.leases();
}

size_t PoolCore::CloseDeadRows(bool adopted_only) {
  std::vector<std::shared_ptr<RowState>> rows;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& row : rows_) {
      if (row->alive && (row->adopted || !adopted_only)) rows.push_back(row);
    }
  }
  size_t closed = 0;
  for (const auto& row : rows) {
    if (row->alive()) continue;
    const Lock lock(this);
    CloseRow(row.get());
    ++closed;
  }
  return closed;
}

StatusOr<uint64_t> PoolCore::Leases(const std::byte* data) {
  PANNIER_RETURN_IF_ERROR(Usable());
  const Lock lock(this);
  DrainAllRows();
  const auto place = Locate(data, 0);
  if (!place) return NotABlock();
  return ledger_.LeasesOf(place->block);
}

Status PoolCore::NotABlock() const {
  return MakeError(ErrorKind::kInvalidArgument,
                   absl::StrCat("pool '", name_, "': the address lies in no block of it"));
}

Status PoolCore::WhenHome(const std::byte* data, std::function<void()> call) {
  PANNIER_RETURN_IF_ERROR(Usable());
  const Lock lock(this);
  DrainAllRows();
  const auto place = Locate(data, 0);
  if (!place) return NotABlock();
  if (ledger_.LeasesOf(place->block) == 0) {
    leftovers_.calls.push_back(std::move(call));
  } else {
    when_home_.emplace(place->block, std::move(call));
  }
  return absl::OkStatus();
}

Status PoolCore::WaitHome(const std::byte* data, Deadline deadline) {
  Backoff backoff(deadline);
  for (;;) {
    PANNIER_ASSIGN_OR_RETURN(const uint64_t out, Leases(data));
    if (out == 0) return absl::OkStatus();
    if (backoff.TimeForMore()) CloseDeadRows();
    if (!backoff.Sleep()) {
      return MakeError(ErrorKind::kDeadlineExceeded,
                       absl::StrCat(out, " leases on the block are still out"));
    }
  }
}

}  // namespace pannier

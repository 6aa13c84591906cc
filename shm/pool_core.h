// The one implementation of Pool and LeaseRow: allocator and ledger under one mutex, the
// segments they speak of, and the rows whose return rings feed the ledger.
//
// The allocator and the ledger know blocks by (segment, pages); addresses are found from
// them, and they from addresses, in two functions here (AddressOf, Locate): what users see
// need not be the mapping that the pool keeps.
//
// Its life: referenced by the users' shared_ptr, by each row's handle, and, as long as any
// block is used, by itself.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "pannier/base/process_epoch.h"
#include "pannier/base/unique_fd.h"
#include "pannier/shm/ledger.h"
#include "pannier/shm/mapping.h"
#include "pannier/shm/page_allocator.h"
#include "pannier/shm/pool.h"
#include "pannier/shm/return_ring.h"

namespace pannier {

class PoolCore;

// Keeps the user's reference to one block. Stands in the pool's slab, by BlockId, and is
// used again with it.
class BlockOwner final : public BufferOwner {
 public:
  void Start(PoolCore* pool, BlockId block) {
    pool_ = pool;
    block_ = block;
    ResetRefs();
  }

 private:
  void Dispose() noexcept override;
  PoolCore* pool_ = nullptr;  // lives: it holds itself while the block is used
  BlockId block_ = kNoBlock;
};

struct PoolSegment {
  uint32_t id = 0;
  uint64_t size = 0;
  UniqueFd fd;
  Mapping mapping;    // shared, permanent
  bool warm = false;  // stays when it is idle
  // What Maintain knows of it. Guarded by the pool's mutex.
  uint64_t allocations = 0;       // from it
  uint64_t allocations_seen = 0;  // when it was looked at last
  uint64_t idle_since = 0;        // milliseconds of Now()
};

// A row: shared by its handle and by whoever walks over the rows.
struct RowState {
  RowState(std::string peer_name, std::function<bool()> is_alive, uint32_t capacity, UniqueFd fd,
           Mapping ring_memory);

  const std::string peer;
  const std::function<bool()> alive;
  const UniqueFd ring_fd;
  const Mapping ring_mapping;

  // Guarded by the pool's mutex.
  LedgerRow leases;
  ReturnRingConsumer ring;
  Status corrupt;  // what a drain found; the next LeaseRow::Drain reports it
  bool closed = false;
  bool adopted = false;  // has no handle: to be closed as soon as no lease is out
};

class PoolCore final : public Pool, public std::enable_shared_from_this<PoolCore> {
 public:
  // `broken` not OK: every operation that can fail fails with it.
  PoolCore(const PoolOptions& options, uint64_t quota, Status broken);
  ~PoolCore() override;

  StatusOr<Buffer> Allocate(size_t size, Deadline deadline) override;
  StatusOr<Buffer> Copy(ByteSpan bytes, Deadline deadline) override;
  bool Contains(const std::byte* data, size_t size) const override;
  StatusOr<std::unique_ptr<LeaseRow>> OpenRow(std::string peer,
                                              std::function<bool()> alive) override;
  void Adopt(std::unique_ptr<LeaseRow> row) override;
  StatusOr<uint64_t> Leases(const std::byte* data) override;
  Status WaitHome(const std::byte* data, Deadline deadline) override;
  StatusOr<SegmentHandle> Segment(uint32_t id) const override;
  void DrainReturns() override;
  uint64_t Trim() override;
  Deadline Maintain() override;
  void Close() override;
  Status WhenHome(const std::byte* data, std::function<void()> call) override;
  PoolStats Stats() override;
  Status Audit() override;

  // Makes the first segments. To be called once, by who made the pool.
  Status Warm();

  // The last user let go. Adopted rows end: their blocks are not used again, as nobody can
  // allocate, and what a peer has mapped stays as it is.
  void Abandon();

  // For BlockOwner and the rows' handles.
  void DropUser(BlockId block) noexcept;
  StatusOr<LeaseDescriptor> Grant(RowState* row, const std::byte* data, size_t size, bool readonly,
                                  Deadline deadline);
  void Revoke(RowState* row, const LeaseDescriptor& lease);
  void Close(RowState* row);
  void AdoptRow(RowState* row);
  StatusOr<size_t> Drain(RowState* row);
  uint64_t LeasesOut(const RowState& row) const;

 private:
  // Where an address lies.
  struct Place {
    BlockId block;
    uint32_t segment;
    uint64_t offset;  // in the segment
  };
  static constexpr size_t kOwnersPerChunk = 256;
  static constexpr uint64_t kNeverMillis = ~uint64_t{0};  // as idle_millis_: never given back
  static constexpr uint64_t kWarmPiece = uint64_t{256} << 20;

  // Milliseconds of a monotonic clock that costs little and is some milliseconds late.
  static uint64_t Now();
  Status Usable() const;
  Status ClosedError() const;
  Status NotABlock() const;

  // What is done with when the mutex is unlocked: rows, whose `alive` has a destructor that is
  // not ours, segments, whose unmapping takes its time, and calls of WhenHome.
  struct Leftovers {
    std::vector<std::shared_ptr<RowState>> rows;
    std::vector<PoolSegment> segments;
    std::vector<std::function<void()>> calls;
  };
  // Holds mutex_ wherever a lease or a block may end.
  class Lock {
   public:
    explicit Lock(PoolCore* pool) : pool_(pool), lock_(pool->mutex_) {}
    ~Lock() {
      const Leftovers leftovers = std::exchange(pool_->leftovers_, Leftovers());
      lock_.unlock();
      for (const auto& call : leftovers.calls) call();
    }
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;

   private:
    PoolCore* const pool_;
    std::unique_lock<std::mutex> lock_;
  };

  // With mutex_ held; those that end something, by a Lock.
  std::byte* AddressOf(BlockId block) const;
  std::optional<Place> Locate(const std::byte* data, size_t size) const;
  std::optional<Place> LocateAt(const std::byte* data, size_t size) const;
  // Without an owner: no free block is long enough.
  Buffer TakeBlock(uint64_t pages, size_t size);
  BlockOwner* OwnerOf(BlockId block);
  // The block is nobody's any more. The result is the pool's hold on itself, if this was
  // its last block: to be dropped after the mutex is unlocked, unless the caller has
  // a reference of its own.
  std::shared_ptr<PoolCore> FreeBlock(BlockId block);
  void LeaseEnded(const Ledger::Taken& taken);
  // Whether the owner may write to the block; if guard_.
  void SetWritable(BlockId block, bool writable);
  size_t DrainRow(RowState* row);
  void DrainAllRows();
  void AddSegment(PoolSegment segment);
  uint64_t GiveBackFreeSegments();
  // Gives back what has been idle for long enough, if it is time to look.
  void GiveBackIdleSegments();
  void SetUpkeep();
  void CloseRow(RowState* row);
  PoolSegment RemoveSegment(uint32_t id);
  std::string DescribeUse() const;

  // Without it.
  // Makes a segment, and takes the block from it. Without an owner: the quota forbids it.
  StatusOr<Buffer> Grow(uint64_t pages, size_t size);
  StatusOr<PoolSegment> MakeSegment(uint64_t bytes) const;
  // Asks `alive` of each row, or of the adopted ones alone; the number of rows closed.
  size_t CloseDeadRows(bool adopted_only = false);

  // Constant.
  const uint32_t epoch_ = ProcessEpoch();
  const uint64_t page_;  // bytes
  const uint64_t quota_;
  const uint32_t credit_;
  const std::string name_;
  const Status broken_;
  const uint64_t warm_;
  const uint64_t idle_millis_;
  const bool guard_;

  // Held while a segment is made, so that threads that need one at the same time do not
  // make one each. Taken before mutex_.
  std::mutex growth_mutex_;

  mutable std::mutex mutex_;
  // Guarded by mutex_.
  PageAllocator allocator_;
  Ledger ledger_;
  std::map<uint32_t, PoolSegment> segments_;
  std::map<const std::byte*, const PoolSegment*> by_address_;
  std::vector<std::unique_ptr<BlockOwner[]>> owners_;  // by BlockId, in chunks
  std::vector<std::shared_ptr<RowState>> rows_;        // the open ones
  Leftovers leftovers_;                                // for Lock
  std::unordered_multimap<BlockId, std::function<void()>> when_home_;
  bool closed_ = false;
  uint64_t maintain_at_ = 0;  // milliseconds of Now()
  // When Maintain has something to do; written with the mutex held, read without.
  std::atomic<uint64_t> upkeep_due_{kNeverMillis};
  std::shared_ptr<PoolCore> self_;  // set while a block is used
  uint32_t next_segment_ = 1;
  uint64_t segment_bytes_ = 0;
  uint64_t high_water_pages_ = 0;
  uint64_t allocations_ = 0;

  // Counts alone; relaxed, as nothing is read because of it.
  std::atomic<uint64_t> copied_bytes_{0};
};

}  // namespace pannier

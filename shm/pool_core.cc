#include "pannier/shm/pool_core.h"

#include <time.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "pannier/shm/backoff.h"
#include "pannier/shm/copy.h"
#include "pannier/shm/memfd.h"
#include "pannier/shm/sizing.h"

namespace pannier {

void BlockOwner::Dispose() noexcept { pool_->DropUser(block_); }

uint64_t PoolCore::Now() {
  timespec now = {};
  ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1000000;
}

PoolCore::PoolCore(const PoolOptions& options, uint64_t quota, Status broken)
    : page_(PageBytes()),
      quota_(quota),
      credit_(options.leases_per_peer),
      name_(options.name),
      broken_(std::move(broken)),
      warm_(options.warm),
      idle_millis_(options.idle_time >= absl::Hours(24 * 365)
                       ? kNeverMillis
                       : static_cast<uint64_t>(absl::ToInt64Milliseconds(
                             std::max(options.idle_time, absl::ZeroDuration())))),
      guard_(options.guard) {}

PoolCore::~PoolCore() = default;

Status PoolCore::Usable() const {
  if (Forked(epoch_)) {
    return MakeError(ErrorKind::kForked,
                     absl::StrCat("pool '", name_,
                                  "' belongs to the parent of this process; make one of its own"));
  }
  return broken_;
}

// Blocks and addresses.

std::byte* PoolCore::AddressOf(BlockId block) const {
  const PageRun run = allocator_.run(block);
  return segments_.at(run.segment).mapping.data() + run.first * page_;
}

std::optional<PoolCore::Place> PoolCore::Locate(const std::byte* data, size_t size) const {
  if (const auto place = LocateAt(data, size)) return place;
  if (size > 0 || data == nullptr) return std::nullopt;
  // No bytes, behind the last of a block: what is held then is that block.
  auto place = LocateAt(data - 1, 1);
  if (place) ++place->offset;
  return place;
}

std::optional<PoolCore::Place> PoolCore::LocateAt(const std::byte* data, size_t size) const {
  const auto above = by_address_.upper_bound(data);
  if (above == by_address_.begin()) return std::nullopt;
  const PoolSegment& segment = *std::prev(above)->second;
  const auto offset = static_cast<uint64_t>(data - segment.mapping.data());
  const BlockId block = allocator_.Find(segment.id, offset / page_);
  if (block == kNoBlock) return std::nullopt;
  const PageRun run = allocator_.run(block);
  if (!RangeInside(offset - run.first * page_, size, run.pages * page_)) return std::nullopt;
  return Place{block, segment.id, offset};
}

bool PoolCore::Contains(const std::byte* data, size_t size) const {
  if (Forked(epoch_)) return false;
  const std::lock_guard lock(mutex_);
  return Locate(data, size).has_value();
}

BlockOwner* PoolCore::OwnerOf(BlockId block) {
  const size_t chunk = block / kOwnersPerChunk;
  while (owners_.size() <= chunk) {
    owners_.push_back(std::make_unique<BlockOwner[]>(kOwnersPerChunk));
  }
  return &owners_[chunk][block % kOwnersPerChunk];
}

Buffer PoolCore::TakeBlock(uint64_t pages, size_t size) {
  const BlockId block = allocator_.Allocate(pages);
  if (block == kNoBlock) return Buffer();
  ledger_.AddBlock(block);
  ++segments_.at(allocator_.run(block).segment).allocations;
  if (allocator_.used_blocks() == 1) self_ = shared_from_this();
  high_water_pages_ = std::max(high_water_pages_, allocator_.used_pages());
  ++allocations_;
  BlockOwner* owner = OwnerOf(block);
  owner->Start(this, block);
  return Buffer(AddressOf(block), size, /*readonly=*/false, owner);
}

std::shared_ptr<PoolCore> PoolCore::FreeBlock(BlockId block) {
  allocator_.Free(block);
  if (closed_) GiveBackFreeSegments();
  if (allocator_.used_blocks() > 0) return nullptr;
  return std::move(self_);
}

// A hold of the pool on itself that ends here is not its last: the caller has another.
void PoolCore::LeaseEnded(const Ledger::Taken& taken) {
  if (ledger_.LeasesOf(taken.block) == 0) {
    if (guard_) SetWritable(taken.block, true);
    for (auto [call, end] = when_home_.equal_range(taken.block); call != end;) {
      leftovers_.calls.push_back(std::move(call->second));
      call = when_home_.erase(call);
    }
  }
  if (taken.last) FreeBlock(taken.block);
}

void PoolCore::SetWritable(BlockId block, bool writable) {
  const PageRun run = allocator_.run(block);
  const PoolSegment& segment = segments_.at(run.segment);
  if (segment.mapping.SetWritable(run.first * page_, run.pages * page_, writable) || !writable) {
    return;  // what cannot be guarded is not
  }
  // The system has no mapping left for the pieces. The whole is one piece, so that succeeds; the
  // guards of its other blocks end early.
  segment.mapping.SetWritable(0, segment.size, true);
}

void PoolCore::DropUser(BlockId block) noexcept {
  if (Forked(epoch_)) return;      // the parent's block, and perhaps its locked mutex
  std::shared_ptr<PoolCore> last;  // ends after the lock
  const Lock lock(this);
  if (ledger_.DropUser(block)) last = FreeBlock(block);
}

// Allocation.

StatusOr<Buffer> PoolCore::Allocate(size_t size, Deadline deadline) {
  PANNIER_RETURN_IF_ERROR(Usable());
  const uint64_t pages = std::max<uint64_t>(1, size / page_ + (size % page_ != 0 ? 1 : 0));
  if (pages > quota_ / page_) {
    return MakeError(
        ErrorKind::kPoolExhausted,
        absl::StrCat("pool '", name_, "': ", size, " bytes are more than its quota of ", quota_,
                     "; raise PANNIER_POOL_QUOTA or PoolOptions::quota"));
  }
  Backoff backoff(deadline);
  bool asked = false;
  for (;;) {
    {
      const Lock lock(this);
      if (closed_) return ClosedError();
      DrainAllRows();  // first, so that what just came home is used first
      Buffer buffer = TakeBlock(pages, size);
      GiveBackIdleSegments();
      if (buffer.owner() != nullptr) return buffer;
    }
    PANNIER_ASSIGN_OR_RETURN(Buffer buffer, Grow(pages, size));
    if (buffer.owner() != nullptr) return buffer;
    if (backoff.TimeForMore() || !std::exchange(asked, true)) {
      if (CloseDeadRows() > 0) continue;
    }
    if (!backoff.Sleep()) break;
  }
  const std::lock_guard lock(mutex_);
  return MakeError(ErrorKind::kPoolExhausted, absl::StrCat("pool '", name_, "': no room for ", size,
                                                           " bytes: ", DescribeUse()));
}

StatusOr<Buffer> PoolCore::Copy(ByteSpan bytes, Deadline deadline) {
  PANNIER_ASSIGN_OR_RETURN(Buffer copy, Allocate(bytes.size(), deadline));
  CopyPayload(copy.mutable_data(), bytes.data(), bytes.size());
  copied_bytes_.fetch_add(bytes.size(), std::memory_order_relaxed);
  return copy;
}

StatusOr<Buffer> PoolCore::Grow(uint64_t pages, size_t size) {
  const std::lock_guard growing(growth_mutex_);
  const uint64_t need = pages * page_;
  uint64_t bytes = 0;
  std::vector<PoolSegment> given_back;  // unmapped and closed without the mutex
  {
    const std::lock_guard lock(mutex_);
    // Another thread may have grown the pool while this one waited to.
    Buffer buffer = TakeBlock(pages, size);
    if (buffer.owner() != nullptr) return buffer;
    bytes = NextSegmentBytes(need, segment_bytes_, quota_, page_);
    if (bytes == 0) {
      // Free segments, each too small, may make room for one that is not.
      const std::vector<uint32_t> free = allocator_.FreeSegments();
      uint64_t held = segment_bytes_;
      for (const uint32_t id : free) held -= segments_.at(id).size;
      if (NextSegmentBytes(need, held, quota_, page_) == 0) return Buffer();
      for (auto id = free.begin(); bytes == 0; ++id) {
        given_back.push_back(RemoveSegment(*id));
        bytes = NextSegmentBytes(need, segment_bytes_, quota_, page_);
      }
    }
  }
  given_back.clear();
  auto segment = MakeSegment(bytes);
  if (!segment.ok() && bytes > need) segment = MakeSegment(need);  // a full machine may have that
  if (!segment.ok()) return std::move(segment).status();

  const std::lock_guard lock(mutex_);
  AddSegment(*std::move(segment));
  return TakeBlock(pages, size);
}

// Counts.

std::string PoolCore::DescribeUse() const {
  std::vector<const RowState*> holders;
  for (const auto& row : rows_) {
    if (row->leases.leases() > 0) holders.push_back(row.get());
  }
  constexpr size_t kNamed = 3;
  const size_t named = std::min(kNamed, holders.size());
  std::partial_sort(
      holders.begin(), holders.begin() + named, holders.end(),
      [](const RowState* a, const RowState* b) { return a->leases.bytes() > b->leases.bytes(); });
  const auto describe = [](std::string* out, const RowState* row) {
    absl::StrAppend(out, row->peer, " (", row->leases.leases(), " leases, ", row->leases.bytes(),
                    " bytes)");
  };
  const std::string peers =
      holders.empty()
          ? "no peer holds any"
          : absl::StrCat("most is held by ",
                         absl::StrJoin(holders.begin(), holders.begin() + named, ", ", describe));
  return absl::StrCat(allocator_.used_pages() * page_, " of ", segment_bytes_, " bytes in ",
                      segments_.size(), " segments are used by ", allocator_.used_blocks(),
                      " blocks, the quota is ", quota_, " bytes, and ", peers,
                      "; release buffers, or raise PANNIER_POOL_QUOTA or PoolOptions::quota");
}

PoolStats PoolCore::Stats() {
  PoolStats stats;
  stats.quota = quota_;
  if (Forked(epoch_)) return stats;
  CloseDeadRows();
  const Lock lock(this);
  DrainAllRows();
  stats.segments = segments_.size();
  stats.segment_bytes = segment_bytes_;
  stats.blocks = allocator_.used_blocks();
  stats.used_bytes = allocator_.used_pages() * page_;
  stats.free_bytes = stats.segment_bytes - stats.used_bytes;
  stats.largest_free_bytes = allocator_.LargestFree() * page_;
  stats.high_water_bytes = high_water_pages_ * page_;
  stats.allocations = allocations_;
  stats.copied_bytes = copied_bytes_.load(std::memory_order_relaxed);
  const uint64_t now = Now();
  for (const auto& row : rows_) {
    const uint64_t age = now - row->leases.OldestGrant().value_or(now);
    stats.peers.push_back(
        {row->peer, row->leases.leases(), row->leases.bytes(), absl::Milliseconds(age)});
  }
  return stats;
}

Status PoolCore::Audit() {
  PANNIER_RETURN_IF_ERROR(Usable());
  const std::lock_guard lock(mutex_);
  PANNIER_RETURN_IF_ERROR(allocator_.Audit());
  std::vector<const LedgerRow*> rows;
  for (const auto& row : rows_) rows.push_back(&row->leases);
  PANNIER_RETURN_IF_ERROR(ledger_.Audit(rows, allocator_, page_));
  uint64_t bytes = 0;
  for (const auto& [id, segment] : segments_) bytes += segment.size;
  if (bytes != segment_bytes_ || bytes != allocator_.pages() * page_ || bytes > quota_) {
    return absl::InternalError(absl::StrCat("pool: ", bytes, " bytes of segments, counted ",
                                            segment_bytes_, ", allocator has ",
                                            allocator_.pages() * page_, ", quota ", quota_));
  }
  if ((self_ != nullptr) != (allocator_.used_blocks() > 0)) {
    return absl::InternalError("pool: holds itself without a block, or not with one");
  }
  return absl::OkStatus();
}

}  // namespace pannier

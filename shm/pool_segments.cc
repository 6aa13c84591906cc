// The segments of a pool: made, warmed, looked up, and given back when they are idle, when the
// pool is trimmed and when it is closed.
#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "pannier/shm/memfd.h"
#include "pannier/shm/pool_core.h"
#include "pannier/shm/sizing.h"

namespace pannier {
namespace {

// Milliseconds by which Now() may be behind the clock of deadlines.
constexpr uint64_t kClockStep = 10;

}  // namespace

void PoolCore::AddSegment(PoolSegment segment) {
  segment.id = next_segment_++;
  segment.idle_since = Now();
  segment_bytes_ += segment.size;
  allocator_.AddSegment(segment.id, segment.size / page_);
  const auto [added, unused] = segments_.emplace(segment.id, std::move(segment));
  by_address_.emplace(added->second.mapping.data(), &added->second);
  SetUpkeep();
}

Status PoolCore::Warm() {
  const uint64_t bytes = std::min(RoundUp(warm_, page_), quota_ & ~(page_ - 1));
  for (uint64_t made = 0; made < bytes;) {
    const uint64_t piece = std::min(bytes - made, kWarmPiece);
    PANNIER_ASSIGN_OR_RETURN(PoolSegment segment, MakeSegment(piece));
    made += piece;
    segment.warm = true;
    const std::lock_guard lock(mutex_);
    AddSegment(std::move(segment));
  }
  return absl::OkStatus();
}

StatusOr<PoolSegment> PoolCore::MakeSegment(uint64_t bytes) const {
  PoolSegment segment;
  segment.size = bytes;
  PANNIER_ASSIGN_OR_RETURN(segment.fd, CreateMemfd(absl::StrCat("pannier:", name_), bytes));
  PANNIER_ASSIGN_OR_RETURN(segment.mapping,
                           Mapping::Create(segment.fd.get(), Access::kShared, 0, bytes));
  PANNIER_RETURN_IF_ERROR(SealSegment(segment.fd.get()));
  // 64 MiB: 5 ms, where the faults of a first copy take 11 to 26.
  segment.mapping.Populate();
  return segment;
}

PoolSegment PoolCore::RemoveSegment(uint32_t id) {
  const auto it = segments_.find(id);
  allocator_.RemoveSegment(id);
  by_address_.erase(it->second.mapping.data());
  segment_bytes_ -= it->second.size;
  PoolSegment segment = std::move(it->second);
  segments_.erase(it);
  return segment;
}

uint64_t PoolCore::Trim() {
  if (Forked(epoch_)) return 0;
  const Lock lock(this);
  DrainAllRows();
  return GiveBackFreeSegments();
}

uint64_t PoolCore::GiveBackFreeSegments() {
  uint64_t bytes = 0;
  for (const uint32_t id : allocator_.FreeSegments()) {
    leftovers_.segments.push_back(RemoveSegment(id));
    bytes += leftovers_.segments.back().size;
  }
  return bytes;
}

// A segment counts as used from one look to the next if it was at either, or if a block was
// taken from it between.
void PoolCore::GiveBackIdleSegments() {
  if (idle_millis_ == kNeverMillis) return;
  const uint64_t now = Now();
  if (now < maintain_at_) return;
  maintain_at_ = now + std::max<uint64_t>(idle_millis_ / 4, 1);
  std::vector<uint32_t> free = allocator_.FreeSegments();
  std::sort(free.begin(), free.end());
  std::vector<uint32_t> idle;
  for (auto& [id, segment] : segments_) {
    const bool used =
        std::exchange(segment.allocations_seen, segment.allocations) != segment.allocations ||
        !std::binary_search(free.begin(), free.end(), id);
    if (used) {
      segment.idle_since = now;
    } else if (!segment.warm && now - segment.idle_since >= idle_millis_) {
      idle.push_back(id);
    }
  }
  for (const uint32_t id : idle) leftovers_.segments.push_back(RemoveSegment(id));
}

void PoolCore::SetUpkeep() {
  const auto may_go = [](const auto& entry) { return !entry.second.warm; };
  const bool any =
      idle_millis_ != kNeverMillis && std::any_of(segments_.begin(), segments_.end(), may_go);
  upkeep_due_.store(any ? maintain_at_ : kNeverMillis, std::memory_order_relaxed);
}

Deadline PoolCore::Maintain() {
  if (Forked(epoch_)) return Deadline::Never();
  // Relaxed: a hint of the time alone; what it leads to is done under the mutex.
  if (upkeep_due_.load(std::memory_order_relaxed) <= Now()) {
    const Lock lock(this);
    if (Now() >= maintain_at_) {
      DrainAllRows();
      GiveBackIdleSegments();
    }
    SetUpkeep();
  }
  const uint64_t due = upkeep_due_.load(std::memory_order_relaxed);
  if (due == kNeverMillis) return Deadline::Never();
  return Deadline::At(Deadline::Clock::time_point(std::chrono::milliseconds(due + kClockStep)));
}

void PoolCore::Close() {
  if (Forked(epoch_)) return;
  const Lock lock(this);
  closed_ = true;
  DrainAllRows();
  GiveBackFreeSegments();
}

Status PoolCore::ClosedError() const {
  return MakeError(ErrorKind::kClosed, absl::StrCat("pool '", name_, "' was closed"));
}

StatusOr<SegmentHandle> PoolCore::Segment(uint32_t id) const {
  PANNIER_RETURN_IF_ERROR(Usable());
  const std::lock_guard lock(mutex_);
  const auto it = segments_.find(id);
  if (it == segments_.end()) {
    return MakeError(ErrorKind::kInvalidArgument,
                     absl::StrCat("pool '", name_, "' has no segment ", id));
  }
  return SegmentHandle{id, it->second.fd.get(), it->second.size};
}

}  // namespace pannier

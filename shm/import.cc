#include "pannier/shm/import.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "pannier/shm/import_core.h"
#include "pannier/shm/memfd.h"

namespace pannier {

void HeldLease::Dispose() noexcept { import_->Finish(this); }

StatusOr<std::shared_ptr<Import>> Import::Create(std::string peer, int ring_fd) {
  PANNIER_ASSIGN_OR_RETURN(const uint64_t size,
                           CheckSealed(ring_fd, absl::StrCat("return ring of ", peer)));
  PANNIER_ASSIGN_OR_RETURN(Mapping ring, Mapping::Create(ring_fd, Access::kShared, 0, size));
  auto capacity = CheckReturnRing(ring.data(), size);
  if (!capacity.ok()) return Annotate(capacity.status(), peer);
  return std::make_shared<ImportCore>(std::move(peer), std::move(ring), *capacity);
}

ImportCore::ImportCore(std::string peer, Mapping ring, uint32_t capacity)
    : peer_(std::move(peer)),
      ring_mapping_(std::move(ring)),
      capacity_(capacity),
      ring_(ring_mapping_.data(), capacity),
      records_((capacity + kRecordsPerChunk - 1) / kRecordsPerChunk) {}

ImportCore::~ImportCore() {
  if (!Forked(epoch_)) ring_.Finish();
}

Status ImportCore::Usable() const {
  if (!Forked(epoch_)) return absl::OkStatus();
  return MakeError(ErrorKind::kForked,
                   absl::StrCat("the connection to ", peer_,
                                " belongs to the parent of this process; make one of its own"));
}

Status ImportCore::Corrupt(const LeaseDescriptor& lease, const std::string& what) const {
  return MakeError(ErrorKind::kCorruptMessage,
                   absl::StrCat("buffer of ", peer_, " in segment ", lease.segment, ", slot ",
                                lease.slot, ", generation ", lease.generation, ": ", what));
}

Status ImportCore::AddSegment(uint32_t id, int fd, uint64_t size) {
  UniqueFd file(fd);
  PANNIER_RETURN_IF_ERROR(Usable());
  const std::string what = absl::StrCat("segment ", id, " of ", peer_);
  PANNIER_ASSIGN_OR_RETURN(const uint64_t real, CheckSealed(fd, what));
  if (real != size) {
    return MakeError(ErrorKind::kCorruptMessage,
                     absl::StrCat(what, ": announced with ", size, " bytes, but has ", real));
  }
  auto segment = std::make_shared<ImportedSegment>(id, std::move(file), size);
  const std::lock_guard lock(mutex_);
  if (!segments_.emplace(id, std::move(segment)).second) {
    return MakeError(ErrorKind::kCorruptMessage, absl::StrCat(what, ": announced twice"));
  }
  return absl::OkStatus();
}

bool ImportCore::HasSegment(uint32_t id) const {
  if (Forked(epoch_)) return false;
  const std::lock_guard lock(mutex_);
  return segments_.contains(id);
}

Status ImportCore::RemoveSegment(uint32_t id) {
  PANNIER_RETURN_IF_ERROR(Usable());
  std::shared_ptr<ImportedSegment> last;  // unmapped and closed without the mutex
  const std::lock_guard lock(mutex_);
  const auto it = segments_.find(id);
  if (it == segments_.end()) {
    return MakeError(ErrorKind::kCorruptMessage,
                     absl::StrCat("segment ", id, " of ", peer_, ": removed, but never announced"));
  }
  last = std::move(it->second);
  segments_.erase(it);
  return absl::OkStatus();
}

HeldLease* ImportCore::Record(uint32_t slot) {
  auto& chunk = records_[slot / kRecordsPerChunk];
  if (!chunk) chunk = std::make_unique<HeldLease[]>(kRecordsPerChunk);
  return &chunk[slot % kRecordsPerChunk];
}

StatusOr<std::byte*> ImportCore::MapReadonly(ImportedSegment* segment, uint64_t offset) {
  if (segment->shared.data() == nullptr) {
    PANNIER_ASSIGN_OR_RETURN(
        segment->shared, Mapping::Create(segment->fd.get(), Access::kReadonly, 0, segment->size));
  }
  return segment->shared.data() + offset;
}

StatusOr<std::byte*> ImportCore::MapWritable(ImportedSegment* segment, const LeaseDescriptor& lease,
                                             HeldLease* record) {
  const uint64_t page = PageBytes();
  const uint64_t begin = lease.offset & ~(page - 1);
  // The file's last page is whole in memory even if the file ends inside it.
  const uint64_t end = RoundUp(lease.offset + lease.length, page);
  if (segment->copy_on_write.data() == nullptr) {
    PANNIER_ASSIGN_OR_RETURN(
        segment->copy_on_write,
        Mapping::Create(segment->fd.get(), Access::kPrivate, 0, segment->size));
  }
  if (segment->offered.Add(begin, end)) {
    record->begin_ = begin;
    record->end_ = end;
    return segment->copy_on_write.data() + lease.offset;
  }
  PANNIER_ASSIGN_OR_RETURN(
      record->own_, Mapping::Create(segment->fd.get(), Access::kPrivate, begin, end - begin));
  own_mapped_bytes_.fetch_add(end - begin, std::memory_order_relaxed);
  return record->own_.data() + (lease.offset - begin);
}

StatusOr<Buffer> ImportCore::Open(const LeaseDescriptor& lease, bool writable) {
  PANNIER_RETURN_IF_ERROR(Usable());
  if (lease.generation == 0) return Corrupt(lease, "no lease has generation 0");
  if (lease.slot >= capacity_) {
    return Corrupt(lease, absl::StrCat("the return ring has ", capacity_, " slots"));
  }
  const bool readonly = lease.readonly || !writable;
  const std::lock_guard lock(mutex_);
  const auto it = segments_.find(lease.segment);
  if (it == segments_.end()) return Corrupt(lease, "the segment was not announced");
  ImportedSegment* segment = it->second.get();
  if (!RangeInside(lease.offset, lease.length, segment->size)) {
    return Corrupt(lease, absl::StrCat("bytes ", lease.offset, " + ", lease.length,
                                       " do not lie in its ", segment->size));
  }
  HeldLease* record = Record(lease.slot);
  if (record->held.load(std::memory_order_acquire)) return Corrupt(lease, "the slot is held");

  const uint64_t cell = LeaseCell(lease.slot, lease.generation);
  const bool in_place = readonly || lease.length == 0;
  const auto data =
      in_place ? MapReadonly(segment, lease.offset) : MapWritable(segment, lease, record);
  if (!data.ok()) {
    ring_.Push(cell);
    return Annotate(data.status(), absl::StrCat("buffer of ", peer_));
  }
  record->import_ = shared_from_this();
  record->segment_ = it->second;
  record->cell_ = cell;
  record->length_ = lease.length;
  record->ResetRefs();
  record->held.store(true, std::memory_order_relaxed);  // the mutex orders it for Open
  held_.fetch_add(1, std::memory_order_relaxed);
  held_bytes_.fetch_add(lease.length, std::memory_order_relaxed);
  return Buffer(*data, lease.length, readonly, record);
}

void ImportCore::Finish(HeldLease* lease) noexcept {
  if (Forked(epoch_)) return;  // the parent's lease, and perhaps its locked mutex
  if (lease->own_.data() != nullptr) {
    own_mapped_bytes_.fetch_sub(lease->own_.size(), std::memory_order_relaxed);
    lease->own_ = Mapping();
  } else if (lease->end_ > 0) {
    // Pages that stay as they are must not be offered again: they are not taken off the list.
    if (scanner_.DropWritten(lease->segment_->copy_on_write, lease->begin_,
                             lease->end_ - lease->begin_)) {
      const std::lock_guard lock(mutex_);
      lease->segment_->offered.Remove(lease->begin_);
    }
    lease->begin_ = lease->end_ = 0;
  }
  held_.fetch_sub(1, std::memory_order_relaxed);
  held_bytes_.fetch_sub(lease->length_, std::memory_order_relaxed);
  // What the record holds ends after the lease went home, but leaves the record before:
  // the owner may grant the slot again, and another thread open it, at once.
  const std::shared_ptr<ImportedSegment> segment = std::move(lease->segment_);
  const std::shared_ptr<ImportCore> self = std::move(lease->import_);
  const uint64_t cell = lease->cell_;
  lease->held.store(false, std::memory_order_release);
  ring_.Push(cell);
}

void ImportCore::HandBack(const LeaseDescriptor& lease) {
  if (Forked(epoch_) || lease.generation == 0 || lease.slot >= capacity_) return;
  const uint64_t cell = LeaseCell(lease.slot, lease.generation);
  {
    const std::lock_guard lock(mutex_);
    const auto& chunk = records_[lease.slot / kRecordsPerChunk];
    if (chunk && chunk[lease.slot % kRecordsPerChunk].held.load(std::memory_order_acquire)) return;
  }
  ring_.Push(cell);
}

void ImportCore::KeepAlive(std::shared_ptr<void> object) {
  if (Forked(epoch_)) return;
  const std::lock_guard lock(mutex_);
  kept_.push_back(std::move(object));
}

ImportStats ImportCore::Stats() const {
  ImportStats stats;
  stats.held = held_.load(std::memory_order_relaxed);
  stats.held_bytes = held_bytes_.load(std::memory_order_relaxed);
  stats.mapped_bytes = own_mapped_bytes_.load(std::memory_order_relaxed);
  if (Forked(epoch_)) return stats;
  const std::lock_guard lock(mutex_);
  stats.segments = segments_.size();
  for (const auto& [id, segment] : segments_) {
    stats.mapped_bytes += segment->shared.size() + segment->copy_on_write.size();
  }
  return stats;
}

}  // namespace pannier

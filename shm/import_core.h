// The one implementation of Import.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "pannier/base/process_epoch.h"
#include "pannier/base/unique_fd.h"
#include "pannier/shm/import.h"
#include "pannier/shm/mapping.h"
#include "pannier/shm/page_ranges.h"
#include "pannier/shm/page_scanner.h"
#include "pannier/shm/return_ring.h"

namespace pannier {

class ImportCore;

// One segment of the peer. Held by the table and by the leases in it.
struct ImportedSegment {
  ImportedSegment(uint32_t number, UniqueFd file, uint64_t bytes)
      : id(number), fd(std::move(file)), size(bytes) {}
  const uint32_t id;
  const UniqueFd fd;
  const uint64_t size;

  // Guarded by the import's mutex; set once, and constant then.
  Mapping shared;         // read-only
  Mapping copy_on_write;  // private
  PageRanges offered;     // of copy_on_write
};

// The record of one lease that a live Buffer holds. Stands in a table by slot, so a
// Buffer is made without allocating, and a slot cannot be held twice.
class HeldLease final : public BufferOwner {
 public:
  // Whether a Buffer holds it. Set under the import's mutex; cleared, with release, before
  // the lease goes home. The acquire in Open pairs with that: the lease that comes next in
  // this slot finds the record at rest.
  std::atomic<bool> held{false};

 private:
  friend class ImportCore;
  void Dispose() noexcept override;

  // Constant while held.
  std::shared_ptr<ImportCore> import_;
  std::shared_ptr<ImportedSegment> segment_;
  uint64_t cell_ = 0;
  uint64_t length_ = 0;
  // Of a writable lease, the whole pages, in bytes of the segment; else both 0.
  uint64_t begin_ = 0;
  uint64_t end_ = 0;
  Mapping own_;  // of [begin_, end_), if they were on offer in the common mapping
};

class ImportCore final : public Import, public std::enable_shared_from_this<ImportCore> {
 public:
  ImportCore(std::string peer, Mapping ring, uint32_t capacity);
  // The last Buffer is gone, and whoever might open a lease: tells the owner so.
  ~ImportCore() override;

  Status AddSegment(uint32_t id, int fd, uint64_t size) override;
  bool HasSegment(uint32_t id) const override;
  Status RemoveSegment(uint32_t id) override;
  StatusOr<Buffer> Open(const LeaseDescriptor& lease, bool writable) override;
  void HandBack(const LeaseDescriptor& lease) override;
  void KeepAlive(std::shared_ptr<void> object) override;
  ImportStats Stats() const override;

  // For HeldLease: its Buffer is gone.
  void Finish(HeldLease* lease) noexcept;

 private:
  static constexpr size_t kRecordsPerChunk = 256;

  Status Usable() const;
  Status Corrupt(const LeaseDescriptor& lease, const std::string& what) const;

  // With mutex_ held.
  HeldLease* Record(uint32_t slot);
  StatusOr<std::byte*> MapReadonly(ImportedSegment* segment, uint64_t offset);
  StatusOr<std::byte*> MapWritable(ImportedSegment* segment, const LeaseDescriptor& lease,
                                   HeldLease* record);

  // First, so that they end last: after the last lease went home and the mappings are gone.
  // Guarded by mutex_.
  std::vector<std::shared_ptr<void>> kept_;

  const uint32_t epoch_ = ProcessEpoch();
  const std::string peer_;
  const Mapping ring_mapping_;
  const uint32_t capacity_;
  const PageScanner scanner_;
  ReturnRingProducer ring_;

  mutable std::mutex mutex_;
  // Guarded by mutex_.
  std::unordered_map<uint32_t, std::shared_ptr<ImportedSegment>> segments_;
  std::vector<std::unique_ptr<HeldLease[]>> records_;  // by slot, in chunks

  // Counts alone; relaxed, as nothing is read because of them.
  std::atomic<uint64_t> held_{0};
  std::atomic<uint64_t> held_bytes_{0};
  std::atomic<uint64_t> own_mapped_bytes_{0};
};

}  // namespace pannier

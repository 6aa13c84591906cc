#include "pannier/rpc/pool_allocator.h"

#include <mutex>
#include <utility>

#include "pannier/base/allocator.h"
#include "pannier/base/process_epoch.h"

namespace pannier::rpc {
namespace {

// A block is whole pages, and costs a lease and its return to send. Below this, bytes that
// travel inside the frame are cheaper (TransportOptions::inline_threshold has the same default).
constexpr size_t kLeastPooled = 16 << 10;

class PoolAllocator final : public BufferAllocator {
 public:
  void Use(std::shared_ptr<Pool> pool) {
    const std::lock_guard lock(mutex_);
    pool_ = std::move(pool);
  }

  Buffer AllocateBuffer(size_t size) override {
    if (size < kLeastPooled) return Buffer::OfHeap(size);
    StatusOr<Buffer> block = CurrentPool()->Allocate(size, Deadline::Now());
    return block.ok() ? *std::move(block) : Buffer::OfHeap(size);
  }

 private:
  std::shared_ptr<Pool> CurrentPool() {
    // A forked child has a default pool of its own; the parent's is of no use to it.
    if (!Forked(epoch_)) {
      const std::lock_guard lock(mutex_);
      if (pool_ != nullptr) return pool_;
    }
    return Pool::Default();
  }

  const uint32_t epoch_ = ProcessEpoch();
  std::mutex mutex_;
  std::shared_ptr<Pool> pool_;  // guarded by mutex_; null: the default
};

}  // namespace

void InstallPoolAllocator(std::shared_ptr<Pool> pool) {
  // Never destroyed: buffers may be asked for until the process has ended.
  static PoolAllocator& allocator = *new PoolAllocator;
  if (pool != nullptr) allocator.Use(std::move(pool));
  InstallAllocator(&allocator);
}

}  // namespace pannier::rpc

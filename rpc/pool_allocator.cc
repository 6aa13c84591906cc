#include "pannier/rpc/pool_allocator.h"

#include <memory>
#include <utility>

#include "pannier/base/allocator.h"

namespace pannier::rpc {
namespace {

// A block is whole pages, and costs a lease and its return to send. Below this, bytes that
// travel inside the frame are cheaper (TransportOptions::inline_threshold has the same default).
constexpr size_t kLeastPooled = 16 << 10;

thread_local Pool* t_pool = nullptr;  // of the innermost PoolScope; null: the default

class PoolAllocator final : public BufferAllocator {
 public:
  Buffer AllocateBuffer(size_t size) override {
    if (size < kLeastPooled) return Buffer::OfHeap(size);
    StatusOr<Buffer> block = t_pool != nullptr ? t_pool->Allocate(size, Deadline::Now())
                                               : Pool::Default()->Allocate(size, Deadline::Now());
    return block.ok() ? *std::move(block) : Buffer::OfHeap(size);
  }
};

}  // namespace

void InstallPoolAllocator() {
  // Never destroyed: buffers may be asked for until the process has ended.
  static PoolAllocator& allocator = *new PoolAllocator;
  InstallAllocator(&allocator);
}

PoolScope::PoolScope(Pool& pool) : before_(std::exchange(t_pool, &pool)) {}
PoolScope::~PoolScope() { t_pool = before_; }

}  // namespace pannier::rpc

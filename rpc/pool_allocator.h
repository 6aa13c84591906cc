// The process's BufferAllocator over pools: what is built with AllocateBuffer or Array<T> lies
// in a pool and is sent with no copy. Internal to rpc/.
#pragma once

#include "pannier/shm/pool.h"

namespace pannier::rpc {

// Installs it: over Pool::Default(), but for threads that are in a PoolScope. Any thread, any
// number of times.
void InstallPoolAllocator();

// Within it, this thread's allocations come from `pool`, which must outlive the scope: in a
// handler, from that of the connection that the result will be sent on.
class PoolScope {
 public:
  explicit PoolScope(Pool& pool);
  ~PoolScope();
  PoolScope(const PoolScope&) = delete;
  PoolScope& operator=(const PoolScope&) = delete;

 private:
  Pool* const before_;
};

}  // namespace pannier::rpc

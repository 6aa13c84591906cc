// The process's BufferAllocator over a Pool: what a handler builds with AllocateBuffer or
// Array<T> lies in the pool and is sent with no copy. Internal to rpc/.
#pragma once

#include <memory>

#include "pannier/shm/pool.h"

namespace pannier::rpc {

// Installs it, once for the process. `pool` null: over Pool::Default(), unless a pool was
// named before; else over that pool from now on. Results lie in one pool however many a
// process has: what is sent over a connection of another is copied. Thread-safe.
void InstallPoolAllocator(std::shared_ptr<Pool> pool);

}  // namespace pannier::rpc

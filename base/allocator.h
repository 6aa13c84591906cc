// Where results are built. `Array<T>` and the encoder ask the process's allocator for
// memory; a layer above installs the shared-memory pool there, so that a result is
// sent with no copy, without codec/ knowing shm/.
#pragma once

#include <atomic>
#include <cstddef>

#include "pannier/base/buffer.h"

namespace pannier {

class BufferAllocator {
 public:
  virtual ~BufferAllocator() = default;
  // `size` writable bytes, at least 64-byte aligned, contents unspecified. Never
  // fails but by std::bad_alloc: a pool without room falls back to the heap, and the
  // bytes are then copied when they are sent. Thread-safe.
  virtual Buffer AllocateBuffer(size_t size) = 0;
};

namespace internal {
inline std::atomic<BufferAllocator*> g_allocator{nullptr};
}  // namespace internal

// The process's allocator; the heap until one is installed.
inline Buffer AllocateBuffer(size_t size) {
  // Acquire pairs with the release in InstallAllocator: the pool is complete.
  BufferAllocator* allocator = internal::g_allocator.load(std::memory_order_acquire);
  return allocator != nullptr ? allocator->AllocateBuffer(size) : Buffer::OfHeap(size);
}

// Installs `allocator`, which must live until the process ends. Null: the heap.
inline void InstallAllocator(BufferAllocator* allocator) {
  internal::g_allocator.store(allocator, std::memory_order_release);
}

}  // namespace pannier

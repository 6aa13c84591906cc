// Buffer: one out-of-band payload (PEP 574): contiguous bytes, an owner that keeps
// them alive, a read-only bit. It is a handle: copying it shares the bytes, and the
// owner is released when the last copy dies, on whatever thread that is.
//
// The owner is an intrusive count, not a shared_ptr, so that the receiving side can
// keep its lease records in a slab and make a Buffer without allocating.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "pannier/base/bytes.h"

namespace pannier {

// Keeps the bytes of Buffers alive. Born with one reference, which the Buffer made
// of it takes over. Thread-safe.
class BufferOwner {
 public:
  void Ref() { refs_.fetch_add(1, std::memory_order_relaxed); }
  // The acquire half orders every other holder's last access before Dispose; it
  // pairs with their release halves. Who finds itself the only holder stays that: nobody else is
  // left to add one, so no exchange is needed.
  void Unref() {
    if (refs_.load(std::memory_order_acquire) == 1 ||
        refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      Dispose();
    }
  }
  uint32_t refs() const { return refs_.load(std::memory_order_relaxed); }

 protected:
  BufferOwner() = default;
  ~BufferOwner() = default;
  BufferOwner(const BufferOwner&) = delete;
  BufferOwner& operator=(const BufferOwner&) = delete;
  // For owners that live in a slab and are used again.
  void ResetRefs() { refs_.store(1, std::memory_order_relaxed); }

 private:
  // Called once, when the last reference died, on the thread that dropped it: must
  // not block on a peer, throw, or assume any lock or interpreter state.
  virtual void Dispose() noexcept = 0;
  std::atomic<uint32_t> refs_{1};
};

class Buffer {
 public:
  Buffer() = default;
  // Takes over one reference of `owner`; a null owner means that the bytes outlive
  // the Buffer by other means.
  Buffer(std::byte* data, size_t size, bool readonly, BufferOwner* owner)
      : data_(data), size_(size), owner_(owner), readonly_(readonly) {}
  Buffer(const Buffer& other)
      : data_(other.data_), size_(other.size_), owner_(other.owner_), readonly_(other.readonly_) {
    if (owner_ != nullptr) owner_->Ref();
  }
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer other) noexcept {
    swap(other);
    return *this;
  }
  ~Buffer() {
    if (owner_ != nullptr) owner_->Unref();
  }

  // `size` bytes of the heap, 64-byte aligned, uninitialised. Throws std::bad_alloc.
  static Buffer OfHeap(size_t size);
  static Buffer CopyOf(ByteSpan bytes);  // on the heap, writable
  // The bytes must outlive every copy of the Buffer.
  static Buffer Unowned(ByteSpan bytes) {
    return Buffer(const_cast<std::byte*>(bytes.data()), bytes.size(), true, nullptr);
  }

  const std::byte* data() const { return data_; }
  // REQUIRES: !readonly().
  std::byte* mutable_data() const { return data_; }
  size_t size() const { return size_; }
  bool readonly() const { return readonly_; }
  ByteSpan span() const { return {data_, size_}; }
  std::span<std::byte> mutable_span() const { return {data_, size_}; }
  BufferOwner* owner() const { return owner_; }

  // The bytes [offset, offset + size), same owner. REQUIRES: they lie inside.
  Buffer Slice(size_t offset, size_t size) const& {
    if (owner_ != nullptr) owner_->Ref();
    return Buffer(data_ + offset, size, readonly_, owner_);
  }
  Buffer Slice(size_t offset, size_t size) && {
    return Buffer(data_ + offset, size, readonly_, std::exchange(owner_, nullptr));
  }
  Buffer AsReadonly() const {
    Buffer copy = *this;
    copy.readonly_ = true;
    return copy;
  }

  void swap(Buffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(owner_, other.owner_);
    std::swap(readonly_, other.readonly_);
  }

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
  BufferOwner* owner_ = nullptr;
  bool readonly_ = true;
};

}  // namespace pannier

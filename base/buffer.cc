#include "pannier/base/buffer.h"

#include <cstring>
#include <new>

namespace pannier {
namespace {

// The owner's record stands before the bytes, in one allocation.
constexpr std::align_val_t kAlignment{64};

class alignas(64) HeapOwner final : public BufferOwner {
 public:
  static HeapOwner* New(size_t size) {
    void* memory = ::operator new(sizeof(HeapOwner) + size, kAlignment);
    return new (memory) HeapOwner;
  }
  std::byte* bytes() { return reinterpret_cast<std::byte*>(this + 1); }

 private:
  void Dispose() noexcept override {
    this->~HeapOwner();
    ::operator delete(this, kAlignment);
  }
};

}  // namespace

Buffer Buffer::OfHeap(size_t size) {
  HeapOwner* owner = HeapOwner::New(size);
  return Buffer(owner->bytes(), size, /*readonly=*/false, owner);
}

Buffer Buffer::CopyOf(ByteSpan bytes) {
  Buffer copy = OfHeap(bytes.size());
  if (!bytes.empty()) std::memcpy(copy.mutable_data(), bytes.data(), bytes.size());
  return copy;
}

}  // namespace pannier

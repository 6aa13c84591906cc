// Arena: memory that is given out by moving a pointer and taken back all at once. Keeps its
// chunks over Reset(), so that decoding again and again touches warm pages. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace pannier::codec {

class Arena {
 public:
  Arena() = default;
  ~Arena();
  Arena(Arena&& other) noexcept { Swap(other); }
  Arena& operator=(Arena&& other) noexcept {
    Swap(other);
    return *this;
  }

  // `size` bytes, 8-byte aligned, uninitialised. Throws std::bad_alloc.
  void* Allocate(size_t size) {
    size = (size + 7) & ~size_t{7};
    if (size > static_cast<size_t>(limit_ - next_)) return AllocateSlow(size);
    char* block = next_;
    next_ += size;
    return block;
  }
  template <typename T>
  T* AllocateArray(size_t count) {
    return static_cast<T*>(Allocate(count * sizeof(T)));  // callers bound `count`
  }
  // Lengthens the block [block, block + old_size) in place if it is the last one given out
  // and its chunk has room. Sizes are multiples of 8.
  bool Extend(void* block, size_t old_size, size_t new_size) {
    char* start = static_cast<char*>(block);
    if (start + old_size != next_ || new_size > static_cast<size_t>(limit_ - start)) return false;
    next_ = start + new_size;
    return true;
  }

  // Everything given out is void; the chunks are kept for use again.
  void Reset();
  // Gives all chunks back to the system.
  void Release();
  // The next chunk will have room for at least `size` bytes.
  void Expect(size_t size) { expected_ = size; }
  // Bytes held in chunks.
  size_t capacity() const;
  // Bytes of the chunks that hold blocks.
  size_t used() const;

 private:
  struct Chunk {
    char* data;
    size_t size;
  };
  void* AllocateSlow(size_t size);
  void Swap(Arena& other) noexcept;

  char* next_ = nullptr;
  char* limit_ = nullptr;
  std::vector<Chunk> chunks_;
  size_t used_chunks_ = 0;  // chunks_[0 .. used_chunks_) hold blocks; the last is current
  size_t expected_ = 0;
};

}  // namespace pannier::codec

// A return ring's memory on the heap, where ThreadSanitizer sees every access.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "pannier/shm/return_ring.h"

namespace pannier {

class HeapRing {
 public:
  explicit HeapRing(uint32_t capacity) : words_(new Line[ReturnRingBytes(capacity) / 64 + 1]) {
    InitReturnRing(data(), capacity);
  }
  std::byte* data() { return reinterpret_cast<std::byte*>(words_.get()); }
  RingCell* cells() { return ReturnRingCells(data()); }

 private:
  struct alignas(64) Line {
    uint64_t words[8];
  };
  std::unique_ptr<Line[]> words_;
};

}  // namespace pannier

// A lane's ring on the heap, where ThreadSanitizer sees every access.
#pragma once

#include <cstring>
#include <memory>
#include <string>

#include "pannier/shm/lane_ring.h"

namespace pannier {

class LaneMemory {
 public:
  explicit LaneMemory(uint32_t capacity)
      : size_(LaneRingBytes(capacity)), lines_(new Line[size_ / sizeof(Line)]()) {
    InitLaneRing(data(), capacity);
  }
  std::byte* data() { return reinterpret_cast<std::byte*>(lines_.get()); }
  uint64_t size() const { return size_; }
  std::byte* records() { return data() + sizeof(LaneRingHeader); }

 private:
  struct alignas(128) Line {
    std::byte bytes[128];
  };
  uint64_t size_;
  std::unique_ptr<Line[]> lines_;
};

inline bool Push(LaneWriter& writer, uint8_t kind, const std::string& bytes, uint64_t reserve = 0) {
  std::byte* at = writer.Begin(static_cast<uint32_t>(bytes.size()), reserve);
  if (at == nullptr) return false;
  std::memcpy(at, bytes.data(), bytes.size());
  writer.Commit(kind);
  return true;
}

}  // namespace pannier

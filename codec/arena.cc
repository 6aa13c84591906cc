#include "pannier/codec/arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <new>
#include <utility>

namespace pannier::codec {
namespace {

constexpr size_t kFirstChunk = 1024;
// From this size on a chunk is mapped by itself and asks for huge pages: the first touch of
// its pages is otherwise the largest single cost of decoding into fresh memory.
constexpr size_t kMapped = size_t{4} << 20;
constexpr size_t kLargestStep = size_t{64} << 20;  // chunks double up to here
constexpr size_t kHugePage = size_t{2} << 20;

char* NewChunk(size_t size) {
  if (size < kMapped) {
    auto* data = static_cast<char*>(std::malloc(size));
    if (data == nullptr) throw std::bad_alloc();
    return data;
  }
  void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) throw std::bad_alloc();
  madvise(data, size, MADV_HUGEPAGE);  // advice: a refusal changes nothing but time
  return static_cast<char*>(data);
}

void DeleteChunk(char* data, size_t size) {
  if (size < kMapped) {
    std::free(data);
  } else {
    munmap(data, size);
  }
}

}  // namespace

Arena::~Arena() { Release(); }

void Arena::Swap(Arena& other) noexcept {
  std::swap(next_, other.next_);
  std::swap(limit_, other.limit_);
  chunks_.swap(other.chunks_);
  std::swap(used_chunks_, other.used_chunks_);
  std::swap(expected_, other.expected_);
}

void* Arena::AllocateSlow(size_t size) {
  // A chunk kept from before, if one of the rest is large enough; smaller ones are skipped
  // until the next Reset().
  while (used_chunks_ < chunks_.size() && chunks_[used_chunks_].size < size) ++used_chunks_;
  if (used_chunks_ == chunks_.size()) {
    const size_t last = chunks_.empty() ? kFirstChunk / 2 : chunks_.back().size;
    size_t wanted = std::max({size, expected_, std::min(last * 2, kLargestStep)});
    if (wanted >= kMapped) wanted = (wanted + kHugePage - 1) & ~(kHugePage - 1);
    expected_ = 0;
    chunks_.reserve(chunks_.size() + 1);
    chunks_.push_back({NewChunk(wanted), wanted});
  }
  const Chunk& chunk = chunks_[used_chunks_++];
  next_ = chunk.data + size;
  limit_ = chunk.data + chunk.size;
  return chunk.data;
}

void Arena::Reset() {
  used_chunks_ = 0;
  next_ = limit_ = nullptr;
  // One large chunk serves better than the steps that led to it.
  std::sort(chunks_.begin(), chunks_.end(),
            [](const Chunk& a, const Chunk& b) { return a.size > b.size; });
}

void Arena::Release() {
  for (const Chunk& chunk : chunks_) DeleteChunk(chunk.data, chunk.size);
  chunks_.clear();
  used_chunks_ = 0;
  next_ = limit_ = nullptr;
}

size_t Arena::used() const {
  size_t sum = 0;
  for (size_t i = 0; i < used_chunks_; ++i) sum += chunks_[i].size;
  return sum - static_cast<size_t>(limit_ - next_);
}

size_t Arena::capacity() const {
  size_t sum = 0;
  for (const Chunk& chunk : chunks_) sum += chunk.size;
  return sum;
}

}  // namespace pannier::codec

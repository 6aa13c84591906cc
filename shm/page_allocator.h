// PageAllocator: which pages of which segments are free. Blocks are runs of whole pages;
// the pages themselves are not touched, and no operating system is in here.
//
// Two-level segregated free lists (M. Masmano, I. Ripoll, A. Crespo, J. Real: "TLSF: a new
// dynamic memory allocator for real-time systems", ECRTS 2004): lists by size class, with
// bitmaps that name the non-empty ones, and coalescing with both neighbours at once. On top,
// a small stack of the blocks freed last, not coalesced yet: a request for exactly as many
// pages gets the newest of them, so that warm pages are used again first.
//
// All in constant time, with one exception: a request that would otherwise fail looks
// through the one size class where a block may fit or not.
//
// Not thread-safe: the pool's mutex guards it.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "pannier/base/status.h"
#include "pannier/shm/page_index.h"

namespace pannier {

// A block's number in its pool; used again after the block is freed. Dense: a table by
// BlockId is no longer than the most blocks, used and free, that existed at a time.
using BlockId = uint32_t;
inline constexpr BlockId kNoBlock = PageIndex::kNone;

// Where a block lies, in pages.
struct PageRun {
  uint32_t segment = 0;
  uint64_t first = 0;
  uint64_t pages = 0;
};

class PageAllocator {
 public:
  PageAllocator();
  ~PageAllocator();
  PageAllocator(const PageAllocator&) = delete;
  PageAllocator& operator=(const PageAllocator&) = delete;

  // REQUIRES: `id` names no segment; 0 < pages <= 2^50.
  void AddSegment(uint32_t id, uint64_t pages);
  // False, and nothing changed, if the segment has a used block or does not exist.
  bool RemoveSegment(uint32_t id);
  // The segments without a used block. Coalesces the stack.
  std::vector<uint32_t> FreeSegments();
  // Pages of the longest free block. Coalesces the stack.
  uint64_t LargestFree();

  // A block of exactly `pages` pages, or kNoBlock. REQUIRES: pages > 0.
  BlockId Allocate(uint64_t pages);
  // REQUIRES: `block` is used.
  void Free(BlockId block);

  // The used block that contains the page; kNoBlock if it is free or does not exist.
  BlockId Find(uint32_t segment, uint64_t page) const;
  // REQUIRES: `block` is used.
  PageRun run(BlockId block) const;
  bool IsUsed(BlockId block) const;

  uint64_t pages() const { return pages_; }
  uint64_t used_pages() const { return used_pages_; }
  uint64_t used_blocks() const { return used_blocks_; }
  // One more than the largest BlockId that ever existed.
  BlockId block_limit() const { return static_cast<BlockId>(nodes_.size()); }

  // Checks invariant 1 of docs/ownership.md, by a walk over everything.
  Status Audit() const;

 private:
  static constexpr int kSubBits = 4;
  static constexpr int kSubClasses = 1 << kSubBits;
  static constexpr int kClasses = 48;  // of up to 2^51 pages
  static constexpr size_t kRecent = 32;

  enum class State : uint8_t { kUnused, kUsed, kFree, kRecent };
  struct Segment {
    Segment(uint32_t number, uint64_t page_count)
        : id(number), pages(page_count), starts(page_count) {}
    const uint32_t id;
    const uint64_t pages;
    PageIndex starts;  // of every block, used or not
  };
  // A block of whatever state; kUnused: no block, and next_free chains the spare nodes.
  struct Node {
    Segment* segment = nullptr;
    uint64_t first = 0;
    uint64_t pages = 0;
    BlockId before = kNoBlock;  // neighbours in the segment
    BlockId after = kNoBlock;
    BlockId prev_free = kNoBlock;  // of the same class; kFree alone
    BlockId next_free = kNoBlock;
    State state = State::kUnused;
  };
  struct Class {
    int row;
    int column;
  };

  static Class ClassOf(uint64_t pages);
  BlockId NewNode();
  void DropNode(BlockId id);
  void PushFree(BlockId id);
  void PopFree(BlockId id);
  BlockId TakeRecent(uint64_t pages);
  BlockId TakeFromLists(uint64_t pages);
  BlockId TakeFromOwnClass(uint64_t pages);
  BlockId UseFront(BlockId id, uint64_t pages);
  void Coalesce(BlockId id);
  void CoalesceRecent();
  struct AuditCounts {
    uint64_t nodes = 0, free = 0, recent = 0, used = 0, used_pages = 0;
  };
  Status AuditSegment(const Segment& segment, AuditCounts* counts) const;
  Status AuditLists(const AuditCounts& counts) const;

  std::vector<Node> nodes_;
  BlockId spare_ = kNoBlock;
  std::unordered_map<uint32_t, std::unique_ptr<Segment>> segments_;
  uint64_t rows_ = 0;  // bit per row of heads_ that has a block
  std::array<uint32_t, kClasses> columns_{};
  std::array<std::array<BlockId, kSubClasses>, kClasses> heads_;
  std::array<BlockId, kRecent> recent_{};  // oldest first
  size_t recent_count_ = 0;
  uint64_t pages_ = 0;
  uint64_t used_pages_ = 0;
  uint64_t used_blocks_ = 0;
};

}  // namespace pannier

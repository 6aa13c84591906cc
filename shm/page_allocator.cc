#include "pannier/shm/page_allocator.h"

#include <algorithm>
#include <bit>

namespace pannier {

PageAllocator::PageAllocator() {
  for (auto& row : heads_) row.fill(kNoBlock);
}
PageAllocator::~PageAllocator() = default;

// Row 0 holds the sizes below 16 pages, one class each; row r holds [2^(r+3), 2^(r+4)) in 16
// equal classes. Up to 31 pages a class is one size.
PageAllocator::Class PageAllocator::ClassOf(uint64_t pages) {
  if (pages < kSubClasses) return {0, static_cast<int>(pages)};
  const int log = std::bit_width(pages) - 1;
  return {log - kSubBits + 1, static_cast<int>((pages >> (log - kSubBits)) & (kSubClasses - 1))};
}

BlockId PageAllocator::NewNode() {
  if (spare_ == kNoBlock) {
    nodes_.emplace_back();
    return static_cast<BlockId>(nodes_.size() - 1);
  }
  const BlockId id = spare_;
  spare_ = nodes_[id].next_free;
  nodes_[id] = Node{};
  return id;
}

void PageAllocator::DropNode(BlockId id) {
  nodes_[id] = Node{};
  nodes_[id].next_free = spare_;
  spare_ = id;
}

void PageAllocator::PushFree(BlockId id) {
  Node& node = nodes_[id];
  const auto [row, column] = ClassOf(node.pages);
  BlockId& head = heads_[row][column];
  node.state = State::kFree;
  node.prev_free = kNoBlock;
  node.next_free = head;
  if (head != kNoBlock) nodes_[head].prev_free = id;
  head = id;
  columns_[row] |= 1u << column;
  rows_ |= uint64_t{1} << row;
}

void PageAllocator::PopFree(BlockId id) {
  Node& node = nodes_[id];
  if (node.next_free != kNoBlock) nodes_[node.next_free].prev_free = node.prev_free;
  if (node.prev_free != kNoBlock) {
    nodes_[node.prev_free].next_free = node.next_free;
  } else {
    const auto [row, column] = ClassOf(node.pages);
    heads_[row][column] = node.next_free;
    if (node.next_free == kNoBlock && (columns_[row] &= ~(1u << column)) == 0) {
      rows_ &= ~(uint64_t{1} << row);
    }
  }
  node.prev_free = node.next_free = kNoBlock;
}

void PageAllocator::AddSegment(uint32_t id, uint64_t pages) {
  auto segment = std::make_unique<Segment>(id, pages);
  const BlockId block = NewNode();
  nodes_[block].segment = segment.get();
  nodes_[block].pages = pages;
  segment->starts.Set(0, block);
  PushFree(block);
  pages_ += pages;
  segments_.emplace(id, std::move(segment));
}

bool PageAllocator::RemoveSegment(uint32_t id) {
  CoalesceRecent();
  const auto it = segments_.find(id);
  if (it == segments_.end()) return false;
  const BlockId first = it->second->starts.AtOrBefore(0);
  if (nodes_[first].state != State::kFree || nodes_[first].pages != it->second->pages) return false;
  PopFree(first);
  DropNode(first);
  pages_ -= it->second->pages;
  segments_.erase(it);
  return true;
}

std::vector<uint32_t> PageAllocator::FreeSegments() {
  CoalesceRecent();
  std::vector<uint32_t> ids;
  for (const auto& [id, segment] : segments_) {
    const Node& first = nodes_[segment->starts.AtOrBefore(0)];
    if (first.state == State::kFree && first.pages == segment->pages) ids.push_back(id);
  }
  return ids;
}

uint64_t PageAllocator::LargestFree() {
  CoalesceRecent();
  if (rows_ == 0) return 0;
  const int row = std::bit_width(rows_) - 1;
  uint64_t largest = 0;
  for (BlockId id = heads_[row][std::bit_width(columns_[row]) - 1]; id != kNoBlock;
       id = nodes_[id].next_free) {
    largest = std::max(largest, nodes_[id].pages);
  }
  return largest;
}

BlockId PageAllocator::Allocate(uint64_t pages) {
  if (pages > pages_ - used_pages_) return kNoBlock;  // also keeps ClassOf inside its table
  BlockId id = TakeRecent(pages);
  if (id == kNoBlock) id = TakeFromLists(pages);
  if (id == kNoBlock) {
    CoalesceRecent();
    id = TakeFromLists(pages);
  }
  if (id == kNoBlock) id = TakeFromOwnClass(pages);
  if (id == kNoBlock) return kNoBlock;
  nodes_[id].state = State::kUsed;
  used_pages_ += pages;
  ++used_blocks_;
  return id;
}

BlockId PageAllocator::TakeRecent(uint64_t pages) {
  for (size_t i = recent_count_; i-- > 0;) {
    const BlockId id = recent_[i];
    if (nodes_[id].pages != pages) continue;
    std::copy(recent_.begin() + i + 1, recent_.begin() + recent_count_, recent_.begin() + i);
    --recent_count_;
    return id;
  }
  return kNoBlock;
}

// The first block of its own class if that is long enough; else of the next non-empty class,
// where all blocks are.
BlockId PageAllocator::TakeFromLists(uint64_t pages) {
  const Class own = ClassOf(pages);
  const BlockId fit = heads_[own.row][own.column];
  if (fit != kNoBlock && nodes_[fit].pages >= pages) return UseFront(fit, pages);
  const int log = std::bit_width(pages) - 1;
  const uint64_t class_width = log >= kSubBits ? uint64_t{1} << (log - kSubBits) : 1;
  auto [row, column] = ClassOf(pages + class_width - 1);
  uint32_t columns = columns_[row] & (~0u << column);
  if (columns == 0) {
    const uint64_t rows = rows_ & (~uint64_t{0} << (row + 1));
    if (rows == 0) return kNoBlock;
    row = std::countr_zero(rows);
    columns = columns_[row];
  }
  return UseFront(heads_[row][std::countr_zero(columns)], pages);
}

BlockId PageAllocator::TakeFromOwnClass(uint64_t pages) {
  const auto [row, column] = ClassOf(pages);
  for (BlockId id = heads_[row][column]; id != kNoBlock; id = nodes_[id].next_free) {
    if (nodes_[id].pages >= pages) return UseFront(id, pages);
  }
  return kNoBlock;
}

// Takes a free block out of its list and gives back what is behind its first `pages`.
BlockId PageAllocator::UseFront(BlockId id, uint64_t pages) {
  PopFree(id);
  if (nodes_[id].pages == pages) return id;
  const BlockId rest_id = NewNode();  // may move the nodes: references only from here on
  Node& node = nodes_[id];
  Node& rest = nodes_[rest_id];
  rest.segment = node.segment;
  rest.first = node.first + pages;
  rest.pages = node.pages - pages;
  rest.before = id;
  rest.after = node.after;
  if (node.after != kNoBlock) nodes_[node.after].before = rest_id;
  node.after = rest_id;
  node.pages = pages;
  node.segment->starts.Set(rest.first, rest_id);
  PushFree(rest_id);
  return id;
}

void PageAllocator::Free(BlockId block) {
  used_pages_ -= nodes_[block].pages;
  --used_blocks_;
  if (recent_count_ == kRecent) {
    const BlockId oldest = recent_[0];
    std::copy(recent_.begin() + 1, recent_.end(), recent_.begin());
    --recent_count_;
    Coalesce(oldest);
  }
  nodes_[block].state = State::kRecent;
  recent_[recent_count_++] = block;
}

// Joins a block that is in no list with its free neighbours, and lists the result.
void PageAllocator::Coalesce(BlockId id) {
  const auto swallow = [this](BlockId left_id, BlockId right_id) {
    Node& left = nodes_[left_id];
    const Node& right = nodes_[right_id];
    left.segment->starts.Clear(right.first);
    left.pages += right.pages;
    left.after = right.after;
    if (right.after != kNoBlock) nodes_[right.after].before = left_id;
    DropNode(right_id);
  };
  const BlockId after = nodes_[id].after;
  if (after != kNoBlock && nodes_[after].state == State::kFree) {
    PopFree(after);
    swallow(id, after);
  }
  const BlockId before = nodes_[id].before;
  if (before != kNoBlock && nodes_[before].state == State::kFree) {
    PopFree(before);
    swallow(before, id);
    id = before;
  }
  PushFree(id);
}

void PageAllocator::CoalesceRecent() {
  for (size_t i = 0; i < recent_count_; ++i) Coalesce(recent_[i]);
  recent_count_ = 0;
}

BlockId PageAllocator::Find(uint32_t segment, uint64_t page) const {
  const auto it = segments_.find(segment);
  if (it == segments_.end() || page >= it->second->pages) return kNoBlock;
  const BlockId id = it->second->starts.AtOrBefore(page);
  return nodes_[id].state == State::kUsed ? id : kNoBlock;
}

PageRun PageAllocator::run(BlockId block) const {
  const Node& node = nodes_[block];
  return {node.segment->id, node.first, node.pages};
}

bool PageAllocator::IsUsed(BlockId block) const {
  return block < nodes_.size() && nodes_[block].state == State::kUsed;
}

}  // namespace pannier

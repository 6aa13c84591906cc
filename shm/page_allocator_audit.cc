// PageAllocator::Audit, apart from the allocator because it is for tests alone.
#include <string_view>

#include "absl/strings/str_cat.h"
#include "pannier/shm/page_allocator.h"

namespace pannier {
namespace {

Status Broken(std::string_view what, uint64_t block) {
  return absl::InternalError(
      absl::StrCat("page allocator: ", ToAbsl(what), " (block ", block, ")"));
}

}  // namespace

Status PageAllocator::AuditSegment(const Segment& segment, AuditCounts* counts) const {
  uint64_t page = 0;
  uint64_t starts = 0;
  BlockId before = kNoBlock;
  for (BlockId id = segment.starts.AtOrBefore(0); id != kNoBlock; id = nodes_[id].after) {
    if (id >= nodes_.size()) return Broken("link to a block that does not exist", id);
    const Node& node = nodes_[id];
    if (node.segment != &segment) return Broken("block of another segment", id);
    if (node.first != page || node.pages == 0) return Broken("gap or overlap", id);
    if (node.before != before) return Broken("neighbours disagree", id);
    if (segment.starts.AtOrBefore(page + node.pages - 1) != id) return Broken("not indexed", id);
    if (node.state == State::kFree && before != kNoBlock && nodes_[before].state == State::kFree) {
      return Broken("free neighbours not coalesced", id);
    }
    switch (node.state) {
      case State::kUnused:
        return Broken("unused node in a segment", id);
      case State::kFree:
        ++counts->free;
        break;
      case State::kRecent:
        ++counts->recent;
        break;
      case State::kUsed:
        ++counts->used;
        counts->used_pages += node.pages;
        break;
    }
    page += node.pages;
    before = id;
    ++starts;
    ++counts->nodes;
  }
  if (page != segment.pages) return Broken("blocks do not fill the segment", before);
  if (segment.starts.Count() != starts) return Broken("index has a start that is no block", before);
  return absl::OkStatus();
}

Status PageAllocator::AuditLists(const AuditCounts& counts) const {
  uint64_t listed = 0;
  for (int row = 0; row < kClasses; ++row) {
    if (((rows_ >> row) & 1) != (columns_[row] != 0)) return Broken("row bitmap is wrong", row);
    for (int column = 0; column < kSubClasses; ++column) {
      const BlockId head = heads_[row][column];
      if (((columns_[row] >> column) & 1) != (head != kNoBlock)) {
        return Broken("column bitmap is wrong", head);
      }
      BlockId previous = kNoBlock;
      for (BlockId id = head; id != kNoBlock; id = nodes_[id].next_free) {
        const Node& node = nodes_[id];
        const Class size_class = ClassOf(node.pages);
        if (node.state != State::kFree) return Broken("listed and not free", id);
        if (node.prev_free != previous) return Broken("list links disagree", id);
        if (size_class.row != row || size_class.column != column) {
          return Broken("in the list of another size", id);
        }
        if (++listed > counts.free) return Broken("listed twice", id);
        previous = id;
      }
    }
  }
  if (listed != counts.free) return Broken("free and in no list", kNoBlock);
  return absl::OkStatus();
}

Status PageAllocator::Audit() const {
  AuditCounts counts;
  uint64_t pages = 0;
  for (const auto& [id, segment] : segments_) {
    PANNIER_RETURN_IF_ERROR(AuditSegment(*segment, &counts));
    pages += segment->pages;
  }
  PANNIER_RETURN_IF_ERROR(AuditLists(counts));
  for (size_t i = 0; i < recent_count_; ++i) {
    if (nodes_[recent_[i]].state != State::kRecent) return Broken("recent and not", recent_[i]);
    for (size_t k = 0; k < i; ++k) {
      if (recent_[k] == recent_[i]) return Broken("twice in the stack", recent_[i]);
    }
  }
  if (counts.recent != recent_count_) return Broken("freed and not in the stack", kNoBlock);
  uint64_t spare = 0;
  for (BlockId id = spare_; id != kNoBlock; id = nodes_[id].next_free) {
    if (nodes_[id].state != State::kUnused) return Broken("spare and in use", id);
    if (++spare > nodes_.size()) return Broken("spare chain has a loop", id);
  }
  if (spare + counts.nodes != nodes_.size()) return Broken("a node is lost", kNoBlock);
  if (pages != pages_ || counts.used != used_blocks_ || counts.used_pages != used_pages_) {
    return Broken("sums are wrong", kNoBlock);
  }
  return absl::OkStatus();
}

}  // namespace pannier

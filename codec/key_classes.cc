#include "pannier/codec/key_classes.h"

#include <algorithm>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace pannier::codec::internal {
namespace {

class Numbering {
 public:
  explicit Numbering(KeyWork* work) : work_(work) {}

  // The class of `root`, or 0 when work ran out.
  uint32_t Number(const Value& root) {
    frames_.push_back({root, 0, {}});
    while (true) {
      Frame& frame = frames_.back();
      const std::span<const Value> items = frame.value.items();
      if (frame.next == items.size()) {
        const uint32_t number = Composite(frame);
        nodes_[ValueAccess::Payload(frame.value)] = number;
        frames_.pop_back();
        if (frames_.empty()) return number;
        frames_.back().inner.push_back(number);
        continue;
      }
      const Value& item = items[frame.next++];
      if (!work_->Spend(1)) return 0;
      if (!item.is(Kind::kTuple) && !item.is(Kind::kFrozenSet)) {
        frame.inner.push_back(Leaf(item));
        if (work_->left == 0) return 0;
      } else if (const auto known = nodes_.find(ValueAccess::Payload(item));
                 known != nodes_.end()) {
        frame.inner.push_back(known->second);
      } else {
        frames_.push_back({item, 0, {}});
      }
    }
  }

 private:
  struct Frame {
    Value value;
    size_t next;
    std::vector<uint32_t> inner;
  };

  uint32_t Composite(Frame& frame) {
    const bool ordered = frame.value.is(Kind::kTuple);
    if (!ordered) std::sort(frame.inner.begin(), frame.inner.end());
    frame.inner.push_back(ordered ? 0 : 1);  // 0 and 1 are no classes
    return composites_.try_emplace(std::move(frame.inner), Fresh()).first->second;
  }

  uint32_t Leaf(const Value& value) {
    uint64_t hash = 0;
    HashKey(value, &hash);
    std::vector<std::pair<Value, uint32_t>>& same = leaves_[hash];
    for (const auto& [other, number] : same) {
      if (!work_->Spend(IsText(value.kind()) ? 1 + value.text().size() / 64 : 1)) return 0;
      if (LeafKeysEqual(other, value)) return number;
    }
    same.emplace_back(value, Fresh());
    return same.back().second;
  }

  uint32_t Fresh() { return next_++; }

  KeyWork* work_;
  uint32_t next_ = 2;
  std::vector<Frame> frames_;
  absl::flat_hash_map<uint64_t, uint32_t> nodes_;
  absl::flat_hash_map<uint64_t, std::vector<std::pair<Value, uint32_t>>> leaves_;
  absl::flat_hash_map<std::vector<uint32_t>, uint32_t> composites_;
};

}  // namespace

bool ClassesEqual(const Value& a, const Value& b, KeyWork* work) {
  Numbering numbering(work);
  const uint32_t left = numbering.Number(a);
  return left != 0 && left == numbering.Number(b);
}

}  // namespace pannier::codec::internal

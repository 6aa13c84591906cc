// Document::CopyFrom.
#include <cstring>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "pannier/codec/document.h"
#include "pannier/codec/key_index.h"
#include "pannier/codec/value_access.h"

namespace pannier::codec::internal {

// Copies nodes first, with their old children in them, and then puts the new children in
// place one node after another: so cycles need no care and nothing recurses.
class Copier {
 public:
  Copier(const Document& source, Document* target) : source_(source), target_(target) {}

  Value Run(const Value& root) {
    Value copy = Copy(root);
    while (!pending_.empty()) {
      const std::span<Value> values = pending_.back();
      pending_.pop_back();
      for (Value& value : values) value = Copy(value);
    }
    // Objects hash by their addresses, which are new.
    for (const auto& [node, stride] : keyed_) RebuildIndex(&target_->arena_, node, stride);
    return copy;
  }

 private:
  Value Copy(const Value& value) {
    if (value.kind() < Kind::kStr && !value.is(Kind::kBigInt)) return value;
    if (value.is(Kind::kHandle)) return value;
    if (value.is(Kind::kTuple) && value.size() == 0) return value;
    if (value.id() == 0) return CopyOnce(value);
    const auto [found, is_new] = copies_.try_emplace(value.id());
    if (!is_new) return found->second;
    const Value copy = CopyOnce(value);
    copies_[value.id()] = copy;
    return copy;
  }

  Value CopyOnce(const Value& value) {
    const uint32_t id = value.id() == 0 ? 0 : target_->NextId();
    if (IsText(value.kind())) {
      return target_->Text(value.kind(), target_->CopyText(value.text()), id);
    }
    switch (value.kind()) {
      case Kind::kTuple: {
        const Value copy = target_->NewTuple(value.items());
        Later({ValueAccess::Node<TupleNode>(copy)->items(), value.size()});
        return copy;
      }
      case Kind::kList: {
        const Value copy = target_->NewList(value.items());
        Later({ValueAccess::Node<ListNode>(copy)->items, value.size()});
        return copy;
      }
      case Kind::kDict:
        return CopyKeyed(value, 2, id);
      case Kind::kSet:
      case Kind::kFrozenSet:
        return CopyKeyed(value, 1, id);
      case Kind::kGlobal: {
        // Named globals are one object in a document; what was done to one belongs to it.
        const Value copy = target_->NewGlobal(value.module_name(), value.global_name());
        CopyParts(value, copy);
        return copy;
      }
      case Kind::kBuffer: {
        const auto [found, is_new] = buffers_.try_emplace(value.buffer_index(), 0);
        if (is_new) {
          target_->buffers_.push_back(source_.buffers()[value.buffer_index()]);
          found->second = target_->buffers_.size() - 1;
        }
        return ValueAccess::OfBuffer(found->second, value.buffer_readonly_view(), id);
      }
      default: {
        const auto* from = ValueAccess::Node<ObjectNode>(value);
        const Value copy =
            target_->Object(value.kind(), from->fields[0], from->fields[1], from->fields[2]);
        Later(ValueAccess::Node<ObjectNode>(copy)->fields);  // those not used are None or Bool
        CopyParts(value, copy);
        return copy;
      }
    }
  }

  Value CopyKeyed(const Value& value, size_t stride, uint32_t id) {
    const auto* from = ValueAccess::Node<KeyedNode>(value);
    auto* node = target_->arena_.AllocateArray<KeyedNode>(1);
    *node = KeyedNode{};
    const size_t count = from->size * stride;
    node->values = target_->arena_.AllocateArray<Value>(count);
    node->size = node->capacity = from->size;
    if (count != 0) std::memcpy(node->values, from->values, count * sizeof(Value));
    keyed_.emplace_back(node, stride);
    Later({node->values, count});
    return ValueAccess::OfNode(value.kind(), node, id);
  }

  void CopyParts(const Value& from, const Value& to) {
    for (const Part part : from.parts()) {
      target_->AddPart(to, part.kind(), part.values());
      PartNode* copy = ValueAccess::Node<ObjectNode>(to)->last_part;
      Later({copy->values + (copy->size - part.values().size()), part.values().size()});
    }
  }

  void Later(std::span<Value> values) {
    if (!values.empty()) pending_.push_back(values);
  }

  const Document& source_;
  Document* const target_;
  absl::flat_hash_map<uint32_t, Value> copies_;       // by id in the source
  absl::flat_hash_map<size_t, size_t> buffers_;       // by index in the source
  std::vector<std::span<Value>> pending_;             // hold values of the source still
  std::vector<std::pair<KeyedNode*, size_t>> keyed_;  // with their strides
};

}  // namespace pannier::codec::internal

namespace pannier::codec {

Value Document::CopyFrom(const Document& source, const Value& value) {
  if (source.has_unchecked_text_) has_unchecked_text_ = true;
  return internal::Copier(source, this).Run(value);
}

}  // namespace pannier::codec

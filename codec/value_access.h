// The one door through which codec/ makes Values of its nodes. Not for users.
#pragma once

#include "pannier/codec/node.h"
#include "pannier/codec/value.h"

namespace pannier::codec {

struct ValueAccess {
  static constexpr uint32_t kLongText = Value::kLongText;
  // A kind that no Value of a Document has: an empty place in the decoder's memo.
  static constexpr Kind kHole = static_cast<Kind>(0xff);

  static Value OfNode(Kind kind, const void* node, uint32_t id) {
    return Value(kind, 0, reinterpret_cast<uintptr_t>(node), id);
  }
  // REQUIRES: size < kLongText.
  static Value OfText(Kind kind, const char* text, size_t size, uint32_t id) {
    return Value(kind, static_cast<uint32_t>(size), reinterpret_cast<uintptr_t>(text), id);
  }
  static Value OfLongText(Kind kind, const internal::LongText* text, uint32_t id) {
    return Value(kind, kLongText, reinterpret_cast<uintptr_t>(text), id);
  }
  static Value OfBuffer(size_t index, bool readonly_view, uint32_t id) {
    return Value(Kind::kBuffer, readonly_view ? 1 : 0, index, id);
  }
  static Value Hole() { return Value(kHole, 0, 0); }
  static void SetId(Value* value, uint32_t id) { value->id_ = id; }
  static uint64_t Payload(const Value& value) { return value.payload_; }

  template <typename T>
  static T* Node(const Value& value) {
    return value.node<T>();
  }
};

namespace internal {

// Values whose handle carries all of them, or a text: no node with Values in it.
inline bool IsLeaf(const Value& value) {
  return value.kind() < Kind::kTuple || value.kind() >= Kind::kBuffer;
}
inline bool IsNumber(const Value& value) {
  return value.kind() >= Kind::kBool && value.kind() <= Kind::kFloat;
}
inline bool IsText(Kind kind) {
  return (kind >= Kind::kStr && kind <= Kind::kStr8) || kind == Kind::kBigInt;
}

// Persistent ids and extension codes are not memoised by _pickle: each place is written anew,
// unless the stream itself memoised the object, or something was done to it, and doing it twice
// would be wrong. The third field, which they do not need, says whether the stream did.
inline void MarkMemoised(const Value& object) {
  ValueAccess::Node<ObjectNode>(object)->fields[2] = Value::Bool(true);
}
inline bool NeedsMemo(const Value& object) {
  const auto* node = ValueAccess::Node<ObjectNode>(object);
  return node->first_part != nullptr || node->fields[2].is(Kind::kBool);
}

// The values directly inside another, in the order in which a pickle names them. Visits a
// container that is changed meanwhile wrongly: nobody may.
class Children {
 public:
  explicit Children(const Value& value) {
    switch (value.kind()) {
      case Kind::kTuple:
      case Kind::kList:
        Set(value.items());
        break;
      case Kind::kDict:
      case Kind::kSet:
      case Kind::kFrozenSet: {
        const auto* node = ValueAccess::Node<KeyedNode>(value);
        Set({node->values, node->size * (value.is(Kind::kDict) ? size_t{2} : size_t{1})});
        break;
      }
      default:
        if (!value.is_object()) break;
        const auto* node = ValueAccess::Node<ObjectNode>(value);
        Set({node->fields, FieldCount(value.kind())});
        part_ = node->first_part;
    }
  }

  // The next child, or null after the last.
  const Value* Next() {
    while (next_ == end_) {
      if (part_ == nullptr) return nullptr;
      Set({part_->values, part_->size});
      part_ = part_->next;
    }
    return next_++;
  }

 private:
  static size_t FieldCount(Kind kind) {
    if (kind == Kind::kNewObjEx) return 3;
    return kind == Kind::kPersistent || kind == Kind::kExtension ? 1 : 2;
  }
  void Set(std::span<const Value> values) {
    next_ = values.data();
    end_ = next_ + values.size();
  }

  const Value* next_ = nullptr;
  const Value* end_ = nullptr;
  const PartNode* part_ = nullptr;
};

}  // namespace internal
}  // namespace pannier::codec

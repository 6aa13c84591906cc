// What lies in a Document's arena, and the inline bodies of Value's accessors. Included by
// value.h; not meant to be named by users. Nodes are plain data, written by Document and the
// decoder alone, and die with the arena: no destructor ever runs.
#pragma once

#include "pannier/codec/value.h"

namespace pannier::codec {
namespace internal {

// A text of Value::kLongText bytes or more.
struct LongText {
  const char* data;
  uint64_t size;
};

struct TupleNode {
  uint64_t size;
  uint64_t hash;  // cached by the key index once it is asked for; 0 before
  Value* items() { return reinterpret_cast<Value*>(this + 1); }
  const Value* items() const { return reinterpret_cast<const Value*>(this + 1); }
};

struct ListNode {
  Value* items;
  uint64_t size;
  uint64_t capacity;
};

// Dict (two Values an entry), Set and FrozenSet (one).
struct KeyedNode {
  Value* values;      // `size` entries, in insertion order
  uint32_t size;      // entries
  uint32_t capacity;  // entries
  uint64_t* slots;    // the index, or null while there are few: see key_index.h
  uint64_t slot_mask;
  uint64_t seen;  // one bit per hash class among the entries, while slots is null
  uint64_t hash;  // FrozenSet: cached, 0 before
};

struct PartNode {
  Value* values;
  uint64_t size;
  uint64_t capacity;
  PartNode* next;
  PartKind kind;
};

// All kinds for which Value::is_object() holds.
struct ObjectNode {
  // 0: callee; a Global's module; a Persistent's id; an Extension's code (Int).
  // 1: args; a Global's name. 2: kwargs.
  Value fields[3];
  PartNode* first_part;
  PartNode* last_part;
};

}  // namespace internal

inline std::string_view Value::text() const {
  const uint32_t length = flag();
  if (length != kLongText) return {node<const char>(), length};
  const auto* text = node<const internal::LongText>();
  return {text->data, text->size};
}

inline std::span<const Value> Value::items() const {
  switch (kind()) {
    case Kind::kTuple: {
      const auto* tuple = node<const internal::TupleNode>();
      if (tuple == nullptr) return {};
      return {tuple->items(), tuple->size};
    }
    case Kind::kList: {
      const auto* list = node<const internal::ListNode>();
      return {list->items, list->size};
    }
    default: {
      const auto* set = node<const internal::KeyedNode>();
      return {set->values, set->size};
    }
  }
}

inline std::span<const DictEntry> Value::entries() const {
  static_assert(sizeof(DictEntry) == 2 * sizeof(Value));
  const auto* dict = node<const internal::KeyedNode>();
  return {reinterpret_cast<const DictEntry*>(dict->values), dict->size};
}

inline size_t Value::size() const {
  return is(Kind::kDict) ? node<const internal::KeyedNode>()->size : items().size();
}

inline Value Value::module() const { return node<const internal::ObjectNode>()->fields[0]; }
inline Value Value::name() const { return node<const internal::ObjectNode>()->fields[1]; }
inline bool Value::IsGlobal(std::string_view module, std::string_view name) const {
  return is(Kind::kGlobal) && module_name() == module && global_name() == name;
}
inline Value Value::callee() const { return node<const internal::ObjectNode>()->fields[0]; }
inline Value Value::args() const { return node<const internal::ObjectNode>()->fields[1]; }
inline Value Value::kwargs() const { return node<const internal::ObjectNode>()->fields[2]; }
inline Value Value::persistent_id() const { return node<const internal::ObjectNode>()->fields[0]; }
inline uint32_t Value::extension_code() const {
  return static_cast<uint32_t>(node<const internal::ObjectNode>()->fields[0].int_value());
}
inline PartRange Value::parts() const {
  return PartRange(node<const internal::ObjectNode>()->first_part);
}

inline PartKind Part::kind() const { return node_->kind; }
inline std::span<const Value> Part::values() const { return {node_->values, node_->size}; }
inline PartRange::Iterator& PartRange::Iterator::operator++() {
  node_ = node_->next;
  return *this;
}

}  // namespace pannier::codec

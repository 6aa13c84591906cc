#include "pannier/codec/value.h"

#include <array>

#include "pannier/codec/key_index.h"
#include "pannier/codec/value_access.h"

namespace pannier::codec {

std::string_view KindName(Kind kind) {
  static constexpr std::array<std::string_view, kKindCount> kNames = {
      "None",     "bool",          "int",       "int",    "float",  "str",
      "bytes",    "bytearray",     "str8",      "tuple",  "list",   "dict",
      "set",      "frozenset",     "global",    "reduce", "newobj", "newobj_ex",
      "instance", "persistent id", "extension", "buffer", "handle"};
  const auto index = static_cast<size_t>(kind);
  return index < kNames.size() ? kNames[index] : "unknown";
}

const Value* Value::state() const {
  const Value* found = nullptr;
  for (const Part part : parts()) {
    if (part.kind() == PartKind::kState) found = &part.values()[0];
    if (part.kind() == PartKind::kSetter) found = &part.values()[1];
  }
  return found;
}

const Value* Value::Find(const Value& key) const {
  const auto& dict = *node<const internal::KeyedNode>();
  const size_t entry = internal::FindKey(dict, 2, key);
  return entry == internal::kNotFound ? nullptr : &dict.values[entry * 2 + 1];
}

const Value* Value::Find(std::string_view str_key) const {
  const internal::LongText text{str_key.data(), str_key.size()};
  return Find(str_key.size() < ValueAccess::kLongText
                  ? ValueAccess::OfText(Kind::kStr, str_key.data(), str_key.size(), 0)
                  : ValueAccess::OfLongText(Kind::kStr, &text, 0));
}

}  // namespace pannier::codec

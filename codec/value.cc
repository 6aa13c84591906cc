#include "pannier/codec/value.h"

#include <array>

namespace pannier::codec {

std::string_view KindName(Kind kind) {
  static constexpr std::array<std::string_view, kKindCount> kNames = {
      "None",     "bool",          "int",       "int",    "float",  "str",
      "bytes",    "bytearray",     "str8",      "tuple",  "list",   "dict",
      "set",      "frozenset",     "global",    "reduce", "newobj", "newobj_ex",
      "instance", "persistent id", "extension", "buffer"};
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

}  // namespace pannier::codec

// By which class or function an object was made, however the stream spelled it.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "pannier/codec/value.h"

namespace pannier::codec::internal {

struct InstanceCall {
  std::string_view module;
  std::string name;  // qualified
  std::span<const Value> args;
  Value kwargs;  // None if there are none
  std::string shown() const { return std::string(module) + "." + name; }
};

// Of a Reduce, NewObj, NewObjEx or Instance. Sees through the calls of copyreg that stand for
// NEWOBJ and NEWOBJ_EX in protocols that lack them, and through getattr(Outer, "Inner"), as
// protocols 0 to 3 write dotted names. Nothing for other values, and for computed callees and
// arguments.
std::optional<InstanceCall> InstanceCallOf(const Value& object);

}  // namespace pannier::codec::internal

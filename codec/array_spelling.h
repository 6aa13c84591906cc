// How arrays are spelled in pickles, by NumPy 1 and 2 and by Python's array module, made into
// one form. An inner part of convert_array.cc; not installed.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

#include "pannier/codec/array.h"
#include "pannier/codec/convert.h"

namespace pannier::codec {

// What one of the spellings says, before it is checked against its bytes.
struct Spelling {
  DType dtype;
  Shape shape;
  std::optional<Extents> strides;  // in elements; else `order` says them
  Order order = Order::kC;
  size_t offset = 0;
  bool exact = true;      // the bytes are those of the elements and no more
  bool own_copy = false;  // NumPy would copy the bytes: writable whatever they came in
  Value data;
  std::optional<Buffer> made;  // the contents, where `data` is a list of numbers
};

// Str, or Python 2's.
inline bool IsText(const Value& value) { return value.is(Kind::kStr) || value.is(Kind::kStr8); }

// Errors: the place's, for what is no array ("expected `expected`, found ...") and for one that
// says what no array says. The shape is not yet compared with the bytes.
// `wanted`: the dtype that an array of structures must have; null if none is taken.
StatusOr<Spelling> SpellingOf(const Value& value, const Place& place, std::string_view expected,
                              const DType* wanted);

}  // namespace pannier::codec

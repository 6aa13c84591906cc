// Numbers in whatever form: Python's own, and NumPy's scalars. An inner part of
// convert_scalar.cc; not installed.
#pragma once

#include <cstdint>
#include <optional>

#include "pannier/codec/convert.h"

namespace pannier::codec {

// A number, Python's or one of NumPy's scalars.
struct Number {
  enum class Kind : uint8_t { kBool, kInt, kUnsigned, kBigInt, kFloat, kComplex };
  Kind kind = Kind::kInt;
  int64_t int_value = 0;        // kInt; kBool: 0 or 1
  uint64_t unsigned_value = 0;  // kUnsigned: beyond int64_t
  long double real = 0;         // kFloat, kComplex
  long double imaginary = 0;    // kComplex
};
std::optional<Number> NumberOf(const Value& value, const Document& document);

// The nearest double of a BigInt; infinite if there is none. REQUIRES: value.is(kBigInt).
double BigIntToDouble(const Value& value);

}  // namespace pannier::codec

// NumPy's dtypes from Values and back.
//
//   C++                 Python
//   DType               numpy.dtype of what ArrayElement lists, but no structures
#pragma once

#include <optional>
#include <string>

#include "pannier/codec/array_dtype.h"
#include "pannier/codec/convert.h"

namespace pannier::codec {

// From a pickled numpy.dtype or its code; nothing for dtypes that are not ours. If `name` is
// given it takes what is known of such a dtype: "dtype object", "a structured dtype". A
// structure must be `wanted`, field for field; *wanted is then the result.
std::optional<DType> DTypeOf(const Value& value, std::string* name = nullptr,
                             const DType* wanted = nullptr);

// numpy.dtype('f8', False, True) and its state, as NumPy writes it.
Value DTypeTo(const DType& dtype, Document& document);

template <>
struct Convert<DType> {
  static std::string Name() { return "numpy.dtype"; }
  static StatusOr<DType> From(const Value& value, const Place& place);
  static Value To(const DType& dtype, Builder& builder) {
    return DTypeTo(dtype, builder.document());
  }
};

}  // namespace pannier::codec

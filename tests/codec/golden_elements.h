// What stands in the arrays of the golden vectors; see value() in golden/make_arrays.py.
#pragma once

#include <type_traits>

#include "pannier/codec/array_dtype.h"

namespace pannier::codec {

// The element at C index k.
template <class T>
T ElementAt(int k) {
  if constexpr (std::is_same_v<T, bool>) {
    return k % 3 == 1;
  } else if constexpr (std::is_same_v<T, Float16>) {
    return Float16::FromFloat(static_cast<float>(k) * 0.5f - 3);
  } else if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(std::is_signed_v<T> ? 7 * k - 20 : 7 * k + 1);
  } else if constexpr (std::is_floating_point_v<T>) {
    return static_cast<T>(k) * T{0.5} - 3;
  } else {
    using Part = typename T::value_type;
    return T(static_cast<Part>(k) * Part{0.5} - 3, static_cast<Part>(2 - k));
  }
}

}  // namespace pannier::codec

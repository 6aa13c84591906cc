// NumPy's scalars, as what they are: the plain types read them too, and are written as Python's.
//
//   C++                 Python
//   NumpyScalar<T>      numpy.float32(1.5), numpy.datetime64(..., 'ns'), a numpy.void
//
// T: an element of arrays (array_dtype.h). Reading takes a scalar of exactly that dtype, of either
// byte order.
#pragma once

#include <cstring>
#include <string>

#include "pannier/codec/array.h"
#include "pannier/codec/convert.h"

namespace pannier::codec {

template <ArrayElement T>
struct NumpyScalar {
  T value{};
  friend bool operator==(const NumpyScalar&, const NumpyScalar&) = default;
};

namespace internal {
// The bytes of a scalar of this dtype, in this machine's order, to `out`.
Status ScalarFrom(const Value& value, const DType& dtype, std::byte* out, const Place& place);
Value ScalarTo(const DType& dtype, ByteSpan bytes, Builder& builder);
}  // namespace internal

template <class T>
struct Convert<NumpyScalar<T>> {
  static std::string Name() { return "NumPy " + DTypeFor<T>().Name(); }
  static StatusOr<NumpyScalar<T>> From(const Value& value, const Place& place) {
    NumpyScalar<T> scalar;
    PANNIER_RETURN_IF_ERROR(internal::ScalarFrom(
        value, DTypeFor<T>(), reinterpret_cast<std::byte*>(&scalar.value), place));
    return scalar;
  }
  static Value To(const NumpyScalar<T>& scalar, Builder& builder) {
    return internal::ScalarTo(DTypeFor<T>(), std::as_bytes(std::span(&scalar.value, 1)), builder);
  }
};

}  // namespace pannier::codec

// NumPy arrays from Values and back. Read are all spellings of NumPy 1 and 2, Python's
// array.array too; what is written is said at ArrayTo. Elements may be numbers, times and
// structs (array_record.h).
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "pannier/codec/array.h"
#include "pannier/codec/convert.h"

namespace pannier::codec {

// True for the Global NAME of numpy.core.MODULE (NumPy 1) or numpy._core.MODULE (NumPy 2).
bool IsNumpyCore(const Value& value, std::string_view module, std::string_view name);

// True if the value is written as an array is, be it a valid one or not.
bool LooksLikeArray(const Value& value);

// The array that `value` is, of whatever dtype. Of an out-of-band buffer it holds the Buffer;
// bytes in the stream are copied, so the result borrows nothing. Read-only where NumPy would
// make it so. `expected` is what messages say was wanted: "float64 array".
// Elements may be misaligned or big-endian.
StatusOr<AnyArray> ArrayFrom(const Value& value, const Place& place,
                             std::string_view expected = "array");

// The same, with elements that C++ may look at as `dtype`: copied where they are misaligned,
// or bools other than 0 and 1. Errors where dtypes differ, or byte orders.
StatusOr<AnyArray> ArrayFrom(const Value& value, const Place& place, DType dtype, size_t alignment);
// The same, to own: big-endian elements are converted, and read-only, gappy and shared ones
// are copied.
StatusOr<AnyArray> OwnArrayFrom(const Value& value, const Place& place, DType dtype,
                                size_t alignment);

// Protocol 5: numpy.ndarray(shape, code, buffer), with strides where neither C order nor
// Fortran order says it. NumPy itself writes numpy.core.numeric._frombuffer or, from version
// 2, numpy._core.numeric._frombuffer: version 2 warns of the first, version 1 lacks the
// second. The constructor is public, the same in all versions, makes the same array without
// a copy, and loads faster, as no dtype object is pickled and no Python function runs.
// Protocols below 5: numpy.core.multiarray._reconstruct, which both versions load silently.
// An array with gaps is copied.
Value ArrayTo(const AnyArray& array, Builder& builder);

template <>
struct Convert<AnyArray> {
  static std::string Name() { return "array"; }
  static StatusOr<AnyArray> From(const Value& value, const Place& place) {
    return ArrayFrom(value, place);
  }
  static Value To(const AnyArray& array, Builder& builder) { return ArrayTo(array, builder); }
};

template <class T>
struct Convert<ArrayView<T>> {
  using Element = std::remove_const_t<T>;
  static std::string Name() { return DTypeFor<Element>().Name() + " array"; }
  static StatusOr<ArrayView<T>> From(const Value& value, const Place& place) {
    PANNIER_ASSIGN_OR_RETURN(AnyArray array,
                             ArrayFrom(value, place, DTypeFor<Element>(), alignof(Element)));
    StatusOr<ArrayView<T>> view = ArrayView<T>::Of(std::move(array));
    if (!view.ok()) return place.Error(view.status());
    return view;
  }
  static Value To(const ArrayView<T>& view, Builder& builder) {
    return ArrayTo(view.any(), builder);
  }
};

template <class T>
struct Convert<Array<T>> {
  static std::string Name() { return DTypeFor<T>().Name() + " array"; }
  static StatusOr<Array<T>> From(const Value& value, const Place& place) {
    PANNIER_ASSIGN_OR_RETURN(AnyArray array, OwnArrayFrom(value, place, DTypeFor<T>(), alignof(T)));
    StatusOr<Array<T>> own = Array<T>::Adopt(std::move(array));
    if (!own.ok()) return place.Error(own.status());
    return own;
  }
  static Value To(const Array<T>& array, Builder& builder) { return ArrayTo(array.any(), builder); }
};

}  // namespace pannier::codec

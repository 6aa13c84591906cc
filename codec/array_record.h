// NumPy's structured arrays in C++: a struct whose fields are described once,
//
//   struct Particle { int32_t id; double mass; std::array<float, 3> position; };
//
//   template <>
//   struct pannier::codec::NumpyRecord<Particle> {
//     static constexpr auto kFields = std::tuple(Field("id", &Particle::id),
//                                                Field("mass", &Particle::mass),
//                                                Field("position", &Particle::position));
//   };
//
// is an element of ArrayView and Array, as which it has the dtype with these names, and with the
// types, offsets and size that the compiler gave the struct. A std::array of elements is a
// subarray; a field may be such a struct itself. Python makes the dtype that matches with
//   numpy.dtype([("id", "i4"), ("mass", "f8"), ("position", "f4", 3)], align=True)
// An array with the same fields at other offsets is not taken: what would be a view elsewhere
// would silently be a copy here.
//
// What lies between the fields is sent as it is. Array zeroes it; assign field by field, as a
// whole struct may bring its own, which are bytes of the stack.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <vector>

#include "pannier/codec/array_dtype.h"
#include "pannier/codec/field.h"

namespace pannier::codec {

template <class T>
struct NumpyRecord;

struct RecordField {
  std::string_view name;
  size_t offset = 0;  // bytes
  DType dtype;
  std::vector<size_t> shape;  // of a subarray; else empty
};

struct RecordLayout {
  std::vector<RecordField> fields;
  size_t itemsize = 0;
  size_t alignment = 1;
  // Where bools are, those of subarrays and inner structures too: other processes may say that
  // a bool is 2.
  std::vector<size_t> bools;

  void Add(std::string_view name, size_t offset, DType dtype, std::vector<size_t> shape);
  // "structure (id: int32 at 0, mass: float64 at 8; 16 bytes)".
  std::string Text() const;
};

namespace internal {

template <class T>
concept IsRecord = requires {
  NumpyRecord<T>::kFields;
};

// The dtype and shape of a field of type M.
template <class M>
struct FieldElement {
  static DType Of(std::vector<size_t>*) { return DTypeFor<M>(); }
};
template <class M, size_t kSize>
struct FieldElement<std::array<M, kSize>> {
  static DType Of(std::vector<size_t>* shape) {
    shape->push_back(kSize);
    return FieldElement<M>::Of(shape);
  }
};
template <class M, size_t kSize>
struct FieldElement<M[kSize]> : FieldElement<std::array<M, kSize>> {};

template <class T, class... M>
RecordLayout LayoutOf(const std::tuple<ClassField<T, M>...>& fields) {
  static_assert(std::is_trivially_copyable_v<T> && std::is_standard_layout_v<T>,
                "a NumpyRecord is read and written as bytes: it must be a plain struct");
  RecordLayout layout;
  layout.itemsize = sizeof(T);
  layout.alignment = alignof(T);
  const T object{};
  const auto add = [&]<class F>(const ClassField<T, F>& field) {
    const auto offset = reinterpret_cast<const char*>(&(object.*field.member)) -
                        reinterpret_cast<const char*>(&object);
    std::vector<size_t> shape;
    const DType dtype = FieldElement<F>::Of(&shape);
    layout.Add(field.name, static_cast<size_t>(offset), dtype, std::move(shape));
  };
  std::apply([&](const auto&... field) { (..., add(field)); }, fields);
  return layout;
}

template <class T>
requires IsRecord<T>
struct DTypeOf<T> {
  static constexpr bool kIsElement = true;
  static DType Make() {
    static const RecordLayout* const layout =
        new RecordLayout(LayoutOf<T>(NumpyRecord<T>::kFields));
    return {DTypeKind::kStruct, sizeof(T), false, TimeUnit::kNone, layout};
  }
};

}  // namespace internal
}  // namespace pannier::codec

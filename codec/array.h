// Arrays: NumPy's ndarray in C++. ArrayView<T> is a handle on elements that lie elsewhere, as
// a rule in a received buffer; Array<T> owns its elements, in memory of the process's
// allocator, so that a result is sent with no copy; AnyArray is the view whose element type
// is known at run time only, and lies under both.
//
// A view holds its Buffer: it may outlive the Document and the message that it came from, and
// the buffer is handed back when its last view dies. Strides are in elements and never
// negative. Thread-compatible; views of one buffer may be read from several threads.
#pragma once

#include <algorithm>
#include <cassert>
#include <complex>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "pannier/base/allocator.h"
#include "pannier/base/buffer.h"
#include "pannier/base/status.h"
#include "pannier/codec/array_dtype.h"
#include "pannier/codec/array_record.h"

namespace pannier::codec {

// NumPy 2's limit.
inline constexpr size_t kMaxRank = 64;

// Which index runs fastest through memory: the last (C) or the first (Fortran).
enum class Order : char { kC = 'C', kFortran = 'F' };

// One number for each dimension: a shape, or strides. Made of any integers; a negative one is
// a bug of the caller and counts as a shape too large.
class Extents {
 public:
  struct Extent {
    template <std::integral I>
    Extent(I number) : value(static_cast<size_t>(number)) {}  // NOLINT: implicit by design
    size_t value;
  };

  Extents() = default;
  Extents(std::initializer_list<Extent> extents) {
    for (const Extent& extent : extents) values_.push_back(extent.value);
  }
  explicit Extents(std::span<const size_t> values) : values_(values.begin(), values.end()) {}

  void push_back(size_t value) { values_.push_back(value); }
  size_t rank() const { return values_.size(); }
  size_t operator[](size_t dimension) const { return values_[dimension]; }
  size_t& operator[](size_t dimension) { return values_[dimension]; }
  std::span<const size_t> span() const { return {values_.data(), values_.size()}; }
  friend bool operator==(const Extents& a, const Extents& b) { return a.values_ == b.values_; }

 private:
  absl::InlinedVector<size_t, 4> values_;
};
using Shape = Extents;

// "(2, 3)", "(5,)", "()", as Python writes a tuple.
std::string ShapeText(std::span<const size_t> shape);

// The strides of an array without gaps, or nothing if it has more bytes than a ptrdiff_t can
// count. A dimension of 0 counts as 1, as it does for NumPy.
std::optional<Extents> DenseStrides(const Shape& shape, Order order, size_t itemsize);

class AnyArray {
 public:
  // One dimension of no elements.
  AnyArray() = default;
  explicit AnyArray(DType dtype) : dtype_(dtype) {}

  // Lays an array over `buffer`, its first element at byte `offset`. Errors: InvalidArgument,
  // naming shape and sizes, if any element lies outside the buffer, or rank or size are too
  // large. Alignment is not checked here.
  static StatusOr<AnyArray> Over(DType dtype, const Shape& shape, const Extents& strides,
                                 Buffer buffer, size_t offset = 0);
  static StatusOr<AnyArray> Over(DType dtype, const Shape& shape, Order order, Buffer buffer,
                                 size_t offset = 0);
  // A new array without gaps, in memory of the process's allocator, contents unspecified.
  // Throws std::bad_alloc, also for a size that no memory has.
  static AnyArray New(DType dtype, const Shape& shape, Order order);

  DType dtype() const { return dtype_; }
  std::span<const size_t> shape() const { return shape_.span(); }
  std::span<const size_t> strides() const { return strides_.span(); }  // in elements
  size_t rank() const { return shape_.rank(); }
  size_t size() const { return size_; }  // elements
  size_t size_bytes() const { return size_ * dtype_.itemsize; }
  const std::byte* data() const { return buffer_.data() + offset_; }
  const Buffer& buffer() const { return buffer_; }  // the elements lie somewhere in it
  bool readonly() const { return buffer_.readonly(); }
  bool aligned(size_t alignment) const {
    return size_ == 0 || reinterpret_cast<uintptr_t>(data()) % alignment == 0;
  }

  // Without gaps and with the last, or first, index running fastest. One-dimensional arrays
  // and those of at most one element are both, as in NumPy.
  bool is_c() const { return (layout_ & kIsC) != 0; }
  bool is_fortran() const { return (layout_ & kIsFortran) != 0; }
  // Each element of one range of memory is in the array exactly once, in whatever order.
  bool is_dense() const { return (layout_ & kIsDense) != 0; }
  Order order() const { return is_fortran() && !is_c() ? Order::kFortran : Order::kC; }

  // The sub-array at `index` of the first dimension, in the same buffer. REQUIRES: rank() > 0
  // and index < shape()[0].
  AnyArray Row(size_t index) const;
  // The same elements in this machine's byte order, without gaps, aligned and writable, in
  // memory of the process's allocator. Keeps the order of the axes in memory if the array is
  // dense, else C order. Throws std::bad_alloc.
  AnyArray Copy() const;
  // The same in C order, whatever the order was.
  AnyArray CopyToC() const;
  // The same array, offered read-only.
  AnyArray AsReadonly() const;

 private:
  enum : uint8_t { kIsC = 1, kIsFortran = 2, kIsDense = 4 };
  AnyArray(DType dtype, const Shape& shape, const Extents& strides, Buffer buffer, size_t offset);
  uint8_t FindLayout() const;
  DType NativeDType() const;

  DType dtype_;
  uint8_t layout_ = kIsC | kIsFortran | kIsDense;
  size_t size_ = 0;
  size_t offset_ = 0;  // bytes
  Shape shape_ = {0};
  Extents strides_ = {1};
  Buffer buffer_;
};

// T: an ArrayElement, const for a view that only reads. Copying copies the handle. The
// elements are as const as T, not as the view.
template <class T>
requires ArrayElement<std::remove_const_t<T>>
class ArrayView {
 public:
  using Element = std::remove_const_t<T>;

  ArrayView() : array_(DTypeFor<Element>()) {}  // one dimension of no elements
  // Errors: InvalidArgument, if the elements of `array` are not of type T, misaligned, or
  // read-only while T is not const.
  static StatusOr<ArrayView> Of(AnyArray array);
  // A view of memory that the caller keeps alive longer than any copy of the view.
  static StatusOr<ArrayView> Over(std::span<T> elements, const Shape& shape,
                                  Order order = Order::kC) {
    Buffer buffer(reinterpret_cast<std::byte*>(const_cast<Element*>(elements.data())),
                  elements.size_bytes(), std::is_const_v<T>, nullptr);
    PANNIER_ASSIGN_OR_RETURN(AnyArray array,
                             AnyArray::Over(DTypeFor<Element>(), shape, order, std::move(buffer)));
    return Of(std::move(array));
  }
  // A view that writes is one that reads.
  operator ArrayView<const Element>() const  // NOLINT: implicit as for pointers
      requires(!std::is_const_v<T>) {
    return ArrayView<const Element>(array_);
  }

  std::span<const size_t> shape() const { return array_.shape(); }
  size_t shape(size_t dimension) const { return array_.shape()[dimension]; }
  std::span<const size_t> strides() const { return array_.strides(); }  // in elements
  size_t rank() const { return array_.rank(); }
  size_t size() const { return array_.size(); }
  bool empty() const { return size() == 0; }
  bool is_c() const { return array_.is_c(); }
  bool is_fortran() const { return array_.is_fortran(); }
  bool is_dense() const { return array_.is_dense(); }
  Order order() const { return array_.order(); }

  T* data() const { return data_; }
  // All elements in the order in which they lie in memory. REQUIRES: is_dense(), which holds
  // for all arrays that NumPy pickles; a row of a Fortran array is not.
  std::span<T> flat() const {
    assert(is_dense());
    return {data_, size()};
  }
  // REQUIRES: as many indices as dimensions, each inside; asserted in debug builds.
  template <std::integral... I>
  T& operator()(I... index) const {
    assert(sizeof...(I) == rank());
    size_t offset = 0;
    [[maybe_unused]] size_t dimension = 0;
    (..., (offset += Step(dimension++, static_cast<size_t>(index))));
    return data_[offset];
  }
  // The sub-array at `index` of the first dimension. REQUIRES: rank() > 0, index inside.
  ArrayView row(size_t index) const {
    assert(rank() > 0 && index < shape(0));
    return ArrayView(array_.Row(index));
  }

  const Buffer& buffer() const { return array_.buffer(); }
  const AnyArray& any() const { return array_; }

 private:
  template <class U>
  requires ArrayElement<std::remove_const_t<U>>
  friend class ArrayView;
  template <ArrayElement U>
  friend class Array;

  explicit ArrayView(AnyArray array)
      : array_(std::move(array)),
        data_(reinterpret_cast<T*>(const_cast<std::byte*>(array_.data()))) {}
  size_t Step(size_t dimension, size_t index) const {
    assert(index < shape(dimension));
    return array_.strides()[dimension] * index;
  }

  AnyArray array_;
  T* data_ = nullptr;
};

// A value: copying copies the elements, and a const Array has const elements. Views of it
// share its memory and stay good after its end. An Array that was sent lies in the receivers'
// sight: see docs/ownership.md before changing it again.
template <ArrayElement T>
class Array {
 public:
  using Element = T;

  Array() = default;  // one dimension of no elements
  // Contents unspecified; but zero for bool, which has only two values, and for long double and
  // structs, whose padding would show old memory to the receivers. Throws std::bad_alloc, also for
  // a size that overflows.
  static Array OfShape(const Shape& shape, Order order = Order::kC) {
    Array array(AnyArray::New(DTypeFor<T>(), shape, order));
    if constexpr (kZeroed)
      std::memset(static_cast<void*>(array.data()), 0, array.size() * sizeof(T));
    return array;
  }
  static Array Zeros(const Shape& shape, Order order = Order::kC) {
    Array array = OfShape(shape, order);
    if constexpr (!kZeroed) array.Fill(T{});
    return array;
  }
  // Of the shape and order of another array, of whatever type; contents as of OfShape.
  template <class U>
  static Array LikeShape(const ArrayView<U>& other) {
    return OfShape(Shape(other.shape()), other.order());
  }
  template <class U>
  static Array LikeShape(const Array<U>& other) {
    return OfShape(Shape(other.shape()), other.order());
  }
  // One-dimensional, a copy.
  static Array Of(std::span<const T> elements) {
    Array array = OfShape({elements.size()});
    std::ranges::copy(elements, array.data());
    return array;
  }
  static Array Of(std::initializer_list<T> elements) {
    return Of(std::span<const T>(elements.begin(), elements.size()));
  }
  static Array CopyOf(const ArrayView<const T>& view) { return Array(view.any().Copy()); }
  // Takes over the elements of `array`, which nobody else may use from now on; copies them
  // if they are read-only, have gaps, are misaligned or of the other byte order. Errors:
  // InvalidArgument, if they are of another type.
  static StatusOr<Array> Adopt(AnyArray array);

  Array(const Array& other) : view_(other.view_.any().Copy()) {}
  Array(Array&& other) noexcept { swap(other); }
  Array& operator=(Array other) noexcept {
    swap(other);
    return *this;
  }
  ~Array() = default;
  void swap(Array& other) noexcept { std::swap(view_, other.view_); }

  operator ArrayView<T>() { return view_; }              // NOLINT: implicit by design
  operator ArrayView<const T>() const { return view_; }  // NOLINT: implicit by design
  ArrayView<T> view() { return view_; }
  ArrayView<const T> view() const { return view_; }

  std::span<const size_t> shape() const { return view_.shape(); }
  size_t shape(size_t dimension) const { return view_.shape(dimension); }
  std::span<const size_t> strides() const { return view_.strides(); }
  size_t rank() const { return view_.rank(); }
  size_t size() const { return view_.size(); }
  bool empty() const { return view_.empty(); }
  bool is_c() const { return view_.is_c(); }
  bool is_fortran() const { return view_.is_fortran(); }
  Order order() const { return view_.order(); }

  T* data() { return view_.data(); }
  const T* data() const { return view_.data(); }
  std::span<T> flat() { return view_.flat(); }  // in the order of memory
  std::span<const T> flat() const { return view_.flat(); }
  template <std::integral... I>
  T& operator()(I... index) {
    return view_(index...);
  }
  template <std::integral... I>
  const T& operator()(I... index) const {
    return view_(index...);
  }
  ArrayView<T> row(size_t index) { return view_.row(index); }
  ArrayView<const T> row(size_t index) const { return view_.row(index); }
  void Fill(const T& value) { std::ranges::fill(flat(), value); }

  const Buffer& buffer() const { return view_.buffer(); }
  const AnyArray& any() const { return view_.any(); }

 private:
  static constexpr bool kZeroed = std::is_same_v<T, bool> || std::is_same_v<T, long double> ||
                                  std::is_same_v<T, std::complex<long double>> ||
                                  internal::IsRecord<T>;

  explicit Array(AnyArray array) : view_(std::move(array)) {}

  ArrayView<T> view_;
};

// ---- Inline bodies. -----------------------------------------------------------------------

template <class T>
requires ArrayElement<std::remove_const_t<T>> StatusOr<ArrayView<T>> ArrayView<T>::Of(
    AnyArray array) {
  if (array.dtype() != DTypeFor<Element>()) {
    return MakeError(ErrorKind::kInvalidArgument, "a view of " + DTypeFor<Element>().Name() +
                                                      " elements cannot show an array of " +
                                                      array.dtype().Name());
  }
  if (!array.aligned(alignof(T))) {
    return MakeError(ErrorKind::kInvalidArgument,
                     "the array is misaligned for " + array.dtype().Name() + "; copy it first");
  }
  if (!std::is_const_v<T> && array.readonly()) {
    return MakeError(ErrorKind::kInvalidArgument,
                     "the array is read-only; view its elements as const, or copy it");
  }
  return ArrayView(std::move(array));
}

template <ArrayElement T>
StatusOr<Array<T>> Array<T>::Adopt(AnyArray array) {
  DType native = array.dtype();
  native.big_endian = false;
  if (native != DTypeFor<T>()) {
    return MakeError(
        ErrorKind::kInvalidArgument,
        "an Array of " + DTypeFor<T>().Name() + " cannot take an array of " + array.dtype().Name());
  }
  if (array.dtype().big_endian || array.readonly() || !array.is_dense() ||
      !array.aligned(alignof(T))) {
    return Array(array.Copy());
  }
  return Array(std::move(array));
}

}  // namespace pannier::codec

namespace pannier {
using codec::Array;
using codec::ArrayView;
}  // namespace pannier

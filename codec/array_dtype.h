// The element types that arrays of both worlds have: NumPy's bool, integers, floats and
// complex numbers, and the C++ types that have their size and format.
#pragma once

#include <complex>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

namespace pannier::codec {

// NumPy's float16, IEEE 754 binary16: storage only. Convert to compute.
struct Float16 {
  uint16_t bits = 0;

  // Rounds to nearest, ties to even; what is too large becomes infinity.
  static Float16 FromFloat(float value);
  float ToFloat() const;  // exact
  // Of the bits: 0.0 and -0.0 differ, a NaN equals itself.
  friend bool operator==(Float16 a, Float16 b) { return a.bits == b.bits; }
};

// NumPy's letters for kinds of element.
enum class DTypeKind : char {
  kBool = 'b',
  kInt = 'i',
  kUnsigned = 'u',
  kFloat = 'f',
  kComplex = 'c',
};

struct DType {
  DTypeKind kind = DTypeKind::kUnsigned;
  uint8_t itemsize = 1;     // bytes
  bool big_endian = false;  // only where itemsize > 1

  // From NumPy's array-interface code, with or without a byte order: "<f8", "i4", "|b1".
  // Nothing if the code means no type of ours: strings, dates, objects, structures.
  static std::optional<DType> FromCode(std::string_view code);
  // The code with its byte order: "<f8", "|u1".
  std::string Code() const;
  // NumPy's name: "float64", "big-endian int32".
  std::string Name() const;
  // Bytes that change places when the byte order changes: half an element for complex.
  size_t swap_unit() const { return kind == DTypeKind::kComplex ? itemsize / 2 : itemsize; }

  friend bool operator==(const DType&, const DType&) = default;
};

// NumPy's longdouble, and so its float128 or float96, is the platform's.
inline constexpr bool kHasLongDouble =
    std::numeric_limits<long double>::digits > std::numeric_limits<double>::digits;

namespace internal {

template <class T>
struct DTypeOf {
  static constexpr bool kIsElement = false;
};
template <class T, DTypeKind kKind>
struct NativeDType {
  static constexpr bool kIsElement = true;
  static constexpr DType kValue = {kKind, sizeof(T), false};
};

// char is text, and wchar_t and its kin are too: no numbers.
template <class T>
inline constexpr bool kIsNumberInteger =
    std::is_integral_v<T> && !std::is_same_v<T, bool> && !std::is_same_v<T, char> &&
    !std::is_same_v<T, wchar_t> && !std::is_same_v<T, char8_t> && !std::is_same_v<T, char16_t> &&
    !std::is_same_v<T, char32_t> && sizeof(T) <= 8;

template <>
struct DTypeOf<bool> : NativeDType<bool, DTypeKind::kBool> {};
template <class T>
requires kIsNumberInteger<T>
struct DTypeOf<T> : NativeDType<T, std::is_signed_v<T> ? DTypeKind::kInt : DTypeKind::kUnsigned> {
};
template <>
struct DTypeOf<std::byte> : NativeDType<std::byte, DTypeKind::kUnsigned> {};
template <>
struct DTypeOf<Float16> : NativeDType<Float16, DTypeKind::kFloat> {};
template <class T>
requires std::is_floating_point_v<T>
struct DTypeOf<T> : NativeDType<T, DTypeKind::kFloat> {
};
template <class T>
struct DTypeOf<std::complex<T>> : NativeDType<std::complex<T>, DTypeKind::kComplex> {};

static_assert(sizeof(bool) == 1 && sizeof(Float16) == 2);

}  // namespace internal

// The C++ types that arrays may hold: bool, integers of 8 to 64 bits (not char), std::byte,
// Float16, float, double, long double, and std::complex of the last three.
template <class T>
concept ArrayElement = internal::DTypeOf<T>::kIsElement;

template <ArrayElement T>
constexpr DType DTypeFor() {
  return internal::DTypeOf<T>::kValue;
}

}  // namespace pannier::codec

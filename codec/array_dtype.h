// The element types that arrays of both worlds have: NumPy's bool, integers, floats, complex
// numbers, datetime64, timedelta64 and structures, and the C++ types of their size and format.
#pragma once

#include <chrono>
#include <complex>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <ratio>
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
  kDatetime = 'M',
  kTimedelta = 'm',
  kStruct = 'V',
};

// What a datetime64 or timedelta64 counts, those of one length alone: no months, no years.
enum class TimeUnit : uint8_t {
  kNone,
  kWeek,
  kDay,
  kHour,
  kMinute,
  kSecond,
  kMilli,
  kMicro,
  kNano,
  kPico,
  kFemto,
  kAtto,
};
// "ns", NumPy's name; empty for kNone.
std::string_view TimeUnitName(TimeUnit unit);
TimeUnit TimeUnitOf(std::string_view name);  // kNone if there is none of ours

struct RecordLayout;  // array_record.h

struct DType {
  DTypeKind kind = DTypeKind::kUnsigned;
  uint32_t itemsize = 1;            // bytes
  bool big_endian = false;          // only where itemsize > 1, and not of structures
  TimeUnit unit = TimeUnit::kNone;  // datetime64 and timedelta64
  // Structures: the fields; lives as long as the process. One for each C++ type.
  const RecordLayout* layout = nullptr;

  // From NumPy's array-interface code, with or without a byte order: "<f8", "i4", "|b1",
  // "<M8[ns]". Nothing if the code means no type of ours: strings, objects, structures.
  static std::optional<DType> FromCode(std::string_view code);
  // The code with its byte order: "<f8", "|u1", "|V16".
  std::string Code() const;
  // NumPy's name: "float64", "big-endian int32", "datetime64[ns]"; of structures the fields.
  std::string Name() const;
  bool is_time() const { return kind == DTypeKind::kDatetime || kind == DTypeKind::kTimedelta; }
  // Bytes that change places when the byte order changes: half an element for complex.
  size_t swap_unit() const {
    return kind == DTypeKind::kComplex ? size_t{itemsize} / 2 : size_t{itemsize};
  }

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

template <class Period>
constexpr TimeUnit UnitOfPeriod() {
  using std::ratio_equal_v;
  if (ratio_equal_v<Period, std::ratio<604'800>>) return TimeUnit::kWeek;
  if (ratio_equal_v<Period, std::ratio<86'400>>) return TimeUnit::kDay;
  if (ratio_equal_v<Period, std::ratio<3600>>) return TimeUnit::kHour;
  if (ratio_equal_v<Period, std::ratio<60>>) return TimeUnit::kMinute;
  if (ratio_equal_v<Period, std::ratio<1>>) return TimeUnit::kSecond;
  if (ratio_equal_v<Period, std::milli>) return TimeUnit::kMilli;
  if (ratio_equal_v<Period, std::micro>) return TimeUnit::kMicro;
  if (ratio_equal_v<Period, std::nano>) return TimeUnit::kNano;
  if (ratio_equal_v<Period, std::pico>) return TimeUnit::kPico;
  if (ratio_equal_v<Period, std::femto>) return TimeUnit::kFemto;
  if (ratio_equal_v<Period, std::atto>) return TimeUnit::kAtto;
  return TimeUnit::kNone;
}
template <class T, DTypeKind kKind, class Period>
struct TimeDType {
  static constexpr bool kIsElement = true;
  static constexpr DType kValue = {kKind, sizeof(T), false, UnitOfPeriod<Period>()};
};
// NumPy counts with int64_t, and so do most of the standard durations.
template <class Rep, class Period>
inline constexpr bool kIsTimeElement =
    std::is_integral_v<Rep>&& std::is_signed_v<Rep> &&
    sizeof(Rep) == 8 && UnitOfPeriod<Period>() != TimeUnit::kNone;
template <class Rep, class Period>
requires kIsTimeElement<Rep, Period>
struct DTypeOf<std::chrono::duration<Rep, Period>>
    : TimeDType<std::chrono::duration<Rep, Period>, DTypeKind::kTimedelta, Period> {
};
template <class Rep, class Period>
requires kIsTimeElement<Rep, Period>
struct DTypeOf<std::chrono::sys_time<std::chrono::duration<Rep, Period>>>
    : TimeDType<std::chrono::duration<Rep, Period>, DTypeKind::kDatetime, Period> {
};

static_assert(sizeof(bool) == 1 && sizeof(Float16) == 2);

}  // namespace internal

// The C++ types that arrays may hold: bool, integers of 8 to 64 bits (not char), std::byte,
// Float16, float, double, long double, std::complex of the last three; std::chrono's durations
// and sys_times that count with 64 bits what NumPy counts (NaT is the lowest number, as
// duration::min()); and structs with a NumpyRecord (array_record.h).
template <class T>
concept ArrayElement = internal::DTypeOf<T>::kIsElement;

template <ArrayElement T>
constexpr DType DTypeFor() {
  if constexpr (requires { internal::DTypeOf<T>::Make(); }) {
    return internal::DTypeOf<T>::Make();
  } else {
    return internal::DTypeOf<T>::kValue;
  }
}

}  // namespace pannier::codec

// Numbers, text, bytes, None and enums.
//
//   C++                                 from Python
//   bool                                bool, numpy.bool_
//   integers of 8 to 64 bits            int, NumPy's integers; not bool; range-checked
//   float, double, long double          float, int, NumPy's floats and integers
//   Float16                             the same; rounded
//   std::complex                        complex, and what floats take
//   std::string, std::string_view       str
//   std::vector<std::byte>, ByteSpan,   bytes, bytearray, PickleBuffer
//     Buffer
//   std::nullptr_t, std::monostate      None
//   enums                               int, and the enum that PythonEnum names
//
// string_view and ByteSpan look into the Document. A Buffer of an out-of-band buffer holds it;
// else it is a copy. To Python, ByteSpan and std::vector<std::byte> are bytes, and a Buffer is
// a PickleBuffer: out of band, and what the receiver's owner of it is there (below protocol 5:
// bytes, or bytearray if it is writable). Text must be UTF-8. char is no number and has no
// mapping.
#pragma once

#include <cmath>
#include <complex>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "pannier/base/buffer.h"
#include "pannier/codec/array_dtype.h"
#include "pannier/codec/convert.h"
#include "pannier/codec/convert_direct.h"

namespace pannier::codec {

// Names the Python enum that a C++ enum stands for, member for member by value. Specialise:
//
//   template <>
//   struct pannier::codec::PythonEnum<Mode> {
//     static constexpr std::string_view kModule = "camera";
//     static constexpr std::string_view kName = "Mode";  // qualified
//     // Optional, for Pythons that pickle members by name (3.11.0 to 3.11.3):
//     static constexpr std::pair<std::string_view, Mode> kMembers[] = {{"DAY", Mode::kDay}};
//   };
template <class E>
struct PythonEnum;

namespace internal {

// Integers that are no Int of the right size: NumPy's scalars, and ints beyond int64_t.
// Range-checked against [lowest, highest], whose names go into the message.
StatusOr<int64_t> SlowInt(const Value& value, const Place& place, const std::string& name,
                          int64_t lowest, int64_t highest);
StatusOr<uint64_t> SlowUnsigned(const Value& value, const Place& place, const std::string& name,
                                uint64_t highest);
StatusOr<bool> SlowBool(const Value& value, const Place& place);
// `highest`: the largest finite number of the type wanted.
StatusOr<long double> SlowFloat(const Value& value, const Place& place, const char* name,
                                long double highest);
StatusOr<std::complex<long double>> ComplexFrom(const Value& value, const Place& place,
                                                long double highest);
StatusOr<std::string_view> TextFrom(const Value& value, const Place& place);
// The x of module.name(x); errors if `value` is neither that nor an int.
StatusOr<Value> EnumNumber(const Value& value, const Place& place, std::string_view module,
                           std::string_view name);
// The NAME of getattr(module.name, 'NAME'); empty if `value` is none.
std::string_view EnumMemberName(const Value& value, std::string_view module, std::string_view name);

}  // namespace internal

template <>
struct Convert<bool> {
  static std::string Name() { return "bool"; }
  static std::optional<bool> FromPlain(const Value& value) {
    if (!value.is(Kind::kBool)) return std::nullopt;
    return value.bool_value();
  }
  static constexpr bool kDirect = true;
  static bool ReadDirect(DirectReader& in, bool* b) { return in.ReadBool(b); }
  static StatusOr<bool> From(const Value& value, const Place& place) {
    if (const auto plain = FromPlain(value)) return *plain;
    return internal::SlowBool(value, place);
  }
  static Value To(bool b, Builder&) { return Value::Bool(b); }
};

template <class T>
requires internal::kIsNumberInteger<T>
struct Convert<T> {
  static std::string Name() { return DTypeFor<T>().Name(); }
  static std::optional<T> FromPlain(const Value& value) {
    if (!value.is(Kind::kInt) || !std::in_range<T>(value.int_value())) return std::nullopt;
    return static_cast<T>(value.int_value());
  }
  static constexpr bool kDirect = true;
  static bool ReadDirect(DirectReader& in, T* number) {
    int64_t read;
    return in.ReadInt(&read) && FromDirect(read, number);
  }
  static bool FromDirect(int64_t read, T* number) {
    *number = static_cast<T>(read);
    return std::in_range<T>(read);
  }
  static StatusOr<T> From(const Value& value, const Place& place) {
    if (const auto plain = FromPlain(value)) return *plain;
    if constexpr (std::is_signed_v<T>) {
      PANNIER_ASSIGN_OR_RETURN(
          const int64_t slow, internal::SlowInt(value, place, Name(), std::numeric_limits<T>::min(),
                                                std::numeric_limits<T>::max()));
      return static_cast<T>(slow);
    } else {
      PANNIER_ASSIGN_OR_RETURN(
          const uint64_t slow,
          internal::SlowUnsigned(value, place, Name(), std::numeric_limits<T>::max()));
      return static_cast<T>(slow);
    }
  }
  static Value To(T number, Builder& builder) {
    if (std::in_range<int64_t>(number)) return Value::Int(static_cast<int64_t>(number));
    return builder.document().NewUnsigned(static_cast<uint64_t>(number));
  }
};

template <class T>
requires std::is_floating_point_v<T>
struct Convert<T> {
  static std::string Name() { return "float"; }
  static std::optional<T> FromPlain(const Value& value) {
    if (!value.is(Kind::kFloat)) return std::nullopt;
    const double number = value.float_value();
    if constexpr (sizeof(T) < sizeof(double)) {
      if (!(std::abs(number) <= std::numeric_limits<T>::max())) return std::nullopt;
    }
    return static_cast<T>(number);
  }
  static constexpr bool kDirect = true;
  static bool ReadDirect(DirectReader& in, T* number) {
    double read;
    return in.ReadFloat(&read) && FromDirect(read, number);
  }
  static bool FromDirect(double read, T* number) {
    if (sizeof(T) < sizeof(double) && std::isfinite(read) &&
        std::abs(read) > static_cast<double>(std::numeric_limits<T>::max())) {
      return false;
    }
    *number = static_cast<T>(read);
    return true;
  }
  static StatusOr<T> From(const Value& value, const Place& place) {
    if (const auto plain = FromPlain(value)) return *plain;
    PANNIER_ASSIGN_OR_RETURN(const long double slow,
                             internal::SlowFloat(value, place, sizeof(T) == 4 ? "float32" : "float",
                                                 std::numeric_limits<T>::max()));
    return static_cast<T>(slow);
  }
  static Value To(T number, Builder&) { return Value::Float(static_cast<double>(number)); }
};

template <>
struct Convert<Float16> {
  static std::string Name() { return "float"; }
  static StatusOr<Float16> From(const Value& value, const Place& place) {
    // Up to what rounds to the largest half.
    PANNIER_ASSIGN_OR_RETURN(const long double slow,
                             internal::SlowFloat(value, place, "float16", 65519.0L));
    return Float16::FromFloat(static_cast<float>(slow));
  }
  static Value To(Float16 number, Builder&) {
    return Value::Float(static_cast<double>(number.ToFloat()));
  }
};

template <class T>
struct Convert<std::complex<T>> {
  static std::string Name() { return "complex"; }
  static StatusOr<std::complex<T>> From(const Value& value, const Place& place) {
    PANNIER_ASSIGN_OR_RETURN(const std::complex<long double> slow,
                             internal::ComplexFrom(value, place, std::numeric_limits<T>::max()));
    return std::complex<T>(static_cast<T>(slow.real()), static_cast<T>(slow.imag()));
  }
  static Value To(const std::complex<T>& number, Builder& builder) {
    Document& document = builder.document();
    return document.NewReduce(document.NewGlobal("builtins", "complex"),
                              {Value::Float(static_cast<double>(number.real())),
                               Value::Float(static_cast<double>(number.imag()))});
  }
};

template <>
struct Convert<std::string> {
  static constexpr bool kDirect = true;
  static std::string Name() { return "str"; }
  static bool ReadDirect(DirectReader& in, std::string* text) {
    std::string_view read;
    if (!in.ReadText(&read) || !in.Charge(read.size())) return false;
    *text = read;
    return true;
  }
  static StatusOr<std::string> From(const Value& value, const Place& place);
  static Value To(const std::string& text, Builder& builder) {
    return builder.document().NewStrView(text);
  }
};

template <>
struct Convert<std::string_view> {
  static constexpr bool kBorrows = true;
  static std::string Name() { return "str"; }
  static StatusOr<std::string_view> From(const Value& value, const Place& place) {
    return internal::TextFrom(value, place);
  }
  static Value To(std::string_view text, Builder& builder) {
    return builder.document().NewStrView(text);
  }
};

// Text up to its first NUL.
template <>
struct Convert<const char*> {
  static std::string Name() { return "str"; }
  static Value To(const char* text, Builder& builder) {
    return builder.document().NewStrView(text);
  }
};
template <>
struct Convert<char*> : Convert<const char*> {};
template <size_t kSize>
struct Convert<char[kSize]> : Convert<const char*> {};

template <>
struct Convert<std::vector<std::byte>> {
  static std::string Name() { return "bytes"; }
  static StatusOr<std::vector<std::byte>> From(const Value& value, const Place& place);
  static Value To(const std::vector<std::byte>& bytes, Builder& builder) {
    return builder.document().NewBytesView(bytes);
  }
};

template <>
struct Convert<ByteSpan> {
  static constexpr bool kBorrows = true;
  static std::string Name() { return "bytes"; }
  static StatusOr<ByteSpan> From(const Value& value, const Place& place);
  static Value To(ByteSpan bytes, Builder& builder) {
    return builder.document().NewBytesView(bytes);
  }
};

template <>
struct Convert<Buffer> {
  static std::string Name() { return "bytes"; }
  static StatusOr<Buffer> From(const Value& value, const Place& place);
  static Value To(const Buffer& buffer, Builder& builder);
};

template <class T>
requires(std::is_same_v<T, std::nullptr_t> || std::is_same_v<T, std::monostate>) struct Convert<T> {
  static std::string Name() { return "None"; }
  static StatusOr<T> From(const Value& value, const Place& place) {
    if (!value.is_none()) return place.Expected(Name(), value);
    return T{};
  }
  static Value To(T, Builder&) { return Value::None(); }
};

template <class E>
requires(std::is_enum_v<E> && !std::is_same_v<E, std::byte>) struct Convert<E> {
  using Number = std::underlying_type_t<E>;
  static constexpr bool kIsNamed = requires { PythonEnum<E>::kModule; };

  static std::string Name() {
    if constexpr (kIsNamed) {
      return std::string(PythonEnum<E>::kModule) + "." + std::string(PythonEnum<E>::kName);
    } else {
      return "int";
    }
  }
  static StatusOr<E> From(const Value& value, const Place& place) {
    if constexpr (kIsNamed) return FromNamed(value, place);
    PANNIER_ASSIGN_OR_RETURN(const Number number, codec::From<Number>(value, place));
    return static_cast<E>(number);
  }
  static Value To(E member, Builder& builder) {
    const Value number = codec::To(static_cast<Number>(member), builder);
    if constexpr (kIsNamed) {
      Document& document = builder.document();
      return document.NewReduce(document.NewGlobal(PythonEnum<E>::kModule, PythonEnum<E>::kName),
                                {number});
    } else {
      return number;
    }
  }

 private:
  static StatusOr<E> FromNamed(const Value& value, const Place& place) {
    using Named = PythonEnum<E>;
    if constexpr (requires { Named::kMembers; }) {
      const std::string_view name = internal::EnumMemberName(value, Named::kModule, Named::kName);
      for (const auto& [member_name, member] : Named::kMembers) {
        if (!name.empty() && name == member_name) return member;
      }
    }
    PANNIER_ASSIGN_OR_RETURN(const Value number,
                             internal::EnumNumber(value, place, Named::kModule, Named::kName));
    PANNIER_ASSIGN_OR_RETURN(const Number own, codec::From<Number>(number, place));
    return static_cast<E>(own);
  }
};

}  // namespace pannier::codec

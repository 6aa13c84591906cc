// Values of Python's standard library that C++ has no types for, and wrappers for types that
// would else be written as another.
//
//   C++                         Python
//   Decimal                     decimal.Decimal, by its text
//   Fraction                    fractions.Fraction
//   Uuid                        uuid.UUID
//   Range, Slice                range, slice
//   ByteArray                   bytearray
//   std::filesystem::path       pathlib.PosixPath and PurePosixPath; written as PosixPath
//
// Bytes elsewhere are ByteSpan, std::vector<std::byte> and Buffer; std::span<const uint8_t> is
// the first of these by another name.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "pannier/codec/convert.h"
#include "pannier/codec/convert_scalar.h"

namespace pannier::codec {

// "1.5", "-0E+3", "NaN": what str(d) says. Written as it is; Python checks it when it loads.
struct Decimal {
  std::string text;
  friend bool operator==(const Decimal&, const Decimal&) = default;
};

// In lowest terms with a positive denominator, as Python keeps it; others are refused on both
// sides, as no Fraction is like that. Larger ones are errors.
struct Fraction {
  int64_t numerator = 0;
  int64_t denominator = 1;
  friend bool operator==(const Fraction&, const Fraction&) = default;
};

// In the order of the text form, which is that of RFC 4122.
struct Uuid {
  std::array<uint8_t, 16> bytes{};
  friend auto operator<=>(const Uuid&, const Uuid&) = default;
};

struct Range {
  int64_t start = 0;
  int64_t stop = 0;
  int64_t step = 1;  // not 0
  friend bool operator==(const Range&, const Range&) = default;
};

struct Slice {
  std::optional<int64_t> start;
  std::optional<int64_t> stop;
  std::optional<int64_t> step;
  friend bool operator==(const Slice&, const Slice&) = default;
};

struct ByteArray {
  std::vector<std::byte> bytes;
  friend bool operator==(const ByteArray&, const ByteArray&) = default;
};

template <>
struct Convert<Decimal> {
  static std::string Name() { return "decimal.Decimal"; }
  static StatusOr<Decimal> From(const Value& value, const Place& place);
  static Value To(const Decimal& decimal, Builder& builder);
};

template <>
struct Convert<Fraction> {
  static std::string Name() { return "fractions.Fraction"; }
  static StatusOr<Fraction> From(const Value& value, const Place& place);
  static Value To(const Fraction& fraction, Builder& builder);
};

template <>
struct Convert<Uuid> {
  static std::string Name() { return "uuid.UUID"; }
  static StatusOr<Uuid> From(const Value& value, const Place& place);
  static Value To(const Uuid& uuid, Builder& builder);
};

template <>
struct Convert<Range> {
  static std::string Name() { return "range"; }
  static StatusOr<Range> From(const Value& value, const Place& place);
  static Value To(const Range& range, Builder& builder);
};

template <>
struct Convert<Slice> {
  static std::string Name() { return "slice"; }
  static StatusOr<Slice> From(const Value& value, const Place& place);
  static Value To(const Slice& slice, Builder& builder);
};

// Reads what is a bytearray alone.
template <>
struct Convert<ByteArray> {
  static std::string Name() { return "bytearray"; }
  static StatusOr<ByteArray> From(const Value& value, const Place& place);
  static Value To(const ByteArray& array, Builder& builder) {
    return builder.document().NewByteArrayView(array.bytes);
  }
};

template <>
struct Convert<std::filesystem::path> {
  static std::string Name() { return "pathlib.PosixPath"; }
  static StatusOr<std::filesystem::path> From(const Value& value, const Place& place);
  static Value To(const std::filesystem::path& path, Builder& builder);
};

template <>
struct Convert<std::span<const uint8_t>> {
  static constexpr bool kBorrows = true;
  static std::string Name() { return "bytes"; }
  static StatusOr<std::span<const uint8_t>> From(const Value& value, const Place& place) {
    PANNIER_ASSIGN_OR_RETURN(const ByteSpan bytes, codec::From<ByteSpan>(value, place));
    return std::span(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  }
  static Value To(std::span<const uint8_t> bytes, Builder& builder) {
    return builder.document().NewBytesView(std::as_bytes(bytes));
  }
};

}  // namespace pannier::codec

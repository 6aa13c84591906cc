#include "pannier/codec/array_dtype.h"

#include <bit>
#include <cmath>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "pannier/base/status.h"
#include "pannier/codec/array_record.h"

namespace pannier::codec {
namespace {

// In the order of TimeUnit.
constexpr std::string_view kUnits[] = {"",   "W",  "D",  "h",  "m",  "s",
                                       "ms", "us", "ns", "ps", "fs", "as"};

// "8[ns]", what stands behind M or m.
std::optional<DType> TimeFromCode(std::string_view code, DType dtype) {
  if (!code.starts_with("8[") || !code.ends_with("]")) return std::nullopt;
  dtype.unit = TimeUnitOf(code.substr(2, code.size() - 3));
  dtype.itemsize = 8;
  return dtype.unit == TimeUnit::kNone ? std::nullopt : std::optional(dtype);
}

}  // namespace

std::string_view TimeUnitName(TimeUnit unit) { return kUnits[static_cast<size_t>(unit)]; }

TimeUnit TimeUnitOf(std::string_view name) {
  for (size_t i = 1; i < std::size(kUnits); ++i) {
    if (kUnits[i] == name) return static_cast<TimeUnit>(i);
  }
  return TimeUnit::kNone;
}

Float16 Float16::FromFloat(float value) {
  const uint32_t in = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>(in >> 16 & 0x8000);
  const uint32_t magnitude = in & 0x7fffffff;
  if (magnitude > 0x7f800000) {  // NaN: the payload's upper bits, never all zero
    return {static_cast<uint16_t>(sign | 0x7e00 | (magnitude >> 13 & 0x3ff))};
  }
  if (magnitude >= 0x477ff000) return {static_cast<uint16_t>(sign | 0x7c00)};  // rounds past 65504
  if (magnitude < 0x38800000) {  // below 2^-14: subnormal, in units of 2^-24
    // The sum's unit in the last place is 2^-24, so the addition itself rounds.
    const float units = std::bit_cast<float>(magnitude) + 0.5f;
    return {static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(units) - 0x3f000000))};
  }
  // Rebias the exponent (127 to 15), then round off 13 bits to nearest even; a carry out of
  // the mantissa goes where it belongs.
  const uint32_t rebiased = magnitude - ((127 - 15) << 23);
  const uint32_t odd = rebiased >> 13 & 1;
  return {static_cast<uint16_t>(sign | ((rebiased + 0xfff + odd) >> 13))};
}

float Float16::ToFloat() const {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
  const uint32_t exponent = bits >> 10 & 0x1f;
  const uint32_t mantissa = bits & 0x3ff;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000 | mantissa << 13);
  if (exponent == 0) {
    const float magnitude = std::ldexp(static_cast<float>(mantissa), -24);
    return sign != 0 ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | (exponent + (127 - 15)) << 23 | mantissa << 13);
}

std::optional<DType> DType::FromCode(std::string_view code) {
  DType dtype;
  if (!code.empty() && (code[0] == '<' || code[0] == '>' || code[0] == '=' || code[0] == '|')) {
    dtype.big_endian = code[0] == '>';
    code.remove_prefix(1);
  }
  if (code.starts_with('M') || code.starts_with('m')) {
    dtype.kind = static_cast<DTypeKind>(code[0]);
    return TimeFromCode(code.substr(1), dtype);
  }
  if (code.size() < 2 || code.size() > 3 || code[1] == '0') return std::nullopt;
  unsigned size = 0;
  for (const char digit : code.substr(1)) {
    if (digit < '0' || digit > '9') return std::nullopt;
    size = size * 10 + static_cast<unsigned>(digit - '0');
  }
  bool known = false;
  const bool has_long_double = kHasLongDouble;
  switch (code[0]) {
    case 'b':
      known = size == 1;
      break;
    case 'i':
    case 'u':
      known = size == 1 || size == 2 || size == 4 || size == 8;
      break;
    case 'f':
      known =
          size == 2 || size == 4 || size == 8 || (has_long_double && size == sizeof(long double));
      break;
    case 'c':
      known = size == 8 || size == 16 || (has_long_double && size == 2 * sizeof(long double));
      break;
    default:
      break;
  }
  if (!known) return std::nullopt;
  dtype.kind = static_cast<DTypeKind>(code[0]);
  dtype.itemsize = size;
  if (size == 1) dtype.big_endian = false;
  return dtype;
}

std::string DType::Code() const {
  const bool has_order = itemsize > 1 && kind != DTypeKind::kStruct;
  const char order = !has_order ? '|' : big_endian ? '>' : '<';
  const std::string unit_text =
      is_time() ? absl::StrCat("[", ToAbsl(TimeUnitName(unit)), "]") : std::string();
  return absl::StrCat(std::string{order, static_cast<char>(kind)}, itemsize, unit_text);
}

std::string DType::Name() const {
  const uint32_t bits = 8 * itemsize;
  const char* order = big_endian ? "big-endian " : "";
  switch (kind) {
    case DTypeKind::kBool:
      return "bool";
    case DTypeKind::kInt:
      return absl::StrCat(order, "int", bits);
    case DTypeKind::kUnsigned:
      return absl::StrCat(order, "uint", bits);
    case DTypeKind::kFloat:
      return absl::StrCat(order, "float", bits);
    case DTypeKind::kComplex:
      return absl::StrCat(order, "complex", bits);
    case DTypeKind::kDatetime:
      return absl::StrCat(order, "datetime64[", ToAbsl(TimeUnitName(unit)), "]");
    case DTypeKind::kTimedelta:
      return absl::StrCat(order, "timedelta64[", ToAbsl(TimeUnitName(unit)), "]");
    case DTypeKind::kStruct:
      return layout == nullptr ? "structure" : layout->Text();
  }
  return "unknown";
}

}  // namespace pannier::codec

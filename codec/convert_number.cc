#include "pannier/codec/convert_number.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "pannier/codec/convert_array.h"
#include "pannier/codec/convert_dtype.h"
#include "pannier/codec/convert_shapes.h"

namespace pannier::codec {
namespace {

template <class T>
T Load(const std::byte* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return value;
}

long double LoadFloat(const std::byte* bytes, size_t size) {
  switch (size) {
    case 2:
      return Load<Float16>(bytes).ToFloat();
    case 4:
      return Load<float>(bytes);
    case 8:
      return Load<double>(bytes);
    default:
      return Load<long double>(bytes);
  }
}

Number LoadNumber(DType dtype, const std::byte* bytes) {
  Number number;
  const size_t size = dtype.itemsize;
  const int shift = 64 - 8 * static_cast<int>(std::min<size_t>(size, 8));
  uint64_t bits = 0;
  std::memcpy(&bits, bytes, std::min(size, sizeof(bits)));
  switch (dtype.kind) {
    case DTypeKind::kBool:
      number.kind = Number::Kind::kBool;
      number.int_value = bits != 0;
      break;
    case DTypeKind::kInt:
      number.int_value = static_cast<int64_t>(bits << shift) >> shift;
      break;
    case DTypeKind::kUnsigned:
      number.int_value = static_cast<int64_t>(bits);
      if (number.int_value < 0) number.kind = Number::Kind::kUnsigned;
      number.unsigned_value = bits;
      break;
    case DTypeKind::kFloat:
      number.kind = Number::Kind::kFloat;
      number.real = LoadFloat(bytes, size);
      break;
    case DTypeKind::kComplex:
      number.kind = Number::Kind::kComplex;
      number.real = LoadFloat(bytes, size / 2);
      number.imaginary = LoadFloat(bytes + size / 2, size / 2);
      break;
    default:  // not asked for
      break;
  }
  return number;
}

// numpy.core.multiarray.scalar(dtype, bytes).
std::optional<Number> NumpyScalar(std::span<const Value> args, const Document& document) {
  if (args.size() != 2) return std::nullopt;
  const auto dtype = DTypeOf(args[0]);
  const auto data = OldBytesOf(args[1], document);
  if (!dtype || !data || data->bytes.size() != dtype->itemsize || dtype->is_time()) {
    return std::nullopt;
  }
  std::byte bytes[32];
  static_assert(sizeof(bytes) >= 2 * sizeof(long double));
  std::memcpy(bytes, data->bytes.data(), dtype->itemsize);
  if (dtype->big_endian) {
    for (size_t at = 0; at < dtype->itemsize; at += dtype->swap_unit()) {
      std::reverse(bytes + at, bytes + at + dtype->swap_unit());
    }
  }
  return LoadNumber(*dtype, bytes);
}

std::optional<Number> CallNumber(const Value& call, const Document& document) {
  const auto args = ArgumentsOf(call);
  if (!args) return std::nullopt;
  const Value callee = call.callee();
  if (IsNumpyCore(callee, "multiarray", "scalar")) return NumpyScalar(*args, document);
  if (IsBuiltin(callee, "complex") && args->size() == 2 && (*args)[0].is(Kind::kFloat) &&
      (*args)[1].is(Kind::kFloat)) {
    Number number;
    number.kind = Number::Kind::kComplex;
    number.real = (*args)[0].float_value();
    number.imaginary = (*args)[1].float_value();
    return number;
  }
  return std::nullopt;
}

}  // namespace

std::optional<Number> NumberOf(const Value& value, const Document& document) {
  Number number;
  switch (value.kind()) {
    case Kind::kBool:
      number.kind = Number::Kind::kBool;
      number.int_value = value.bool_value();
      return number;
    case Kind::kInt:
      number.int_value = value.int_value();
      return number;
    case Kind::kFloat:
      number.kind = Number::Kind::kFloat;
      number.real = value.float_value();
      return number;
    case Kind::kBigInt: {
      number.kind = Number::Kind::kBigInt;
      // Nine bytes with a zero on top, or eight: positive, and of 64 bits.
      const std::string_view digits = value.text();
      if (digits.size() == 9 && digits[8] == 0) {
        number.kind = Number::Kind::kUnsigned;
        std::memcpy(&number.unsigned_value, digits.data(), 8);
      }
      return number;
    }
    case Kind::kReduce:
      return CallNumber(value, document);
    default:
      return std::nullopt;
  }
}

double BigIntToDouble(const Value& value) {
  const std::string_view digits = value.text();
  const size_t size = digits.size();
  const bool negative = (digits[size - 1] & 0x80) != 0;
  // The magnitude's top 64 bits, with a sticky bit for what is below, then scaled.
  std::string magnitude(digits);
  if (negative) {
    unsigned carry = 1;
    for (char& digit : magnitude) {
      carry += static_cast<unsigned char>(~digit) & 0xffu;
      digit = static_cast<char>(carry);
      carry >>= 8;
    }
  }
  size_t top = size;
  while (top > 0 && magnitude[top - 1] == 0) --top;
  if (top > 129) return negative ? -HUGE_VAL : HUGE_VAL;
  const size_t bottom = top > 8 ? top - 8 : 0;
  uint64_t bits = 0;
  std::memcpy(&bits, magnitude.data() + bottom, top - bottom);
  int exponent = static_cast<int>(8 * bottom);
  bool sticky = false;
  for (size_t i = 0; i < bottom; ++i) sticky = sticky || magnitude[i] != 0;
  // At least 57 significant bits stand in `bits` if anything is below, so its lowest bit is
  // beyond what decides a rounding to 53 but for a tie.
  if (sticky) bits |= 1;
  const double result = std::ldexp(static_cast<double>(bits), exponent);
  return negative ? -result : result;
}

}  // namespace pannier::codec

#include "pannier/codec/convert_scalar.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "pannier/codec/convert_number.h"
#include "pannier/codec/convert_shapes.h"

namespace pannier::codec {
namespace {

bool IsInteger(const std::optional<Number>& number) {
  return number && (number->kind == Number::Kind::kInt || number->kind == Number::Kind::kUnsigned ||
                    number->kind == Number::Kind::kBigInt);
}

// Every real number, but no bool.
std::optional<long double> RealOf(const Value& value, const std::optional<Number>& number) {
  if (!number) return std::nullopt;
  switch (number->kind) {
    case Number::Kind::kInt:
      return static_cast<long double>(number->int_value);
    case Number::Kind::kUnsigned:
      return static_cast<long double>(number->unsigned_value);
    case Number::Kind::kBigInt:
      return BigIntToDouble(value);
    case Number::Kind::kFloat:
      return number->real;
    case Number::Kind::kBool:
    case Number::Kind::kComplex:
      return std::nullopt;
  }
  return std::nullopt;
}

// Infinities fit, what would become one does not.
bool Fits(long double number, long double highest, bool integer) {
  return std::isnan(number) || (std::isinf(number) && !integer) || std::abs(number) <= highest;
}

StatusOr<BytesLike> BytesFrom(const Value& value, const Place& place) {
  auto bytes = BytesLikeOf(value, place.document());
  if (!bytes) return place.Expected("bytes", value);
  return *std::move(bytes);
}

}  // namespace

namespace internal {

StatusOr<int64_t> SlowInt(const Value& value, const Place& place, const std::string& name,
                          int64_t lowest, int64_t highest) {
  const auto number = NumberOf(value, place.document());
  if (!IsInteger(number)) return place.Expected(name, value);
  if (number->kind != Number::Kind::kInt || number->int_value < lowest ||
      number->int_value > highest) {
    return place.Expected(absl::StrCat(name, " (", lowest, " to ", highest, ")"), value);
  }
  return number->int_value;
}

StatusOr<uint64_t> SlowUnsigned(const Value& value, const Place& place, const std::string& name,
                                uint64_t highest) {
  const auto number = NumberOf(value, place.document());
  if (!IsInteger(number)) return place.Expected(name, value);
  if (number->kind == Number::Kind::kInt && number->int_value >= 0 &&
      static_cast<uint64_t>(number->int_value) <= highest) {
    return static_cast<uint64_t>(number->int_value);
  }
  if (number->kind == Number::Kind::kUnsigned && number->unsigned_value <= highest) {
    return number->unsigned_value;
  }
  return place.Expected(absl::StrCat(name, " (0 to ", highest, ")"), value);
}

StatusOr<bool> SlowBool(const Value& value, const Place& place) {
  const auto number = NumberOf(value, place.document());
  if (!number || number->kind != Number::Kind::kBool) return place.Expected("bool", value);
  return number->int_value != 0;
}

StatusOr<long double> SlowFloat(const Value& value, const Place& place, const char* name,
                                long double highest) {
  const auto number = NumberOf(value, place.document());
  const auto real = RealOf(value, number);
  if (!real) return place.Expected("float", value);
  if (!Fits(*real, highest, IsInteger(number))) {
    return place.Expected(absl::StrCat("a number within ", name), value);
  }
  return *real;
}

StatusOr<std::complex<long double>> ComplexFrom(const Value& value, const Place& place,
                                                long double highest) {
  const auto number = NumberOf(value, place.document());
  std::complex<long double> complex;
  if (number && number->kind == Number::Kind::kComplex) {
    complex = {number->real, number->imaginary};
  } else if (const auto real = RealOf(value, number)) {
    complex = *real;
  } else {
    return place.Expected("complex", value);
  }
  if (!Fits(complex.real(), highest, IsInteger(number)) || !Fits(complex.imag(), highest, false)) {
    return place.Expected("a number within complex64", value);
  }
  return complex;
}

StatusOr<std::string_view> TextFrom(const Value& value, const Place& place) {
  if (!value.is(Kind::kStr) && !value.is(Kind::kStr8)) return place.Expected("str", value);
  return value.text();
}

StatusOr<Value> EnumNumber(const Value& value, const Place& place, std::string_view module,
                           std::string_view name) {
  if (value.is(Kind::kInt) || value.is(Kind::kBigInt)) return value;
  const auto args = ArgumentsOf(value);
  if (!args || args->size() != 1 || !value.callee().IsGlobal(module, name)) {
    return place.Expected(absl::StrCat(ToAbsl(module), ".", ToAbsl(name)), value);
  }
  return (*args)[0];
}

std::string_view EnumMemberName(const Value& value, std::string_view module,
                                std::string_view name) {
  const auto args = ArgumentsOf(value);
  if (!args || args->size() != 2 || !IsBuiltin(value.callee(), "getattr") ||
      !(*args)[0].IsGlobal(module, name) || !(*args)[1].is(Kind::kStr)) {
    return {};
  }
  return (*args)[1].text();
}

}  // namespace internal

StatusOr<std::string> Convert<std::string>::From(const Value& value, const Place& place) {
  PANNIER_ASSIGN_OR_RETURN(const std::string_view text, internal::TextFrom(value, place));
  PANNIER_RETURN_IF_ERROR(place.Charge(text.size()));
  return std::string(text);
}

StatusOr<std::vector<std::byte>> Convert<std::vector<std::byte>>::From(const Value& value,
                                                                       const Place& place) {
  PANNIER_ASSIGN_OR_RETURN(const BytesLike bytes, BytesFrom(value, place));
  const ByteSpan span = bytes.bytes.span();
  PANNIER_RETURN_IF_ERROR(place.Charge(span.size()));
  return std::vector<std::byte>(span.begin(), span.end());
}

StatusOr<ByteSpan> Convert<ByteSpan>::From(const Value& value, const Place& place) {
  PANNIER_ASSIGN_OR_RETURN(const BytesLike bytes, BytesFrom(value, place));
  // The Document holds its buffers.
  if (bytes.borrowed || bytes.out_of_band) return bytes.bytes.span();
  return place.Error(
      "bytes written with a protocol below 3 stand nowhere as such and cannot be viewed; take "
      "them as std::vector<std::byte> or Buffer");
}

StatusOr<Buffer> Convert<Buffer>::From(const Value& value, const Place& place) {
  PANNIER_ASSIGN_OR_RETURN(BytesLike bytes, BytesFrom(value, place));
  if (value.is(Kind::kBuffer)) {
    place.Take(value);  // an Array of the same bytes is a copy
    return std::move(bytes.bytes);
  }
  // bytes(buffer) is the buffer, if nobody can write to it.
  if (bytes.out_of_band && !bytes.mutable_type && bytes.bytes.readonly()) {
    return std::move(bytes.bytes);
  }
  PANNIER_RETURN_IF_ERROR(place.Charge(bytes.bytes.size()));
  const bool shared = bytes.borrowed || bytes.out_of_band;
  Buffer copy = shared ? Buffer::CopyOf(bytes.bytes.span()) : std::move(bytes.bytes);
  return bytes.mutable_type ? copy : copy.AsReadonly();
}

Value Convert<Buffer>::To(const Buffer& buffer, Builder& builder) {
  Document& document = builder.document();
  if (builder.protocol() >= 5) return document.NewBuffer(buffer);
  document.Hold(buffer);
  return buffer.readonly() ? document.NewBytesView(buffer.span())
                           : document.NewByteArrayView(buffer.span());
}

}  // namespace pannier::codec

#include "pannier/codec/convert_library.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "pannier/codec/convert_container.h"
#include "pannier/codec/convert_shapes.h"

namespace pannier::codec {
namespace {

// The arguments of module.name(...).
std::optional<std::span<const Value>> CallOf(const Value& value, std::string_view module,
                                             std::string_view name) {
  if (!value.is(Kind::kReduce) || !value.callee().IsGlobal(module, name)) return std::nullopt;
  if (!value.parts().empty()) return std::nullopt;
  return ArgumentsOf(value);
}

std::optional<std::span<const Value>> BuiltinCallOf(const Value& value, std::string_view name) {
  if (!value.is(Kind::kReduce) || !IsBuiltin(value.callee(), name)) return std::nullopt;
  return ArgumentsOf(value);
}

bool IsFraction(const Fraction& fraction) {
  return fraction.denominator > 0 && fraction.numerator != std::numeric_limits<int64_t>::min() &&
         std::gcd(fraction.numerator, fraction.denominator) == 1;
}

// "3/4" or "3", as versions before 3.12 wrote them.
std::optional<Fraction> FractionOfText(std::string_view text) {
  Fraction fraction;
  const size_t slash = text.find('/');
  if (!absl::SimpleAtoi(ToAbsl(text.substr(0, slash)), &fraction.numerator)) return std::nullopt;
  if (slash != std::string_view::npos &&
      !absl::SimpleAtoi(ToAbsl(text.substr(slash + 1)), &fraction.denominator)) {
    return std::nullopt;
  }
  return fraction;
}

}  // namespace

StatusOr<Decimal> Convert<Decimal>::From(const Value& value, const Place& place) {
  const auto args = CallOf(value, "decimal", "Decimal");
  if (!args || args->size() != 1 || !(*args)[0].is(Kind::kStr)) {
    return place.Expected(Name(), value);
  }
  const std::string_view text = (*args)[0].text();
  PANNIER_RETURN_IF_ERROR(place.Charge(text.size()));
  return Decimal{std::string(text)};
}

Value Convert<Decimal>::To(const Decimal& decimal, Builder& builder) {
  Document& document = builder.document();
  return document.NewReduce(document.NewGlobal("decimal", "Decimal"),
                            {document.NewStrView(decimal.text)});
}

StatusOr<Fraction> Convert<Fraction>::From(const Value& value, const Place& place) {
  const auto args = CallOf(value, "fractions", "Fraction");
  if (!args || args->empty() || args->size() > 2) return place.Expected(Name(), value);
  Fraction fraction;
  if (args->size() == 2) {
    PANNIER_ASSIGN_OR_RETURN(fraction.numerator,
                             codec::From<int64_t>((*args)[0], place.Field("numerator")));
    PANNIER_ASSIGN_OR_RETURN(fraction.denominator,
                             codec::From<int64_t>((*args)[1], place.Field("denominator")));
  } else {
    const auto parsed =
        (*args)[0].is(Kind::kStr) ? FractionOfText((*args)[0].text()) : std::optional<Fraction>();
    if (!parsed) return place.Expected("fractions.Fraction of 64-bit numbers", value);
    fraction = *parsed;
  }
  if (!IsFraction(fraction)) return place.Error("the Fraction is not in lowest terms");
  return fraction;
}

Value Convert<Fraction>::To(const Fraction& fraction, Builder& builder) {
  if (!IsFraction(fraction)) {
    return builder.Fail("a Fraction is in lowest terms, with a positive denominator");
  }
  Document& document = builder.document();
  return document.NewReduce(document.NewGlobal("fractions", "Fraction"),
                            {Value::Int(fraction.numerator), Value::Int(fraction.denominator)});
}

// UUID.__new__(UUID) with the state {'int': n}; since 3.8 is_safe may be there too.
StatusOr<Uuid> Convert<Uuid>::From(const Value& value, const Place& place) {
  const Value* state = value.is_object() ? value.state() : nullptr;
  const auto args = ArgumentsOf(value);
  bool is_uuid = args && state != nullptr && state->is(Kind::kDict);
  if (is_uuid && value.is(Kind::kReduce)) {
    is_uuid = IsCopyreg(value.callee(), "_reconstructor") && !args->empty() &&
              (*args)[0].IsGlobal("uuid", "UUID");
  } else if (is_uuid) {
    is_uuid = value.callee().IsGlobal("uuid", "UUID");
  }
  const Value* number = is_uuid ? state->Find("int") : nullptr;
  if (number == nullptr) return place.Expected(Name(), value);
  Uuid uuid;
  if (number->is(Kind::kInt) && number->int_value() >= 0) {
    auto rest = static_cast<uint64_t>(number->int_value());
    for (size_t i = 16; i-- > 8; rest >>= 8) uuid.bytes[i] = static_cast<uint8_t>(rest);
    return uuid;
  }
  // Positive, and of 128 bits.
  const std::string_view digits = number->is(Kind::kBigInt) ? number->text() : std::string_view();
  if (digits.empty() || digits.size() > 17 || (digits.back() & 0x80) != 0 ||
      (digits.size() == 17 && digits[16] != 0)) {
    return place.Expected("a UUID of 128 bits", *number);
  }
  for (size_t i = 0; i < std::min<size_t>(digits.size(), 16); ++i) {
    uuid.bytes[15 - i] = static_cast<uint8_t>(digits[i]);
  }
  return uuid;
}

Value Convert<Uuid>::To(const Uuid& uuid, Builder& builder) {
  Document& document = builder.document();
  std::byte digits[17] = {};
  for (size_t i = 0; i < 16; ++i) digits[i] = std::byte{uuid.bytes[15 - i]};
  const Value state = document.NewDict();
  document.SetItem(state, "int", document.NewInteger(digits));
  const Value object =
      document.NewObject(document.NewGlobal("uuid", "UUID"), document.NewTuple({}));
  document.AddState(object, state);
  return object;
}

StatusOr<Range> Convert<Range>::From(const Value& value, const Place& place) {
  auto args = BuiltinCallOf(value, "range");
  if (!args) args = BuiltinCallOf(value, "xrange");
  if (!args || args->size() != 3) return place.Expected(Name(), value);
  Range range;
  PANNIER_ASSIGN_OR_RETURN(range.start, codec::From<int64_t>((*args)[0], place.Field("start")));
  PANNIER_ASSIGN_OR_RETURN(range.stop, codec::From<int64_t>((*args)[1], place.Field("stop")));
  PANNIER_ASSIGN_OR_RETURN(range.step, codec::From<int64_t>((*args)[2], place.Field("step")));
  if (range.step == 0) return place.Error("a range has no step of 0");
  return range;
}

Value Convert<Range>::To(const Range& range, Builder& builder) {
  if (range.step == 0) return builder.Fail("a range has no step of 0");
  Document& document = builder.document();
  return document.NewReduce(
      document.NewGlobal("builtins", "range"),
      {Value::Int(range.start), Value::Int(range.stop), Value::Int(range.step)});
}

StatusOr<Slice> Convert<Slice>::From(const Value& value, const Place& place) {
  using Limit = std::optional<int64_t>;
  const auto args = BuiltinCallOf(value, "slice");
  if (!args || args->size() != 3) return place.Expected(Name(), value);
  Slice slice;
  PANNIER_ASSIGN_OR_RETURN(slice.start, codec::From<Limit>((*args)[0], place.Field("start")));
  PANNIER_ASSIGN_OR_RETURN(slice.stop, codec::From<Limit>((*args)[1], place.Field("stop")));
  PANNIER_ASSIGN_OR_RETURN(slice.step, codec::From<Limit>((*args)[2], place.Field("step")));
  return slice;
}

Value Convert<Slice>::To(const Slice& slice, Builder& builder) {
  const auto limit = [](const std::optional<int64_t>& number) {
    return number ? Value::Int(*number) : Value::None();
  };
  Document& document = builder.document();
  return document.NewReduce(document.NewGlobal("builtins", "slice"),
                            {limit(slice.start), limit(slice.stop), limit(slice.step)});
}

StatusOr<ByteArray> Convert<ByteArray>::From(const Value& value, const Place& place) {
  const auto bytes = BytesLikeOf(value, place.document());
  if (!bytes || !bytes->mutable_type || value.is(Kind::kBuffer)) {
    return place.Expected(Name(), value);
  }
  const ByteSpan span = bytes->bytes.span();
  PANNIER_RETURN_IF_ERROR(place.Charge(span.size()));
  return ByteArray{{span.begin(), span.end()}};
}

// PosixPath('/', 'a', 'b') up to 3.12, pathlib._local.PosixPath('/a/b') in 3.13.
StatusOr<std::filesystem::path> Convert<std::filesystem::path>::From(const Value& value,
                                                                     const Place& place) {
  std::optional<std::span<const Value>> args;
  for (const char* module : {"pathlib", "pathlib._local"}) {
    for (const char* name : {"PosixPath", "PurePosixPath"}) {
      if (!args) args = CallOf(value, module, name);
    }
  }
  if (!args) return place.Expected(Name(), value);
  std::filesystem::path path;
  for (size_t i = 0; i < args->size(); ++i) {
    if (!(*args)[i].is(Kind::kStr)) return place.Expected(Name(), value);
    const std::string_view part = (*args)[i].text();
    PANNIER_RETURN_IF_ERROR(place.Charge(part.size() + 1));
    path /= part;
  }
  return path.empty() ? std::filesystem::path(".") : path;
}

Value Convert<std::filesystem::path>::To(const std::filesystem::path& path, Builder& builder) {
  Document& document = builder.document();
  return document.NewReduce(document.NewGlobal("pathlib", "PosixPath"),
                            {document.NewStrView(path.native())});
}

}  // namespace pannier::codec

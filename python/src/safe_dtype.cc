#include "safe_dtype.h"

#include <string>
#include <string_view>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "pannier/base/bytes.h"

namespace pannier::python {
namespace {

using codec::Kind;
using codec::Value;

constexpr int kMaxDepth = 32;            // structures inside structures
constexpr uint64_t kMaxSize = 1u << 31;  // NumPy's items are shorter

// NumPy's flags of a dtype. Those that say "items are Python objects" are fatal where it is
// not so.
constexpr int64_t kObjectFlags = 63;
constexpr int64_t kHarmlessFlags = 8 | 16 | 128;  // needs init, needs the API, aligned struct

Status Forbidden(std::string_view why) {
  return MakeError(
      ErrorKind::kForbiddenGlobal,
      absl::StrCat("its pickle makes a numpy.dtype that NumPy would not: ", ToAbsl(why)));
}

bool IsNatural(const Value& value, uint64_t limit) {
  return value.is(Kind::kInt) && value.int_value() >= 0 &&
         static_cast<uint64_t>(value.int_value()) <= limit;
}

bool HoldsObjects(const Value& dtype) {
  const auto args = dtype.args().items();
  return args[0].text()[0] == 'O';
}

}  // namespace

StatusOr<uint64_t> DTypeChecker::ItemSize(const Value& value, int depth) {
  if (const auto known = known_.find(value.id()); known != known_.end()) return known->second;
  if (depth > kMaxDepth) return Forbidden("it contains itself, or is nested too deep");
  PANNIER_ASSIGN_OR_RETURN(const uint64_t size, Measure(value, depth));
  known_.emplace(value.id(), size);
  return size;
}

StatusOr<uint64_t> DTypeChecker::Measure(const Value& value, int depth) {
  if (!value.is(Kind::kReduce) || !value.callee().IsGlobal("numpy", "dtype") ||
      !value.args().is(Kind::kTuple) || value.args().size() < 1 ||
      !value.args().items()[0].is(Kind::kStr)) {
    return Forbidden("it is not made of a type code");
  }
  const std::string_view code = value.args().items()[0].text();
  uint64_t size = 0;
  if (code.empty() || std::string_view("biufcmMOSUV").find(code[0]) == std::string_view::npos ||
      (code.size() > 1 && !absl::SimpleAtoi(ToAbsl(code.substr(1)), &size)) || size > kMaxSize) {
    return Forbidden("unknown type code");
  }
  const char letter = code[0];
  if (letter == 'm' || letter == 'M') size = 8;
  if (letter == 'U') size *= 4;
  for (const codec::Part part : value.parts()) {
    if (part.kind() != codec::PartKind::kState) return Forbidden("it is changed after it is made");
    PANNIER_RETURN_IF_ERROR(CheckState(part.values()[0], letter, size, depth));
  }
  return size;
}

// (version, byte order, subarray, names, fields, item size, alignment, flags[, metadata])
Status DTypeChecker::CheckState(const Value& state, char letter, uint64_t size, int depth) {
  if (!state.is(Kind::kTuple) || state.size() < 8 || state.size() > 9) {
    return Forbidden("its state is not a tuple of 8 or 9");
  }
  const auto items = state.items();
  const bool sized = letter == 'S' || letter == 'U' || letter == 'V';
  if (!items[0].is(Kind::kInt) || items[0].int_value() < 3 || items[0].int_value() > 4) {
    return Forbidden("unknown version");
  }
  if (sized ? !(items[5].is(Kind::kInt) && items[5].int_value() == static_cast<int64_t>(size))
            : !(items[5].is(Kind::kInt) && items[5].int_value() == -1)) {
    return Forbidden("its item size is not that of its type code");
  }
  if (sized ? !IsNatural(items[6], 64) || items[6].int_value() == 0
            : !(items[6].is(Kind::kInt) && items[6].int_value() == -1)) {
    return Forbidden("impossible alignment");
  }
  if (!items[7].is(Kind::kInt)) return Forbidden("its flags are no number");
  int64_t flags = items[7].int_value();
  if (flags < 0 && flags >= -128) flags += 256;  // NumPy 1 writes them as a signed byte
  if (letter == 'O' ? flags != kObjectFlags : (flags & ~kHarmlessFlags) != 0) {
    return Forbidden("its flags are those of other items, or it is a structure with objects");
  }
  if (!items[2].is_none()) {
    if (letter != 'V') return Forbidden("a subarray of a simple type");
    PANNIER_RETURN_IF_ERROR(CheckSubarray(items[2], size, depth));
  }
  if (!items[3].is_none() || !items[4].is_none()) {
    if (letter != 'V') return Forbidden("fields in a simple type");
    PANNIER_RETURN_IF_ERROR(CheckFields(items[3], items[4], size, depth));
  }
  return absl::OkStatus();
}

Status DTypeChecker::CheckFields(const Value& names, const Value& fields, uint64_t size,
                                 int depth) {
  if (!names.is(Kind::kTuple) || !fields.is(Kind::kDict)) return Forbidden("fields without names");
  for (const Value& name : names.items()) {
    if (!name.is(Kind::kStr) || fields.Find(name) == nullptr) {
      return Forbidden("a name without a field");
    }
  }
  for (const codec::DictEntry& field : fields.entries()) {
    const auto parts =
        field.value.is(Kind::kTuple) ? field.value.items() : std::span<const Value>();
    if (parts.size() < 2 || parts.size() > 3 || !IsNatural(parts[1], kMaxSize)) {
      return Forbidden("a field without type and offset");
    }
    PANNIER_ASSIGN_OR_RETURN(const uint64_t field_size, ItemSize(parts[0], depth + 1));
    if (HoldsObjects(parts[0])) return Forbidden("a structure with objects");
    if (!RangeInside(static_cast<uint64_t>(parts[1].int_value()), field_size, size)) {
      return Forbidden("a field outside the item");
    }
  }
  return absl::OkStatus();
}

Status DTypeChecker::CheckSubarray(const Value& subarray, uint64_t size, int depth) {
  if (!subarray.is(Kind::kTuple) || subarray.size() != 2 || !subarray.items()[1].is(Kind::kTuple)) {
    return Forbidden("a subarray without type and shape");
  }
  const Value& base = subarray.items()[0];
  PANNIER_ASSIGN_OR_RETURN(uint64_t total, ItemSize(base, depth + 1));
  if (HoldsObjects(base)) return Forbidden("a subarray of objects");
  for (const Value& extent : subarray.items()[1].items()) {
    if (!IsNatural(extent, kMaxSize)) return Forbidden("a subarray of impossible shape");
    const auto product = CheckedMul(total, static_cast<uint64_t>(extent.int_value()));
    if (!product) return Forbidden("a subarray of impossible shape");
    total = *product;
  }
  if (total != size) return Forbidden("a subarray that does not fill its item");
  return absl::OkStatus();
}

}  // namespace pannier::python

#include "pannier/codec/convert_dtype.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "pannier/codec/array_record.h"
#include "pannier/codec/array_spelling.h"
#include "pannier/codec/convert_shapes.h"

namespace pannier::codec {
namespace {

// What NumPy writes for a structure without objects.
constexpr int64_t kRecordFlags = 16;

// The text of a str or bytes, also as protocols 0 to 2 write bytes.
std::string_view AsciiOf(const Value& value) {
  if (IsText(value) || value.is(Kind::kBytes)) return value.text();
  const auto args = ArgumentsOf(value);
  if (!args || args->empty() || !value.callee().IsGlobal("_codecs", "encode")) return {};
  return IsText((*args)[0]) ? (*args)[0].text() : std::string_view();
}

bool IsInt(const Value& value, uint64_t number) {
  return value.is(Kind::kInt) && value.int_value() >= 0 &&
         static_cast<uint64_t>(value.int_value()) == number;
}

// (metadata, (unit, multiple, divisor, events)), the last item of the state.
TimeUnit UnitFrom(const Value& metadata) {
  if (!metadata.is(Kind::kTuple) || metadata.size() != 2) return TimeUnit::kNone;
  const Value& unit = metadata.items()[1];
  if (!unit.is(Kind::kTuple) || unit.size() < 2 || !IsInt(unit.items()[1], 1)) {
    return TimeUnit::kNone;
  }
  return TimeUnitOf(AsciiOf(unit.items()[0]));
}

// `dtype` with what the state says of it: (version, byte order, subdtype, names, ...).
std::optional<DType> OfState(const Value& value, DType dtype) {
  const Value* state = value.state();
  if (state == nullptr || !state->is(Kind::kTuple) || state->size() < 6 ||
      !IsText(state->items()[1])) {
    return std::nullopt;
  }
  const auto items = state->items();
  if (!items[2].is_none() || !items[3].is_none()) return std::nullopt;
  dtype.big_endian = dtype.itemsize > 1 && items[1].text() == ">";
  if (dtype.is_time()) {
    dtype.unit = items.size() > 8 ? UnitFrom(items[8]) : TimeUnit::kNone;
    if (dtype.unit == TimeUnit::kNone) return std::nullopt;
  }
  return dtype;
}

// True if the pickled dtype is that of this field: of a subarray (base, shape) in its state.
bool IsField(const Value& value, const RecordField& field) {
  if (field.shape.empty()) return DTypeOf(value, nullptr, &field.dtype) == field.dtype;
  const Value* state = value.is(Kind::kReduce) ? value.state() : nullptr;
  if (state == nullptr || !value.callee().IsGlobal("numpy", "dtype") || !state->is(Kind::kTuple) ||
      state->size() < 6 || !state->items()[2].is(Kind::kTuple) || state->items()[2].size() != 2) {
    return false;
  }
  const auto subarray = state->items()[2].items();
  if (DTypeOf(subarray[0], nullptr, &field.dtype) != field.dtype) return false;
  if (!subarray[1].is(Kind::kTuple)) {
    return field.shape.size() == 1 && IsInt(subarray[1], field.shape[0]);
  }
  bool same = subarray[1].size() == field.shape.size();
  for (size_t i = 0; same && i < field.shape.size(); ++i) {
    same = IsInt(subarray[1].items()[i], field.shape[i]);
  }
  return same;
}

// (version, byte order, subdtype, names, fields, itemsize, alignment, flags)
bool IsRecord(std::span<const Value> state, const RecordLayout& layout) {
  if (state.size() < 6 || !state[2].is_none() || !state[3].is(Kind::kTuple) ||
      !state[4].is(Kind::kDict) || !IsInt(state[5], layout.itemsize) ||
      state[3].size() != layout.fields.size() || state[4].size() < layout.fields.size()) {
    return false;
  }
  for (size_t i = 0; i < layout.fields.size(); ++i) {
    const RecordField& field = layout.fields[i];
    const Value& name = state[3].items()[i];
    if (!IsText(name) || name.text() != field.name) return false;
    const Value* found = state[4].Find(name);
    if (found == nullptr || !found->is(Kind::kTuple) || found->size() < 2 ||
        !IsInt(found->items()[1], field.offset) || !IsField(found->items()[0], field)) {
      return false;
    }
  }
  return true;
}

Value Parts(const char* code, Document& document) {
  return document.NewReduce(document.NewGlobal("numpy", "dtype"),
                            {document.InternStr(code), Value::Bool(false), Value::Bool(true)});
}

Value FieldTo(const RecordField& field, Document& document) {
  const Value base = DTypeTo(field.dtype, document);
  if (field.shape.empty()) return base;
  uint64_t size = field.dtype.itemsize;
  std::vector<Value> shape;
  for (const size_t extent : field.shape) {
    size *= extent;
    shape.push_back(document.NewUnsigned(extent));
  }
  const Value value = Parts(absl::StrCat("V", size).c_str(), document);
  const Value none = Value::None();
  document.AddState(
      value, document.NewTuple({Value::Int(3), document.InternStr("|"),
                                document.NewTuple({base, document.NewTuple(shape)}), none, none,
                                document.NewUnsigned(size), Value::Int(1), Value::Int(0)}));
  return value;
}

Value RecordTo(const DType& dtype, Document& document) {
  const Value value = Parts(absl::StrCat("V", dtype.itemsize).c_str(), document);
  const Value fields = document.NewDict();
  std::vector<Value> names;
  for (const RecordField& field : dtype.layout->fields) {
    names.push_back(document.InternStr(field.name));
    document.SetItem(
        fields, field.name,
        document.NewTuple({FieldTo(field, document), document.NewUnsigned(field.offset)}));
  }
  document.AddState(value,
                    document.NewTuple({Value::Int(3), document.InternStr("|"), Value::None(),
                                       document.NewTuple(names), fields, Value::Int(dtype.itemsize),
                                       Value::Int(1), Value::Int(kRecordFlags)}));
  return value;
}

}  // namespace

std::optional<DType> DTypeOf(const Value& value, std::string* name, const DType* wanted) {
  std::string ignored;
  std::string& found = name != nullptr ? *name : ignored;
  if (name != nullptr) found = "a dtype that is " + Describe(value);
  if (IsText(value)) return DType::FromCode(value.text());
  if (!value.is(Kind::kReduce) || !value.callee().IsGlobal("numpy", "dtype")) return std::nullopt;
  const auto args = ArgumentsOf(value);
  if (!args || args->empty() || !IsText((*args)[0])) return std::nullopt;
  std::string_view code = (*args)[0].text();
  if (name != nullptr) found = absl::StrCat("dtype ", Describe((*args)[0]));
  if (code.starts_with('O')) found = "Python objects (dtype object)";
  if (code.starts_with('V')) found = "structures (a dtype with fields)";
  const Value* state = value.state();
  if (code == "M8" || code == "m8") {
    found = code[0] == 'M' ? "dates (dtype datetime64) of no unit, or of months or multiples"
                           : "durations (dtype timedelta64) of no unit, or of months or multiples";
    const DTypeKind kind = code[0] == 'M' ? DTypeKind::kDatetime : DTypeKind::kTimedelta;
    return OfState(value, DType{kind, 8});
  }
  if (code.starts_with('V')) {
    if (wanted == nullptr || wanted->layout == nullptr || state == nullptr ||
        !state->is(Kind::kTuple) || !IsRecord(state->items(), *wanted->layout)) {
      return std::nullopt;
    }
    return *wanted;
  }
  const auto dtype = DType::FromCode(code);
  if (!dtype || state == nullptr) return dtype;
  return OfState(value, *dtype);
}

Value DTypeTo(const DType& dtype, Document& document) {
  if (dtype.kind == DTypeKind::kStruct) return RecordTo(dtype, document);
  const std::string code = dtype.Code();
  const std::string plain = code.substr(1, code.find('[') - 1);
  const Value value = Parts(plain.c_str(), document);
  const Value order = document.InternStr(std::string_view(code).substr(0, 1));
  const Value none = Value::None();
  if (!dtype.is_time()) {
    document.AddState(value, document.NewTuple({Value::Int(3), order, none, none, none,
                                                Value::Int(-1), Value::Int(-1), Value::Int(0)}));
    return value;
  }
  const Value one = Value::Int(1);
  const Value unit =
      document.NewTuple({document.NewBytes(AsBytes(TimeUnitName(dtype.unit))), one, one, one});
  document.AddState(value, document.NewTuple({Value::Int(4), order, none, none, none,
                                              Value::Int(-1), Value::Int(-1), Value::Int(0),
                                              document.NewTuple({document.NewDict(), unit})}));
  return value;
}

StatusOr<DType> Convert<DType>::From(const Value& value, const Place& place) {
  std::string found;
  const auto dtype = DTypeOf(value, &found);
  if (!dtype || IsText(value)) return place.Expected(Name(), value);
  return *dtype;
}

}  // namespace pannier::codec

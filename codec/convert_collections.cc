#include "pannier/codec/convert_collections.h"

#include "absl/strings/str_cat.h"
#include "pannier/codec/convert_scalar.h"

namespace pannier::codec::internal {
namespace {

Value Collection(const char* name, std::initializer_list<Value> args, Document& document) {
  return document.NewReduce(document.NewGlobal("collections", name), args);
}

// The machine format code of array.array for elements in this machine's order.
int FormatOf(DType dtype) {
  if (dtype.kind == DTypeKind::kFloat) return dtype.itemsize == 4 ? 14 : 16;
  const int is_signed = dtype.kind == DTypeKind::kInt ? 1 : 0;
  switch (dtype.itemsize) {
    case 1:
      return is_signed;
    case 2:
      return 2 + 2 * is_signed;
    case 4:
      return 6 + 2 * is_signed;
    default:
      return 10 + 2 * is_signed;
  }
}

}  // namespace

bool IsCollection(const Value& value, std::string_view name) {
  return value.is(Kind::kReduce) && value.callee().IsGlobal("collections", name);
}

bool IsArrayModule(const Value& value) {
  return value.is(Kind::kReduce) && (value.callee().IsGlobal("array", "array") ||
                                     value.callee().IsGlobal("array", "_array_reconstructor"));
}

StatusOr<std::optional<GlobalName>> FactoryFrom(const Value& value, const Place& place) {
  const auto args = ArgumentsOf(value);
  if (!args || args->empty() || (*args)[0].is_none()) return std::optional<GlobalName>();
  const Value& factory = (*args)[0];
  if (!factory.is(Kind::kGlobal)) {
    return place.Error(
        absl::StrCat("the factory of the defaultdict is ", Describe(factory), ", and no name"));
  }
  return GlobalName{std::string(factory.module_name()), std::string(factory.global_name())};
}

StatusOr<std::optional<uint64_t>> MaxlenFrom(const Value& value, const Place& place) {
  const auto args = ArgumentsOf(value);
  if (!args || args->size() < 2) return std::optional<uint64_t>();
  return From<std::optional<uint64_t>>((*args)[1], place.Field("maxlen"));
}

Value DefaultDictTo(const std::optional<GlobalName>& factory, std::span<const Value> pairs,
                    Builder& builder) {
  Document& document = builder.document();
  const Value dict =
      factory ? Collection("defaultdict", {document.NewGlobal(factory->module, factory->name)},
                           document)
              : Collection("defaultdict", {}, document);
  if (!pairs.empty()) document.AddSetItems(dict, pairs);
  return dict;
}

Value DequeTo(const std::optional<uint64_t>& maxlen, std::span<const Value> items,
              Builder& builder) {
  Document& document = builder.document();
  const Value deque =
      maxlen ? Collection("deque", {document.NewTuple({}), document.NewUnsigned(*maxlen)}, document)
             : Collection("deque", {}, document);
  if (!items.empty()) document.AddAppends(deque, items);
  return deque;
}

Value OrderedDictTo(std::span<const Value> pairs, Builder& builder) {
  Document& document = builder.document();
  const Value dict = Collection("OrderedDict", {}, document);
  if (!pairs.empty()) document.AddSetItems(dict, pairs);
  return dict;
}

Value ArrayModuleTo(char letter, DType dtype, ByteSpan bytes, std::span<const Value> items,
                    Builder& builder) {
  Document& document = builder.document();
  const Value cls = document.NewGlobal("array", "array");
  const Value code = document.InternStr(std::string_view(&letter, 1));
  if (builder.protocol() < 3) return document.NewReduce(cls, {code, document.NewList(items)});
  return document.NewReduce(document.NewGlobal("array", "_array_reconstructor"),
                            {cls, code, Value::Int(FormatOf(dtype)), document.NewBytesView(bytes)});
}

}  // namespace pannier::codec::internal

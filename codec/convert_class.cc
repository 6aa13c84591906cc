#include "pannier/codec/convert_class.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "pannier/codec/convert_shapes.h"

namespace pannier::codec::internal {
namespace {

// The class that a pickle makes an instance of, and its arguments: NEWOBJ and its kin, and the
// two calls that protocols 0 and 1 write instead.
struct Instance {
  Value cls;
  std::span<const Value> args;
};

std::optional<Instance> InstanceOf(const Value& value) {
  if (value.is(Kind::kNewObjEx)) {
    if (!value.args().is(Kind::kTuple) || !value.kwargs().is(Kind::kDict) ||
        value.kwargs().size() != 0) {
      return std::nullopt;
    }
    return Instance{value.callee(), value.args().items()};
  }
  const auto args = ArgumentsOf(value);
  if (!args) return std::nullopt;
  const Value callee = value.callee();
  if (value.is(Kind::kReduce) && IsCopyreg(callee, "_reconstructor")) {
    // (class, object, None); (class, tuple, items) for named tuples
    if (args->size() != 3) return std::nullopt;
    if (IsBuiltin((*args)[1], "object")) return Instance{(*args)[0], {}};
    if (!IsBuiltin((*args)[1], "tuple") || !(*args)[2].is(Kind::kTuple)) return std::nullopt;
    return Instance{(*args)[0], (*args)[2].items()};
  }
  if (value.is(Kind::kReduce) && IsCopyreg(callee, "__newobj__")) {
    if (args->empty()) return std::nullopt;
    return Instance{(*args)[0], args->subspan(1)};
  }
  return Instance{callee, *args};
}

}  // namespace

StatusOr<Attributes> Attributes::Of(const Value& value, std::string_view module,
                                    std::string_view name, size_t count, const Place& place) {
  const std::string full_name = absl::StrCat(ToAbsl(module), ".", ToAbsl(name));
  const auto instance = InstanceOf(value);
  if (!instance || !instance->cls.IsGlobal(module, name)) return place.Expected(full_name, value);
  Attributes attributes;
  const Value* state = value.state();
  if (state == nullptr || state->is_none()) {
    if (!instance->args.empty()) attributes.list_ = instance->args;
  } else if (state->is(Kind::kDict)) {
    attributes.dicts_[0] = *state;
  } else if (state->is(Kind::kTuple) && state->size() == 2 &&
             (state->items()[0].is_none() || state->items()[0].is(Kind::kDict)) &&
             state->items()[1].is(Kind::kDict)) {
    attributes.dicts_[0] = state->items()[0];
    attributes.dicts_[1] = state->items()[1];
  } else if (state->is(Kind::kList) || state->is(Kind::kTuple)) {
    attributes.list_ = state->items();
  } else {
    return place.Error(absl::StrCat("the state of the ", full_name, " is ", Describe(*state),
                                    ", and no dict or list of its fields"));
  }
  if (attributes.list_ && attributes.list_->size() != count) {
    return place.Error(absl::StrCat("the ", full_name, " has ", attributes.list_->size(),
                                    " fields, expected ", count));
  }
  return attributes;
}

const Value* Attributes::Find(std::string_view name, size_t position) const {
  if (list_) return &(*list_)[position];
  for (const Value& dict : dicts_) {
    if (dict.is_none()) continue;
    if (const Value* found = dict.Find(name)) return found;
  }
  return nullptr;
}

Value NewInstanceOf(std::string_view module, std::string_view name, ClassState state,
                    std::span<const std::pair<std::string_view, Value>> fields, Builder& builder) {
  Document& document = builder.document();
  const Value cls = document.NewGlobal(module, name);
  if (state == ClassState::kArguments || state == ClassState::kList) {
    std::vector<Value> values;
    values.reserve(fields.size());
    for (const auto& field : fields) values.push_back(field.second);
    if (state == ClassState::kArguments) return document.NewObject(cls, document.NewTuple(values));
    const Value object = document.NewObject(cls, document.NewTuple({}));
    document.AddState(object, document.NewList(values));
    return object;
  }
  const Value object = document.NewObject(cls, document.NewTuple({}));
  const Value dict = document.NewDict();
  for (const auto& [field, value] : fields) document.SetItem(dict, field, value);
  document.AddState(object,
                    state == ClassState::kSlots ? document.NewTuple({Value::None(), dict}) : dict);
  return object;
}

}  // namespace pannier::codec::internal

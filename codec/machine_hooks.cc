// What the caller of a decoder may hang into it: the allow-list, persistent_load, the class
// registry and the visitor. None of this is reached while none of them is set.
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "pannier/codec/allow_list.h"
#include "pannier/codec/class_registry.h"
#include "pannier/codec/instance_call.h"
#include "pannier/codec/machine.h"

namespace pannier::codec::internal {

bool Machine::MayName(std::string_view module, std::string_view name) {
  if (options_.allow->Allows(module, name)) return true;
  return FailWith(ForbiddenNameError(module, name, "is forbidden"));
}

// A name is looked at again where it is called: it may have come into the memo, or out of
// persistent_load, past this list.
bool Machine::MayCall(const Value& callee) {
  if (!callee.is(Kind::kGlobal)) {
    return FailWith(MakeError(ErrorKind::kForbiddenGlobal,
                              absl::StrCat("calling what is no name, but of kind ",
                                           ToAbsl(KindName(callee.kind())), ", is forbidden")));
  }
  if (callee.id() == allowed_callee_) return true;
  if (!MayName(callee.module_name(), callee.global_name())) return false;
  allowed_callee_ = callee.id();
  return true;
}

bool Machine::MayChange(const Value& target) {
  if (!target.is(Kind::kGlobal)) return true;
  return FailWith(
      ForbiddenNameError(target.module_name(), target.global_name(), "may not be changed"));
}

bool Machine::ChangeObject(const Value& target, PartKind how, std::span<const Value> values) {
  if (target.is(Kind::kHandle)) return VisitChange(target, how, values);
  if (!target.is_object()) {
    switch (how) {
      case PartKind::kAppend:
        return Fail(TypeError("what is appended to", target, "a list"));
      case PartKind::kSetItem:
        return Fail(TypeError("what items are set in", target, "a dict"));
      default:
        return Fail(TypeError("what items are added to", target, "a set"));
    }
  }
  if (options_.allow != nullptr && !MayChange(target)) return false;
  document_->AddPart(target, how, values);
  return options_.classes == nullptr || ObjectChanged(target, how, values);
}

bool Machine::PushPersistent(const Value& id) {
  if (!options_.persistent_load) {
    Push(Made(document_->NewPersistent(id)));
    return true;
  }
  const StatusOr<Value> loaded = options_.persistent_load(id, *document_);
  if (!loaded.ok()) return FailWith(loaded.status());
  Push(Made(*loaded));
  return true;
}

bool Machine::ObjectMade(const Value& object) {
  const std::optional<InstanceCall> call = InstanceCallOf(object);
  if (!call) return true;
  const ErasedClass* cls = options_.classes->Find(call->module, call->name);
  if (cls == nullptr) return true;
  if (!cls->make) {
    return FailWith(MakeError(
        ErrorKind::kUnpickling,
        absl::StrCat(call->shown(), " is registered with a type that needs a make hook")));
  }
  StatusOr<std::shared_ptr<void>> made = cls->make({call->args, call->kwargs, *document_});
  if (!made.ok()) return FailWith(Annotate(made.status(), call->shown()));
  if (*made == nullptr) {
    return FailWith(MakeError(ErrorKind::kUnpickling,
                              absl::StrCat(call->shown(), ": its make hook made nothing")));
  }
  document_->AttachObject(object, *std::move(made), *cls->type);
  return true;
}

bool Machine::ObjectChanged(const Value& object, PartKind how, std::span<const Value> values) {
  const std::optional<InstanceCall> call = InstanceCallOf(object);
  if (!call) return true;
  const ErasedClass* cls = options_.classes->Find(call->module, call->name);
  if (cls == nullptr) return true;
  const std::shared_ptr<void> held = document_->AttachedObject(object, *cls->type);
  if (held == nullptr) return true;  // made by a decoder without this registry
  void* target = held.get();
  Status status;
  const auto missing = [&](const char* hook) {
    return MakeError(ErrorKind::kUnpickling, absl::StrCat("no ", hook, " hook is registered"));
  };
  switch (how) {
    case PartKind::kState:
      return StateGiven(*cls, target, values[0]) ||
             FailWith(Annotate(std::exchange(status_, Status()), call->shown()));
    case PartKind::kAppend:
    case PartKind::kAdd:
      if (!cls->hooks.append) status = missing("append");
      for (size_t i = 0; i < values.size() && status.ok(); ++i) {
        status = cls->hooks.append(target, values[i], *document_);
      }
      break;
    case PartKind::kSetItem:
      if (!cls->hooks.set_item) status = missing("set_item");
      for (size_t i = 0; i + 1 < values.size() && status.ok(); i += 2) {
        status = cls->hooks.set_item(target, values[i], values[i + 1], *document_);
      }
      break;
    case PartKind::kSetter:
      status = cls->hooks.call_setter
                   ? cls->hooks.call_setter(target, values[0], values[1], *document_)
                   : missing("call_setter");
      break;
  }
  return status.ok() || FailWith(Annotate(status, call->shown()));
}

// As an unpickler does: __setstate__, or each entry of the dict, or of the two, is an attribute.
// On an error status_ says what, without its place.
bool Machine::StateGiven(const ErasedClass& cls, void* object, const Value& state) {
  if (cls.hooks.set_state) {
    status_ = cls.hooks.set_state(object, state, *document_);
    return status_.ok();
  }
  const auto fail = [&](std::string what) {
    status_ = MakeError(ErrorKind::kUnpickling, what);
    return false;
  };
  Value dicts[2] = {state, Value()};
  if (state.is(Kind::kTuple) && state.size() == 2) {
    dicts[0] = state.items()[0];
    dicts[1] = state.items()[1];
  }
  for (const Value& dict : dicts) {
    if (dict.is_none()) continue;
    if (!dict.is(Kind::kDict)) {
      return fail(absl::StrCat("its state is of type ", ToAbsl(KindName(state.kind())),
                               " and no set_state hook is registered"));
    }
    for (const DictEntry& entry : dict.entries()) {
      if (!entry.key.is(Kind::kStr)) return fail("an attribute's name is not a str");
      if (!cls.hooks.set_attribute) return fail("no set_attribute hook is registered");
      status_ = cls.hooks.set_attribute(object, entry.key.text(), entry.value, *document_);
      if (!status_.ok()) return false;
    }
  }
  return true;
}

bool Machine::VisitItems(Kind kind, size_t count) {
  const std::span<const Value> items(top_ - count, count);
  const StatusOr<Value> made =
      kind == Kind::kTuple ? visitor_->Tuple(items) : visitor_->FrozenSet(items);
  if (!made.ok()) return FailWith(made.status());
  top_ -= count;
  Push(*made);
  return true;
}

Status Machine::PutKeysOf(const Value& container, std::span<const Value> values) {
  const size_t stride = container.is(Kind::kDict) ? 2 : 1;
  Value culprit;
  switch (PutKeys(arena_, ValueAccess::Node<KeyedNode>(container), stride, values.data(),
                  values.size() / stride, &work_, &culprit)) {
    case KeyResult::kOk:
      return absl::OkStatus();
    case KeyResult::kUnhashable:
      return MakeError(ErrorKind::kUnpickling,
                       absl::StrCat("unhashable type: ", ToAbsl(KindName(culprit.kind()))));
    default:
      return MakeError(ErrorKind::kLimit, "too many comparisons of keys, or entries of one set");
  }
}

StatusOr<Value> Machine::NewFrozenSet(std::span<const Value> items) {
  const Value set = document_->Keyed(Kind::kFrozenSet);
  PANNIER_RETURN_IF_ERROR(PutKeysOf(set, items));
  return set;
}

bool Machine::VisitEmpty(Kind kind) {
  const StatusOr<Value> made = kind == Kind::kList   ? visitor_->List()
                               : kind == Kind::kDict ? visitor_->Dict()
                                                     : visitor_->Set();
  if (!made.ok()) return FailWith(made.status());
  Push(*made);
  return true;
}

bool Machine::VisitFilled(Kind kind, Value* items) {
  const auto count = static_cast<size_t>(top_ - items);
  if (!VisitEmpty(kind)) return false;
  // Below its items, where the opcodes that fill it expect it.
  const Value made = top_[-1];
  --top_;
  std::vector<Value> filled(items, top_);
  top_ = items;
  Push(made);
  if (count == 0) return true;
  if (kind == Kind::kList && made.is(Kind::kList)) {
    document_->Extend(made, filled);
    return true;
  }
  if (made.is(Kind::kDict)) {
    const Status status = PutKeysOf(made, filled);
    return status.ok() || FailWith(status);
  }
  return ChangeObject(made, kind == Kind::kList ? PartKind::kAppend : PartKind::kSetItem, filled);
}

bool Machine::VisitCall(Kind kind, Value* place, Value callee, Value args, Value kwargs) {
  const StatusOr<Value> made = visitor_->Call({kind, callee, args, kwargs});
  if (!made.ok()) return FailWith(made.status());
  *place = Made(*made);
  return true;
}

bool Machine::VisitChange(const Value& handle, PartKind how, std::span<const Value> values) {
  if (visitor_ == nullptr) return Fail("a handle where there is no visitor");
  Status status;
  switch (how) {
    case PartKind::kAppend:
      status = visitor_->Append(handle, values);
      break;
    case PartKind::kAdd:
      status = visitor_->AddItems(handle, values);
      break;
    case PartKind::kSetItem:
      status = visitor_->SetItems(
          handle, {reinterpret_cast<const DictEntry*>(values.data()), values.size() / 2});
      break;
    default:
      status = visitor_->SetState(handle, values[0]);
  }
  return status.ok() || FailWith(status);
}

}  // namespace pannier::codec::internal

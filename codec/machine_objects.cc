// Opcodes that name, make and change objects: globals, calls, states, buffers.
#include "absl/strings/str_cat.h"
#include "pannier/codec/compat_names.h"
#include "pannier/codec/extension_registry.h"
#include "pannier/codec/machine.h"
#include "pannier/codec/utf8.h"

namespace pannier::codec::internal {
namespace {

// Something that running Python might turn out to be callable, or a tuple, or a dict.
bool MayBe(const Value& value, Kind kind) {
  return value.is(kind) || value.is_object() || value.is(Kind::kHandle);
}

}  // namespace

// In the streams of Python 2 names are those of Python 2.
bool Machine::PushGlobal(Value module, Value name) {
  if (protocol_ < 3 && options_.fix_imports) {
    const GlobalName from{module.text(), name.text()};
    const GlobalName to = ToPython3(from);
    if (to.module != from.module) module = document_->InternStr(to.module);
    if (to.name != from.name) name = document_->InternStr(to.name);
  }
  if (uses_ != nullptr) {
    uses_->push_back({std::string(module.text()), std::string(name.text()),
                      static_cast<size_t>(opcode_ - begin_), static_cast<Opcode>(*opcode_), 0});
  }
  if (options_.allow != nullptr && !MayName(module.text(), name.text())) return false;
  Push(Made(document_->InternGlobal(module, name)));
  return true;
}

bool Machine::Global() {
  std::string_view module;
  std::string_view name;
  if (!Line(&module) || !Line(&name)) return false;
  if (module.empty() || name.empty()) return Fail("an empty name");
  if (Utf8ErrorOffset(module, false) != module.size() ||
      Utf8ErrorOffset(name, false) != name.size()) {
    return Fail("a name that is not UTF-8");
  }
  return PushGlobal(document_->InternStr(module), document_->InternStr(name));
}

bool Machine::StackGlobal() {
  if (!Have(2)) return false;
  if (!top_[-1].is(Kind::kStr) || !top_[-2].is(Kind::kStr)) return Fail("needs two str values");
  top_ -= 2;
  return PushGlobal(top_[0], top_[1]);
}

bool Machine::Instance(bool from_lines) {
  Value* items = PopToMark();
  if (items == nullptr) return false;
  if (!from_lines && items == top_) return FailUnderflow();
  Value cls;
  if (from_lines) {
    std::string_view module;
    std::string_view name;
    if (!Line(&module) || !Line(&name)) return false;
    if (module.empty() || name.empty()) return Fail("an empty name");
    if (!IsAscii(module) || !IsAscii(name)) return Fail("a name that is not ASCII");
    if (!PushGlobal(document_->InternStr(module), document_->InternStr(name))) return false;
    cls = *--top_;
  } else {
    cls = *items;
    if (!cls.is_object() && !cls.is(Kind::kHandle)) {
      return Fail(TypeError("the class", cls, "a class"));
    }
  }
  if (options_.allow != nullptr && !MayCall(cls)) return false;
  const size_t first = from_lines ? 0 : 1;
  if (visitor_ != nullptr) {
    const auto count = static_cast<size_t>(top_ - items) - first;
    if (count == 0 ? (Push(document_->NewTuple({})), false) : !VisitItems(Kind::kTuple, count)) {
      return false;
    }
    const Value args = top_[-1];
    top_ = items + 1;
    return VisitCall(Kind::kInstance, items, cls, args, Value());
  }
  const Value args = document_->NewTuple({items + first, top_});
  top_ = items;
  Push(Made(document_->NewInstance(cls, args)));
  return options_.classes == nullptr || ObjectMade(top_[-1]);
}

bool Machine::Persistent() {
  std::string_view line;
  if (!Line(&line)) return false;
  if (!IsAscii(line)) return Fail("a persistent id of protocol 0 must be ASCII");
  return PushPersistent(document_->Text(Kind::kStr, line, document_->next_id_++));
}

bool Machine::Extension(Opcode opcode) {
  ArgError error = ArgError::kNone;
  int64_t code = 0;
  const auto take = [&]<typename T>(T number) {
    error = TakeFixed(&next_, limit_, &number);
    code = number;
  };
  if (opcode == Opcode::kExt1) take(uint8_t{});
  if (opcode == Opcode::kExt2) take(uint16_t{});
  if (opcode == Opcode::kExt4) take(int32_t{});
  if (error != ArgError::kNone) return FailArgument(error);
  if (code <= 0) return Fail(absl::StrCat("extension code ", code, " is not positive"));
  if (options_.extensions != nullptr) {
    const ExtensionRegistry::Name* name = options_.extensions->Find(static_cast<uint32_t>(code));
    if (name == nullptr) return Fail(absl::StrCat("extension code ", code, " is not registered"));
    return PushGlobal(document_->InternStr(name->first), document_->InternStr(name->second));
  }
  if (options_.allow != nullptr) {
    return FailWith(MakeError(
        ErrorKind::kForbiddenGlobal,
        absl::StrCat("extension code ", code, " is forbidden: no registry says what it is")));
  }
  if (uses_ != nullptr) {
    uses_->push_back(
        {"", "", static_cast<size_t>(opcode_ - begin_), opcode, static_cast<uint32_t>(code)});
  }
  Push(Made(document_->NewExtension(static_cast<uint32_t>(code))));
  return true;
}

bool Machine::Reduce() {
  if (!Have(2)) return false;
  const Value callee = top_[-2];
  const Value args = top_[-1];
  if (!MayBe(args, Kind::kTuple)) return Fail(TypeError("the argument list", args, "a tuple"));
  if (!callee.is_object() && !callee.is(Kind::kHandle)) {
    return Fail(TypeError("what is called", callee, "callable"));
  }
  if (options_.allow != nullptr && !MayCall(callee)) return false;
  after_setter_ = after_tuple2_ == opcode_ ? next_ : nullptr;
  --top_;
  if (visitor_ != nullptr) return VisitCall(Kind::kReduce, top_ - 1, callee, args, Value());
  top_[-1] = Made(document_->NewReduce(callee, args));
  return options_.classes == nullptr || ObjectMade(top_[-1]);
}

bool Machine::NewObject(bool with_kwargs) {
  const size_t needed = with_kwargs ? 3 : 2;
  if (!Have(needed)) return false;
  Value* cls = top_ - needed;
  const Value& args = cls[1];
  if (!cls->is_object() && !cls->is(Kind::kHandle)) {
    return Fail(TypeError("the class", *cls, "a class"));
  }
  if (!MayBe(args, Kind::kTuple)) return Fail(TypeError("the argument list", args, "a tuple"));
  if (with_kwargs && !MayBe(cls[2], Kind::kDict)) {
    return Fail(TypeError("the keyword arguments", cls[2], "a dict"));
  }
  if (options_.allow != nullptr && !MayCall(*cls)) return false;
  top_ = cls + 1;
  if (visitor_ != nullptr) {
    return VisitCall(with_kwargs ? Kind::kNewObjEx : Kind::kNewObj, cls, *cls, args,
                     with_kwargs ? cls[2] : Value());
  }
  *cls = Made(with_kwargs ? document_->NewObjectEx(*cls, args, cls[2])
                          : document_->NewObject(*cls, args));
  return options_.classes == nullptr || ObjectMade(*cls);
}

bool Machine::Build() {
  if (!Have(2)) return false;
  const Value state = top_[-1];
  const Value target = top_[-2];
  --top_;
  if (target.is_object()) {
    if (options_.allow != nullptr && !MayChange(target)) return false;
    document_->AddState(target, state);
    return options_.classes == nullptr || ObjectChanged(target, PartKind::kState, {&state, 1});
  }
  if (target.is(Kind::kHandle)) return VisitChange(target, PartKind::kState, {&state, 1});
  // Builtins take no state: nothing happens if it is None, or a pair of None and an empty dict.
  const std::span<const Value> pair =
      state.is(Kind::kTuple) ? state.items() : std::span<const Value>();
  const bool empty_pair =
      pair.size() == 2 && pair[0].is_none() && pair[1].is(Kind::kDict) && pair[1].size() == 0;
  if (state.is_none() || empty_pair) return true;
  return Fail(TypeError("what takes a state", target, "an object"));
}

bool Machine::NextBuffer() {
  if (makes_up_buffers_) {
    Push(document_->NewBuffer(Buffer()));
    return true;
  }
  if (!options_.buffers)
    return Fail("the stream refers to out-of-band buffers, but none were given");
  if (buffers_used_ == options_.buffers->size()) {
    return Fail(
        absl::StrCat("not enough out-of-band buffers: only ", buffers_used_, " were given"));
  }
  Push(document_->NewBuffer((*options_.buffers)[buffers_used_++]));
  return true;
}

bool Machine::ReadonlyBuffer() {
  if (!Have(1)) return false;
  Value& top = top_[-1];
  if (top.is(Kind::kBytes)) return true;
  if (top.is(Kind::kByteArray)) {
    top = document_->NewBuffer(Buffer::Unowned(top.bytes()));
    return true;
  }
  if (!top.is(Kind::kBuffer)) return Fail(TypeError("what becomes read-only", top, "a buffer"));
  if (!document_->buffer(top).readonly()) {
    top = ValueAccess::OfBuffer(top.buffer_index(), true, document_->next_id_++);
  }
  return true;
}

}  // namespace pannier::codec::internal

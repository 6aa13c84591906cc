// How each kind of value begins: what is written of it at once, and the task for the rest.
#include <vector>

#include "absl/strings/str_cat.h"
#include "pannier/codec/compat_names.h"
#include "pannier/codec/pickler.h"
#include "pannier/codec/utf8.h"

namespace pannier::codec::internal {
bool Pickler::SaveObject(const Value& value) {
  if (!memo_.Knows(value.id())) return Fail("a value of another document");
  if (options_.fast && value.id() < open_.size() && open_[value.id()]) {
    return Fail(
        absl::StrCat("in fast mode, a ", ToAbsl(KindName(value.kind())), " that contains itself"));
  }
  if (reduces_ && value.is_object()) [[unlikely]] {
    bool done = false;
    if (!AskToReduce(value, &done)) return false;
    if (done) return true;
  }
  switch (value.kind()) {
    case Kind::kBytes:
      return SaveBytes(value);
    case Kind::kByteArray:
      return SaveByteArray(value);
    case Kind::kStr8:
      return SaveStr8(value);
    case Kind::kTuple:
      return SaveTuple(value);
    case Kind::kList:
      return SaveList(value);
    case Kind::kDict:
      return SaveDict(value);
    case Kind::kSet:
      return SaveSet(value);
    case Kind::kFrozenSet:
      return SaveFrozenSet(value);
    case Kind::kGlobal:
      return SaveGlobal(value);
    case Kind::kReduce:
      PushCall(value, ValueAccess::Node<ObjectNode>(value)->fields, 2, Opcode::kReduce, value);
      return true;
    case Kind::kNewObj:
    case Kind::kNewObjEx:
      return SaveNewObject(value, value);
    case Kind::kInstance:
      return SaveInstance(value);
    case Kind::kPersistent:
      return SavePersistent(value);
    case Kind::kExtension:
      return SaveExtension(value);
    case Kind::kBuffer:
      return SaveBuffer(value);
    default:
      return Fail("a value of no known kind");
  }
}

Value Pickler::Named(std::string_view module, std::string_view name) {
  const Value* global = document_.FindGlobal(module, name);
  return global != nullptr ? *global : extra_.NewGlobal(module, name);
}

void Pickler::PushCall(const Value& value, const Value* fields, size_t count, Opcode opcode,
                       const Value& content) {
  Task task;
  task.value = value;
  task.kind = Task::Kind::kCall;
  task.begin = task.next = fields;
  task.end = fields + count;
  task.opcode = opcode;
  if (content.is_object()) task.part = ValueAccess::Node<ObjectNode>(content)->first_part;
  Enter(task);
}

bool Pickler::SaveCall(const Value& value, const Value& callee, std::initializer_list<Value> args) {
  const Value call = extra_.NewReduce(callee, args);
  PushCall(value, ValueAccess::Node<ObjectNode>(call)->fields, 2, Opcode::kReduce, value);
  return true;
}

bool Pickler::SaveBytes(const Value& value) {
  if (protocol_ >= 3) return SaveBytesData(value, value.text());
  if (value.text().empty()) return SaveCall(value, Named("builtins", "bytes"), {});
  const Value text = extra_.NewStr(Latin1ToUtf8(value.text()));
  return SaveCall(value, Named("_codecs", "encode"), {text, extra_.InternStr("latin1")});
}

bool Pickler::SaveByteArray(const Value& value) {
  if (protocol_ >= 5) return SaveByteArrayData(value, value.text());
  const Value type = Named("builtins", "bytearray");
  if (value.text().empty()) return SaveCall(value, type, {});
  return SaveCall(value, type, {extra_.NewBytesView(value.bytes())});
}

bool Pickler::SaveTuple(const Value& value) {
  const std::span<const Value> items = value.items();
  if (items.empty()) {
    if (binary()) {
      output_.Op(Opcode::kEmptyTuple);
    } else {
      output_.Bytes("(t");
    }
    return true;
  }
  if (items.size() > 3 || protocol_ < 2) output_.Op(Opcode::kMark);
  Task task;
  task.value = value;
  task.kind = Task::Kind::kTuple;
  task.begin = task.next = items.data();
  task.end = items.data() + items.size();
  Enter(task);
  return true;
}

void Pickler::PushItems(const Value& value, const Value* items, size_t count, size_t stride,
                        Task::Batch batch, Opcode many, Opcode one) {
  Task task;
  task.value = value;
  task.kind = Task::Kind::kItems;
  task.begin = task.next = items;
  task.end = items + count * stride;
  task.stride = static_cast<uint8_t>(stride);
  task.batch = batch;
  task.opcode = many;
  task.one_opcode = one;
  Enter(task);
}

bool Pickler::SaveList(const Value& value) {
  output_.Bytes(binary() ? "]" : "(l");
  if (!MemoPut(value)) return false;
  const std::span<const Value> items = value.items();
  if (items.empty()) return true;
  PushItems(value, items.data(), items.size(), 1,
            binary() ? Task::Batch::kList : Task::Batch::kOneByOne, Opcode::kAppends,
            Opcode::kAppend);
  return true;
}

bool Pickler::SaveDict(const Value& value) {
  output_.Bytes(binary() ? "}" : "(d");
  if (!MemoPut(value)) return false;
  const auto* node = ValueAccess::Node<KeyedNode>(value);
  if (node->size == 0) return true;
  PushItems(value, node->values, node->size, 2,
            binary() ? Task::Batch::kKeyed : Task::Batch::kOneByOne, Opcode::kSetItems,
            Opcode::kSetItem);
  return true;
}

bool Pickler::SaveSet(const Value& value) {
  const auto* node = ValueAccess::Node<KeyedNode>(value);
  if (protocol_ < 4) {
    return SaveCall(value, Named("builtins", "set"), {extra_.NewList({node->values, node->size})});
  }
  output_.Op(Opcode::kEmptySet);
  if (!MemoPut(value)) return false;
  if (node->size == 0) return true;
  PushItems(value, node->values, node->size, 1, Task::Batch::kKeyed, Opcode::kAddItems,
            Opcode::kStop);
  return true;
}

bool Pickler::SaveFrozenSet(const Value& value) {
  const std::span<const Value> items = value.items();
  if (protocol_ < 4) {
    return SaveCall(value, Named("builtins", "frozenset"), {extra_.NewList(items)});
  }
  output_.Op(Opcode::kMark);
  Task task;
  task.value = value;
  task.kind = Task::Kind::kFrozenSet;
  task.begin = task.next = items.data();
  task.end = items.data() + items.size();
  Enter(task);
  return true;
}

bool Pickler::SaveGlobal(const Value& value) {
  if (const uint32_t code = ExtensionCode(value); code != 0) return WriteExtension(code);
  if ((value.id() & PicklerMemo::kExtra) != 0) {
    // Made by a hook; the document may have the same one, which is the same object to Python.
    const Value* same = document_.FindGlobal(value.module_name(), value.global_name());
    if (same != nullptr) return SaveValue(*same);
  }
  const std::string_view path = value.global_name();
  const size_t dot = path.rfind('.');
  if (protocol_ < 4 && dot != std::string_view::npos && dot != 0 && dot + 1 != path.size()) {
    // An attribute of an attribute: GLOBAL has no such names, so it is getattr(owner, name).
    const Value owner = Named(value.module_name(), path.substr(0, dot));
    const Value name = extra_.NewStr(path.substr(dot + 1));
    return SaveCall(value, Named("builtins", "getattr"), {owner, name});
  }
  if (protocol_ >= 4) {
    if (!Save(OneStr(value.module())) || !Save(OneStr(value.name()))) return false;
    output_.Op(Opcode::kStackGlobal);
  } else {
    output_.Op(Opcode::kGlobal);
    if (!SaveGlobalLines(value)) return false;
  }
  if (!MemoPut(value)) return false;
  if (value.parts().empty()) return true;
  Task task;
  task.value = value;
  task.kind = Task::Kind::kParts;
  task.part = ValueAccess::Node<ObjectNode>(value)->first_part;
  Enter(task);
  return true;
}

bool Pickler::SaveGlobalLines(const Value& value) {
  GlobalName name{value.module_name(), value.global_name()};
  if (protocol_ < 3 && options_.fix_imports) name = ToPython2(name);
  for (const std::string_view line : {name.module, name.name}) {
    if (line.empty() || line.find('\n') != std::string_view::npos ||
        Utf8ErrorOffset(line, false) != line.size()) {
      return Fail(absl::StrCat("the name \"", ToAbsl(line), "\", below protocol 4"));
    }
    if (protocol_ < 3 && !IsAscii(line)) {
      return Fail(
          absl::StrCat("the name ", ToAbsl(line), ", which is not ASCII, below protocol 3"));
    }
    output_.Bytes(line);
    output_.Byte('\n');
  }
  return true;
}

bool Pickler::SaveNewObject(const Value& value, const Value& content) {
  const bool ex = content.is(Kind::kNewObjEx);
  const auto* node = ValueAccess::Node<ObjectNode>(content);
  if (protocol_ >= (ex ? 4 : 2)) {
    PushCall(value, node->fields, ex ? 3 : 2, ex ? Opcode::kNewObjEx : Opcode::kNewObj, content);
    return true;
  }
  std::vector<Value> args = {content.callee()};
  if (ex) {
    args.push_back(content.args());
    args.push_back(content.kwargs());
  } else {
    if (!content.args().is(Kind::kTuple)) {
      return Fail("NEWOBJ with computed arguments, below protocol 2");
    }
    args.insert(args.end(), content.args().items().begin(), content.args().items().end());
  }
  const Value call = extra_.NewReduce(Named("copyreg", ex ? "__newobj_ex__" : "__newobj__"),
                                      extra_.NewTuple(args));
  PushCall(value, ValueAccess::Node<ObjectNode>(call)->fields, 2, Opcode::kReduce, content);
  return true;
}

bool Pickler::SaveInstance(const Value& value) {
  if (!value.args().is(Kind::kTuple)) return Fail("an instance with computed arguments");
  if (!binary() && !value.callee().is(Kind::kGlobal)) {
    return Fail("an instance of a class that is no global, in protocol 0");
  }
  output_.Op(Opcode::kMark);
  Task task;
  task.value = value;
  task.kind = Task::Kind::kInstance;
  const std::span<const Value> args = value.args().items();
  task.begin = task.next = args.data();
  task.end = args.data() + args.size();
  Enter(task);
  return true;
}

bool Pickler::SavePersistent(const Value& value) {
  Task task;
  task.value = value;
  task.kind = Task::Kind::kPersistent;
  task.part = ValueAccess::Node<ObjectNode>(value)->first_part;
  Enter(task);
  return true;
}

bool Pickler::SaveExtension(const Value& value) {
  const uint32_t code = value.extension_code();
  if (protocol_ < 2) return Fail("an extension code needs protocol 2");
  if (code == 0 || code > 0x7fffffff) return Fail(absl::StrCat("the extension code ", code));
  WriteExtension(code);
  if (!NeedsMemo(value)) return true;
  if (!MemoPut(value)) return false;
  Task task;
  task.value = value;
  task.kind = Task::Kind::kParts;
  task.part = ValueAccess::Node<ObjectNode>(value)->first_part;
  Enter(task);
  return true;
}

bool Pickler::WriteExtension(uint32_t code) {
  if (code <= 0xff) {
    output_.Op(Opcode::kExt1, static_cast<uint8_t>(code));
  } else if (code <= 0xffff) {
    output_.Op(Opcode::kExt2, static_cast<uint16_t>(code));
  } else {
    output_.Op(Opcode::kExt4, code);
  }
  return true;
}

}  // namespace pannier::codec::internal

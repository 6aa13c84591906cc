// The opcodes that a stream holds few of: text arguments, globals, calls, buffers.
#include <utility>

#include "absl/strings/str_cat.h"
#include "pannier/codec/compat_names.h"
#include "pannier/codec/escapes.h"
#include "pannier/codec/machine.h"
#include "pannier/codec/numerals.h"
#include "pannier/codec/str8.h"
#include "pannier/codec/utf8.h"

namespace pannier::codec::internal {
namespace {

// Something that running Python might turn out to be callable, or a tuple, or a dict.
bool MayBe(const Value& value, Kind kind) { return value.is(kind) || value.is_object(); }

std::string TypeError(std::string_view role, const Value& value, std::string_view wanted) {
  return absl::StrCat(ToAbsl(role), " is of type ", ToAbsl(KindName(value.kind())), ", not ",
                      ToAbsl(wanted));
}

}  // namespace

bool Machine::Rare(Opcode opcode) {
  std::string_view text;
  ArgError error = ArgError::kNone;
  switch (opcode) {
    case Opcode::kProto: {
      uint8_t protocol;
      if ((error = TakeFixed(&next_, limit_, &protocol)) != ArgError::kNone)
        return FailArgument(error);
      if (protocol > 5) return Fail(absl::StrCat("unsupported pickle protocol: ", protocol));
      protocol_ = protocol;
      return true;
    }
    case Opcode::kFrame:
      return Frame();
    case Opcode::kInt:
      return TextInt();
    case Opcode::kLong:
      return TextLong();
    case Opcode::kFloat:
      return TextFloat();
    case Opcode::kString:
      return TextString();
    case Opcode::kUnicode:
      return TextUnicode();
    case Opcode::kPut:
      return TextMemo(true);
    case Opcode::kGet:
      return TextMemo(false);
    case Opcode::kLong1:
      return CountedLong(false);
    case Opcode::kLong4:
      return CountedLong(true);
    case Opcode::kShortBinString:
      error = TakeCounted<uint8_t>(&next_, limit_, &text);
      return error == ArgError::kNone ? Str8(text) : FailArgument(error);
    case Opcode::kBinString:
      error = TakeCounted<int32_t>(&next_, limit_, &text);
      return error == ArgError::kNone ? Str8(text) : FailArgument(error);
    case Opcode::kByteArray8:
      error = TakeCounted<uint64_t>(&next_, limit_, &text);
      if (error != ArgError::kNone) return FailArgument(error);
      Push(document_->Text(Kind::kByteArray, text, document_->next_id_++));
      return true;
    case Opcode::kPop:
      return Pop();
    case Opcode::kPopMark:
      return PopMark();
    case Opcode::kDup:
      return Dup();
    case Opcode::kList: {
      Value* items = PopToMark();
      if (items == nullptr) return false;
      const Value list = document_->NewList({items, top_});
      top_ = items;
      Push(list);
      return true;
    }
    case Opcode::kDict:
      return Dict();
    case Opcode::kFrozenSet:
      return FrozenSet();
    case Opcode::kAddItems:
      return AddItems();
    case Opcode::kGlobal:
      return Global();
    case Opcode::kStackGlobal:
      return StackGlobal();
    case Opcode::kInst:
      return Instance(true);
    case Opcode::kObj:
      return Instance(false);
    case Opcode::kNewObjEx:
      return NewObject(true);
    case Opcode::kExt1:
    case Opcode::kExt2:
    case Opcode::kExt4:
      return Extension(opcode);
    case Opcode::kPersId:
      return Persistent();
    case Opcode::kBinPersId:
      if (!Have(1)) return false;
      top_[-1] = document_->NewPersistent(top_[-1]);
      return true;
    case Opcode::kNextBuffer:
      return NextBuffer();
    case Opcode::kReadonlyBuffer:
      return ReadonlyBuffer();
    default:
      status_ = MakeError(ErrorKind::kUnpickling,
                          absl::StrCat("pickle, byte ", opcode_ - begin_, ": 0x",
                                       absl::Hex(*opcode_, absl::kZeroPad2), " is no opcode"));
      return false;
  }
}

bool Machine::Frame() {
  uint64_t length;
  const ArgError error = TakeFixed(&next_, limit_, &length);
  if (error != ArgError::kNone) return FailArgument(error);
  if (in_frame_ && next_ != limit_) return Fail("a frame begins inside another");
  const auto left = static_cast<uint64_t>(end_ - next_);
  if (length > left) {
    return Fail(absl::StrCat("a frame of ", length, " bytes, but ", left, " are left"));
  }
  in_frame_ = true;
  limit_ = next_ + length;
  return true;
}

bool Machine::Line(std::string_view* line) {
  const ArgError error = TakeLine(&next_, limit_, line);
  return error == ArgError::kNone || FailArgument(error);
}

Value Machine::StrOf(std::string&& text) {
  return document_->Text(Kind::kStr, document_->CopyText(text), 0);
}

bool Machine::TextInt() {
  std::string_view line;
  if (!Line(&line)) return false;
  if (line.empty()) return Fail("no digits");
  const std::string_view text = line.substr(0, line.find('\0'));
  size_t used = 0;
  if (const auto number = ParseCLong(text, &used); number && used == text.size()) {
    // "00" and "01" are how protocols 0 and 1 write False and True.
    const bool is_bool = line.size() == 2 && (*number == 0 || *number == 1);
    Push(is_bool ? Value::Bool(*number == 1) : Value::Int(*number));
    return true;
  }
  const auto number = ParseInteger(text, 0);
  if (!number) return Fail("not an integer, or longer than 4300 digits");
  Push(number->fits ? Value::Int(number->small) : document_->NewInteger(AsBytes(number->bytes)));
  return true;
}

bool Machine::TextLong() {
  std::string_view line;
  if (!Line(&line)) return false;
  if (line.empty()) return Fail("no digits");
  if (line.back() == 'L') line.remove_suffix(1);
  const auto number = ParseInteger(line, 0);
  if (!number) return Fail("not an integer, or longer than 4300 digits");
  Push(number->fits ? Value::Int(number->small) : document_->NewInteger(AsBytes(number->bytes)));
  return true;
}

bool Machine::CountedLong(bool four_bytes) {
  std::string_view bytes;
  const ArgError error = four_bytes ? TakeCounted<int32_t>(&next_, limit_, &bytes)
                                    : TakeCounted<uint8_t>(&next_, limit_, &bytes);
  if (error != ArgError::kNone) return FailArgument(error);
  int64_t small = 0;
  size_t length = 0;
  if (FitsInt64(bytes, &small, &length)) {
    Push(Value::Int(small));
  } else {
    Push(document_->Text(Kind::kBigInt, bytes.substr(0, length), 0));
  }
  return true;
}

bool Machine::TextFloat() {
  std::string_view line;
  if (!Line(&line)) return false;
  const auto number = ParseFloat(line);
  if (!number) return Fail("not a float, or out of range");
  Push(Value::Float(*number));
  return true;
}

bool Machine::TextString() {
  std::string_view line;
  if (!Line(&line)) return false;
  const char* why = "";
  auto bytes = DecodeStringLiteral(line, &why);
  if (!bytes) return Fail(why);
  return Str8(document_->CopyText(*bytes));
}

bool Machine::TextUnicode() {
  std::string_view line;
  if (!Line(&line)) return false;
  if (IsPlainLine(line)) {
    Push(document_->Text(Kind::kStr, line, 0));
    return true;
  }
  const char* why = "";
  auto text = DecodeRawUnicodeEscape(line, &why);
  if (!text) return Fail(why);
  Push(StrOf(*std::move(text)));
  return true;
}

// `bytes` lie in the stream or the arena.
bool Machine::Str8(std::string_view bytes) {
  std::string changed;
  Kind kind = Kind::kStr;
  const char* why = "";
  switch (DecodeStr8(bytes, options_.encoding, options_.errors, &kind, &changed, &why)) {
    case Str8Result::kAsIs:
      Push(document_->Text(kind, bytes, 0));
      return true;
    case Str8Result::kChanged:
      Push(StrOf(std::move(changed)));
      return true;
    case Str8Result::kError:
      break;
  }
  return Fail(why);
}

bool Machine::TextMemo(bool put) {
  std::string_view line;
  if (!Line(&line)) return false;
  const auto number = ParseInteger(line, 10);
  if (!number || !number->fits) return Fail("not a memo index");
  if (number->small < 0) {
    return Fail(put ? "negative memo index"
                    : absl::StrCat("memo index ", number->small, " was never written"));
  }
  const auto index = static_cast<uint64_t>(number->small);
  if (put) return Put(index);
  if (!Get(index)) return false;
  ++top_;
  return true;
}

bool Machine::Put(uint64_t index) {
  if (!Have(1)) return false;
  Share(&top_[-1]);
  memo_.Put(index, top_[-1]);
  return true;
}

// Writes at top_, which the caller moves.
bool Machine::Get(uint64_t index) {
  const Value* value = memo_.Get(index);
  if (value == nullptr) return Fail(absl::StrCat("memo index ", index, " was never written"));
  *top_ = *value;
  return true;
}

bool Machine::Pop() {
  const auto size = static_cast<size_t>(top_ - stack_.base());
  if (!marks_.empty() && marks_.back() == size) {
    marks_.pop_back();
    ResetFence();
    return true;
  }
  if (!Have(1)) return false;
  const Value dropped = *--top_;
  // TUPLE2 REDUCE POP in a row: the call of a state setter, which is done for its effect on
  // the first argument.
  if (after_setter_ == opcode_ && dropped.args().items()[0].is_object()) {
    const std::span<const Value> args = dropped.args().items();
    document_->AddSetter(args[0], dropped.callee(), args[1]);
  }
  return true;
}

bool Machine::PopMark() {
  Value* items = PopToMark();
  if (items == nullptr) return false;
  top_ = items;
  return true;
}

bool Machine::Dup() {
  if (!Have(1)) return false;
  Share(&top_[-1]);
  Push(top_[-1]);
  return true;
}

bool Machine::Dict() {
  Value* entries = PopToMark();
  if (entries == nullptr) return false;
  const auto count = static_cast<size_t>(top_ - entries);
  if (count % 2 != 0) return Fail("an odd number of values for a dict");
  const Value dict = document_->NewDict();
  Value culprit;
  const KeyResult result =
      PutKeys(arena_, ValueAccess::Node<KeyedNode>(dict), 2, entries, count / 2, &work_, &culprit);
  if (result != KeyResult::kOk) return FailKey(result, culprit);
  top_ = entries;
  Push(dict);
  return true;
}

bool Machine::FrozenSet() {
  Value* items = PopToMark();
  if (items == nullptr) return false;
  const Value set = document_->Keyed(Kind::kFrozenSet);
  Value culprit;
  const KeyResult result = PutKeys(arena_, ValueAccess::Node<KeyedNode>(set), 1, items,
                                   static_cast<size_t>(top_ - items), &work_, &culprit);
  if (result != KeyResult::kOk) return FailKey(result, culprit);
  top_ = items;
  Push(set);
  return true;
}

bool Machine::AddItems() {
  Value* items = PopToMark();
  if (items == nullptr) return false;
  if (items == fence_) return FailUnderflow();
  const auto count = static_cast<size_t>(top_ - items);
  top_ = items;
  if (count == 0) return true;
  const Value& target = items[-1];
  if (target.is(Kind::kSet)) {
    Value culprit;
    const KeyResult result =
        PutKeys(arena_, ValueAccess::Node<KeyedNode>(target), 1, items, count, &work_, &culprit);
    return result == KeyResult::kOk || FailKey(result, culprit);
  }
  if (!target.is_object()) return Fail(TypeError("what items are added to", target, "a set"));
  document_->AddAdds(target, {items, count});
  return true;
}

bool Machine::AppendTo(Value* items) {
  const Value& target = items[-1];
  if (!target.is_object()) return Fail(TypeError("what is appended to", target, "a list"));
  document_->AddAppends(target, {items, top_});
  return true;
}

bool Machine::SetItemsOf(Value* entries) {
  const auto count = static_cast<size_t>(top_ - entries);
  if (count % 2 != 0) return Fail("an odd number of values for setting items");
  const Value& target = entries[-1];
  if (target.is(Kind::kDict)) {
    Value culprit;
    const KeyResult result = PutKeys(arena_, ValueAccess::Node<KeyedNode>(target), 2, entries,
                                     count / 2, &work_, &culprit);
    return result == KeyResult::kOk || FailKey(result, culprit);
  }
  if (target.is(Kind::kList)) return SetListItems(target, entries, count);
  if (!target.is_object()) return Fail(TypeError("what items are set in", target, "a dict"));
  document_->AddSetItems(target, {entries, count});
  return true;
}

// list[index] = value, which no pickler writes and every unpickler does.
bool Machine::SetListItems(const Value& list, const Value* entries, size_t count) {
  auto* node = ValueAccess::Node<ListNode>(list);
  for (size_t i = 0; i < count; i += 2) {
    const Value& key = entries[i];
    if (!key.is(Kind::kInt) && !key.is(Kind::kBool)) {
      return Fail(TypeError("a list index", key, "an int"));
    }
    const int64_t number = key.int_value();
    const auto size = static_cast<int64_t>(node->size);
    if (number >= size || number < -size) {
      return Fail(absl::StrCat("list index ", number, " out of range"));
    }
    node->items[number < 0 ? number + size : number] = entries[i + 1];
  }
  return true;
}

// In the streams of Python 2 names are those of Python 2.
Value Machine::MakeGlobal(Value module, Value name) {
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
  return document_->InternGlobal(module, name);
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
  Push(MakeGlobal(document_->InternStr(module), document_->InternStr(name)));
  return true;
}

bool Machine::StackGlobal() {
  if (!Have(2)) return false;
  if (!top_[-1].is(Kind::kStr) || !top_[-2].is(Kind::kStr)) return Fail("needs two str values");
  top_[-2] = MakeGlobal(top_[-2], top_[-1]);
  --top_;
  return true;
}

bool Machine::Instance(bool from_lines) {
  Value* items = PopToMark();
  if (items == nullptr) return false;
  Value cls;
  if (from_lines) {
    std::string_view module;
    std::string_view name;
    if (!Line(&module) || !Line(&name)) return false;
    if (module.empty() || name.empty()) return Fail("an empty name");
    if (!IsAscii(module) || !IsAscii(name)) return Fail("a name that is not ASCII");
    cls = MakeGlobal(document_->InternStr(module), document_->InternStr(name));
  } else {
    if (items == top_) return FailUnderflow();
    cls = *items;
    if (!cls.is_object()) return Fail(TypeError("the class", cls, "a class"));
  }
  const Value args = document_->NewTuple({items + (from_lines ? 0 : 1), top_});
  top_ = items;
  Push(document_->NewInstance(cls, args));
  return true;
}

bool Machine::Persistent() {
  std::string_view line;
  if (!Line(&line)) return false;
  if (!IsAscii(line)) return Fail("a persistent id of protocol 0 must be ASCII");
  Push(document_->NewPersistent(document_->Text(Kind::kStr, line, document_->next_id_++)));
  return true;
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
  if (uses_ != nullptr) {
    uses_->push_back(
        {"", "", static_cast<size_t>(opcode_ - begin_), opcode, static_cast<uint32_t>(code)});
  }
  Push(document_->NewExtension(static_cast<uint32_t>(code)));
  return true;
}

bool Machine::Reduce() {
  if (!Have(2)) return false;
  const Value& callee = top_[-2];
  const Value& args = top_[-1];
  if (!args.is(Kind::kTuple) && !args.is_object()) {
    return Fail(TypeError("the argument list", args, "a tuple"));
  }
  if (!callee.is_object()) return Fail(TypeError("what is called", callee, "callable"));
  after_setter_ = after_tuple2_ == opcode_ ? next_ : nullptr;
  top_[-2] = document_->NewReduce(callee, args);
  --top_;
  return true;
}

bool Machine::NewObject(bool with_kwargs) {
  const size_t needed = with_kwargs ? 3 : 2;
  if (!Have(needed)) return false;
  Value* cls = top_ - needed;
  const Value& args = cls[1];
  if (!cls->is_object()) return Fail(TypeError("the class", *cls, "a class"));
  if (!MayBe(args, Kind::kTuple)) return Fail(TypeError("the argument list", args, "a tuple"));
  if (with_kwargs && !MayBe(cls[2], Kind::kDict)) {
    return Fail(TypeError("the keyword arguments", cls[2], "a dict"));
  }
  *cls =
      with_kwargs ? document_->NewObjectEx(*cls, args, cls[2]) : document_->NewObject(*cls, args);
  top_ = cls + 1;
  return true;
}

bool Machine::Build() {
  if (!Have(2)) return false;
  const Value& state = top_[-1];
  const Value& target = top_[-2];
  if (target.is_object()) {
    document_->AddState(target, state);
  } else {
    // Builtins take no state: nothing happens if it is None, or a pair that says nothing.
    const std::span<const Value> pair =
        state.is(Kind::kTuple) ? state.items() : std::span<const Value>();
    const bool empty_pair = pair.size() == 2 && pair[0].is_none() &&
                            (pair[1].is_none() || (pair[1].is(Kind::kDict) && pair[1].size() == 0));
    if (!state.is_none() && !empty_pair) {
      return Fail(TypeError("what takes a state", target, "an object"));
    }
  }
  --top_;
  return true;
}

bool Machine::NextBuffer() {
  if (uses_ != nullptr) {
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

bool Machine::Stop() {
  if (!Have(1)) return false;
  document_->set_root(*--top_);
  return true;
}

}  // namespace pannier::codec::internal

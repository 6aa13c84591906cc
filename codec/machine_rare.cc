// The opcodes that a stream holds few of: which function does each, the stack, the memo, and
// containers that are not the usual ones.
#include "absl/strings/str_cat.h"
#include "pannier/codec/machine.h"

namespace pannier::codec::internal {
std::string Machine::TypeError(std::string_view role, const Value& value, std::string_view wanted) {
  return absl::StrCat(ToAbsl(role), " is of type ", ToAbsl(KindName(value.kind())), ", not ",
                      ToAbsl(wanted));
}

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
      if (TooLong(text)) return false;
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
      if (visitor_ != nullptr) return VisitFilled(Kind::kList, items);
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
      --top_;
      return PushPersistent(*top_);
    case Opcode::kNextBuffer:
      return NextBuffer();
    case Opcode::kReadonlyBuffer:
      return ReadonlyBuffer();
    default:
      status_ = NoOpcodeError(static_cast<size_t>(opcode_ - begin_), *opcode_);
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
  if (after_setter_ == opcode_ && dropped.is(Kind::kReduce) && dropped.args().is(Kind::kTuple) &&
      dropped.args().size() == 2 && dropped.args().items()[0].is_object()) {
    const std::span<const Value> args = dropped.args().items();
    if (options_.allow != nullptr && !MayChange(args[0])) return false;
    document_->AddSetter(args[0], dropped.callee(), args[1]);
    const Value setter[2] = {dropped.callee(), args[1]};
    return options_.classes == nullptr || ObjectChanged(args[0], PartKind::kSetter, setter);
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
  if (visitor_ != nullptr) return VisitFilled(Kind::kDict, entries);
  const Value dict = document_->NewDict();
  if (!PutEntries(dict, 2, entries)) return false;
  top_ = entries;
  Push(dict);
  return true;
}

bool Machine::FrozenSet() {
  Value* items = PopToMark();
  if (items == nullptr) return false;
  if (visitor_ != nullptr) {
    return VisitItems(Kind::kFrozenSet, static_cast<size_t>(top_ - items));
  }
  const Value set = document_->Keyed(Kind::kFrozenSet);
  if (!PutEntries(set, 1, items)) return false;
  top_ = items;
  Push(set);
  return true;
}

bool Machine::AddItems() {
  Value* items = PopToMark();
  if (items == nullptr) return false;
  if (items == fence_) return FailUnderflow();
  const auto count = static_cast<size_t>(top_ - items);
  const Value& target = items[-1];
  if (target.is(Kind::kSet) && !PutEntries(target, 1, items)) return false;
  top_ = items;
  if (count == 0 || target.is(Kind::kSet)) return true;
  ReportKeys(items, items + count, 1);
  return ChangeObject(target, PartKind::kAdd, {items, count});
}

bool Machine::AppendTo(Value* items) {
  const Value& target = items[-1];
  return ChangeObject(target, PartKind::kAppend, {items, top_});
}

bool Machine::SetItemsOf(Value* entries) {
  const auto count = static_cast<size_t>(top_ - entries);
  if (count % 2 != 0) return Fail("an odd number of values for setting items");
  const Value& target = entries[-1];
  if (target.is(Kind::kDict)) return PutEntries(target, 2, entries);
  if (target.is(Kind::kList)) return SetListItems(target, entries, count);
  ReportKeys(entries, top_, 2);
  return ChangeObject(target, PartKind::kSetItem, {entries, count});
}

bool Machine::PutEntries(const Value& keyed, size_t stride, const Value* first) {
  auto* node = ValueAccess::Node<KeyedNode>(keyed);
  const size_t count = static_cast<size_t>(top_ - first) / stride;
  const size_t before = node->size;
  ReportKeys(first, top_, stride);
  Value culprit;
  const KeyResult result = PutKeys(arena_, node, stride, first, count, &work_, &culprit);
  if (result != KeyResult::kOk) return FailKey(result, culprit);
  if (options_.refuse_overwriting && stride == 2 && node->size - before != count) {
    return Fail("a dict has a key twice");
  }
  return true;
}

// list[index] = value, which no pickler writes and every unpickler does.
bool Machine::SetListItems(const Value& list, const Value* entries, size_t count) {
  if (options_.refuse_overwriting) return Fail("an item of a list is set again");
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

bool Machine::Stop() {
  if (!Have(1)) return false;
  document_->set_root(*--top_);
  return true;
}

}  // namespace pannier::codec::internal

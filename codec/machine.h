// The pickle machine: runs one stream on a stack and a memo and builds a Document. Inside the
// decoder only. Run() holds the frequent opcodes; the rest are members here, called with the
// state written back (next_, top_, ...).
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "pannier/codec/arguments.h"
#include "pannier/codec/decoder.h"
#include "pannier/codec/globals.h"
#include "pannier/codec/key_index.h"
#include "pannier/codec/memo.h"
#include "pannier/codec/opcodes.h"
#include "pannier/codec/value_stack.h"
#include "pannier/codec/visitor.h"

namespace pannier::codec::internal {

// A limit of 0 is none.
inline uint64_t OrNone(uint64_t limit) {
  return limit == 0 ? std::numeric_limits<uint64_t>::max() : limit;
}

struct ErasedClass;

// What outlives a stream and is used again.
struct MachineMemory {
  ValueStack stack;
  std::vector<size_t> marks;
  Memo memo;
};

class Machine {
 public:
  Machine(ByteSpan stream, const DecodeOptions& options, Document* document, MachineMemory* memory);

  // Run() adds what it looks up to `*uses`, and makes up buffers that it is not given.
  void ReportGlobals(std::vector<GlobalUse>* uses) {
    uses_ = uses;
    makes_up_buffers_ = true;
  }
  void MakeUpBuffers() { makes_up_buffers_ = true; }
  // Run() has `visitor` make containers and calls.
  void VisitWith(Visitor* visitor) {
    visitor_ = visitor;
    visitor_->document_ = document_;
    visitor_->machine_ = this;
  }
  // For visitors: within the limit of comparisons. Errors are without their place.
  StatusOr<Value> NewFrozenSet(std::span<const Value> items);

  // Runs until STOP and sets the root. On an error the Document holds half of something.
  Status Run();
  DecodeResult result() const { return result_; }

 private:
  // Each returns false after setting status_.
  template <bool kVisiting>
  bool Loop();
  bool Fail(std::string_view what);
  bool FailWith(const Status& status);  // of a hook, or with a kind of its own
  bool FailArgument(ArgError error);
  bool FailUnderflow();
  bool FailKey(KeyResult result, const Value& culprit);
  // "ROLE is of type int, not WANTED".
  static std::string TypeError(std::string_view role, const Value& value, std::string_view wanted);
  bool Limit(std::string_view what, uint64_t limit);
  // The allowance of opcodes until the limits must be looked at again.
  bool CheckLimits(uint64_t* allowance);

  // The opcodes that Loop() does not do itself, argument and all.
  bool Rare(Opcode opcode);
  bool TextInt();
  bool TextLong();
  bool TextFloat();
  bool TextString();
  bool TextUnicode();
  bool TextMemo(bool put);
  bool CountedLong(bool four_bytes);
  bool Global();
  bool StackGlobal();
  bool Instance(bool from_lines);
  bool Persistent();
  bool Extension(Opcode opcode);
  bool NewObject(bool with_kwargs);
  bool Reduce();
  bool Build();
  bool Dict();
  bool FrozenSet();
  bool AddItems();
  bool AppendTo(Value* items);      // the target is items[-1]
  bool SetItemsOf(Value* entries);  // the same
  bool SetListItems(const Value& list, const Value* entries, size_t count);
  bool NextBuffer();
  bool ReadonlyBuffer();
  bool Pop();
  bool PopMark();
  bool Dup();
  bool Put(uint64_t index);
  bool Get(uint64_t index);
  bool Frame();
  bool Str8(std::string_view bytes);
  bool Stop();

  // The hooks, in machine_hooks.cc. What the allow-list says:
  bool MayName(std::string_view module, std::string_view name);
  bool MayCall(const Value& callee);
  bool MayChange(const Value& target);
  // What the class registry does for an object that was made, or that is changed.
  bool ObjectMade(const Value& object);
  bool ObjectChanged(const Value& object, PartKind how, std::span<const Value> values);
  bool StateGiven(const ErasedClass& cls, void* object, const Value& state);
  // Items for an object or handle.
  bool ChangeObject(const Value& target, PartKind how, std::span<const Value> values);
  // Pushes what a persistent id stands for.
  bool PushPersistent(const Value& id);
  // What the visitor makes of the topmost `count` values, in their place; of nothing, pushed.
  bool VisitItems(Kind kind, size_t count);
  bool VisitEmpty(Kind kind);
  Status PutKeysOf(const Value& container, std::span<const Value> values);
  // A list or dict of protocol 0, with what lies above `items` in it.
  bool VisitFilled(Kind kind, Value* items);
  bool VisitCall(Kind kind, Value* place, Value callee, Value args, Value kwargs);
  bool VisitChange(const Value& handle, PartKind how, std::span<const Value> values);

  // Called before `top` gets a second handle: gives it what tells that both are one object.
  void Share(Value* top) {
    constexpr uint32_t kKinds =
        1u << static_cast<unsigned>(Kind::kStr) | 1u << static_cast<unsigned>(Kind::kBytes) |
        1u << static_cast<unsigned>(Kind::kStr8) | 1u << static_cast<unsigned>(Kind::kPersistent) |
        1u << static_cast<unsigned>(Kind::kExtension);
    if ((kKinds >> static_cast<unsigned>(top->kind()) & 1) == 0) return;
    if (top->is_object()) {
      MarkMemoised(*top);
    } else if (top->id() == 0) {
      ValueAccess::SetId(top, document_->next_id_++);
    }
  }
  void Push(const Value& value) { *top_++ = value; }  // Loop() keeps room for one
  // The values above the topmost mark; null, and status_ set, if there is no mark.
  Value* PopToMark();
  // Whether `count` values lie above the fence.
  bool Have(size_t count) { return static_cast<size_t>(top_ - fence_) >= count || FailUnderflow(); }
  bool Line(std::string_view* line);
  Value StrOf(std::string&& text);  // copied into the arena
  bool PushGlobal(Value module, Value name);
  // Reports `object`, a global, call, persistent id or extension code.
  const Value& Made(const Value& object) {
    if (options_.made != nullptr) options_.made->push_back(object);
    return object;
  }
  // Reports tuples among the keys [first, end), `stride` apart.
  void ReportKeys(const Value* first, const Value* end, size_t stride) {
    if (options_.keys == nullptr) return;
    for (; first < end; first += stride) {
      if (first->is(Kind::kTuple)) options_.keys->push_back(*first);
    }
  }
  // PutKeys() of the entries [first, top_) into `keyed`. Fails for an entry that is set again
  // where that is refused.
  bool PutEntries(const Value& keyed, size_t stride, const Value* first);
  void ResetFence();
  // Whether an argument is longer than it may be; then status_ is set.
  bool TooLong(std::string_view argument) {
    return argument.size() > longest_argument_ && !Limit("bytes in an argument", longest_argument_);
  }

  const uint8_t* const begin_;
  const uint8_t* const end_;
  const uint8_t* next_;
  const uint8_t* limit_;   // end of the frame, or end_
  const uint8_t* opcode_;  // the one being done
  bool in_frame_ = false;
  Value* top_ = nullptr;
  Value* fence_ = nullptr;                 // below it lies what a mark covers
  const uint8_t* after_tuple2_ = nullptr;  // where the stream stood after the last TUPLE2
  const uint8_t* after_setter_ = nullptr;  // and after a REDUCE that followed it at once
  uint8_t protocol_ = 0;
  size_t buffers_used_ = 0;
  uint64_t opcodes_done_ = 0;
  uint64_t allowance_ = 0;  // of opcodes, given by the last CheckLimits()
  uint64_t longest_argument_;
  KeyWork work_;

  const DecodeOptions& options_;
  Document* const document_;
  Arena* const arena_;
  ValueStack& stack_;
  std::vector<size_t>& marks_;
  Memo& memo_;
  std::vector<GlobalUse>* uses_ = nullptr;
  Visitor* visitor_ = nullptr;
  bool makes_up_buffers_ = false;
  uint32_t allowed_callee_ = 0;  // Value::id of the callee that was seen to be allowed last
  Status status_;
  DecodeResult result_;
};

}  // namespace pannier::codec::internal

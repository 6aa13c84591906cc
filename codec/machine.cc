// The loop over the stream, with the opcodes that make up almost all of any stream.
#include "pannier/codec/machine.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "pannier/codec/utf8.h"

namespace pannier::codec::internal {

Machine::Machine(ByteSpan stream, const DecodeOptions& options, Document* document,
                 MachineMemory* memory)
    : begin_(reinterpret_cast<const uint8_t*>(stream.data())),
      end_(begin_ + stream.size()),
      next_(begin_),
      limit_(end_),
      opcode_(begin_),
      options_(options),
      document_(document),
      arena_(&document->arena_),
      stack_(memory->stack),
      marks_(memory->marks),
      memo_(memory->memo) {
  longest_argument_ = OrNone(options.limits.argument_bytes);
  work_.left = options.limits.comparisons != 0
                   ? options.limits.comparisons
                   : std::max(uint64_t{1} << 20, uint64_t{64} * stream.size());
}

void Machine::ResetFence() { fence_ = stack_.base() + (marks_.empty() ? 0 : marks_.back()); }

Value* Machine::PopToMark() {
  if (marks_.empty()) {
    Fail("there is no mark on the stack");
    return nullptr;
  }
  Value* items = stack_.base() + marks_.back();
  marks_.pop_back();
  ResetFence();
  return items;
}

Status Machine::Run() {
  marks_.clear();
  if (stack_.base() == nullptr) stack_.Grow();
  top_ = fence_ = stack_.base();
  if (uint64_t most = OrNone(options_.limits.stream_bytes);
      most < static_cast<size_t>(end_ - begin_)) {
    return MakeError(ErrorKind::kLimit,
                     absl::StrCat("pickle of ", end_ - begin_, " bytes, limit ", most));
  }
  if (options_.stream_owner.data() != nullptr) document_->Hold(options_.stream_owner);
  if (visitor_ != nullptr ? !Loop<true>() : !Loop<false>()) return status_;
  uint64_t allowance;
  allowance_ = 0;
  if (!CheckLimits(&allowance)) return status_;
  result_.consumed = static_cast<size_t>(next_ - begin_);
  result_.buffers_used = buffers_used_;
  result_.protocol = protocol_;
  return absl::OkStatus();
}

// Everything that changes with each opcode lies in locals; `leave` writes them back before a
// member function is called, and `resume` reads what it changed. Twice, so that without a visitor
// it costs nothing that there may be one.
template <bool kVisiting>
bool Machine::Loop() {
  const uint8_t* p = next_;
  const uint8_t* limit = limit_;
  const uint8_t* op = p;
  Value* top = top_;
  Value* room = stack_.limit();
  uint64_t allowance = 0;
  ArgError error = ArgError::kNone;
  std::string_view text;
  Value* items = nullptr;
  // Longer texts are looked at, and have their length elsewhere.
  const size_t long_text = std::min<uint64_t>(ValueAccess::kLongText - 1, longest_argument_);

  const auto leave = [&] {
    next_ = p;
    opcode_ = op;
    top_ = top;
  };
  const auto resume = [&] {
    p = next_;
    limit = limit_;
    top = top_;
  };
  const auto new_tuple = [&](size_t size) {
    if constexpr (kVisiting) {
      leave();
      const bool made = VisitItems(Kind::kTuple, size);
      top = top_;
      return made;
    }
    auto* node =
        static_cast<TupleNode*>(arena_->Allocate(sizeof(TupleNode) + size * sizeof(Value)));
    node->size = size;
    node->hash = 0;
    top -= size;
    std::memcpy(node->items(), top, size * sizeof(Value));
    *top++ = ValueAccess::OfNode(Kind::kTuple, node, document_->next_id_++);
    return true;
  };
  const auto new_keyed = [&](Kind kind) {
    if constexpr (kVisiting) {
      leave();
      const bool made = VisitEmpty(kind);
      top = top_;
      return made;
    }
    auto* node = arena_->AllocateArray<KeyedNode>(1);
    *node = KeyedNode{};
    *top++ = ValueAccess::OfNode(kind, node, document_->next_id_++);
    return true;
  };
  const auto push_text = [&](Kind kind) {
    if (text.size() <= long_text) {
      *top++ = ValueAccess::OfText(kind, text.data(), text.size(), 0);
      return true;
    }
    leave();
    if (TooLong(text)) return false;
    *top++ = document_->Text(kind, text, 0);
    return true;
  };

  while (true) {
    if (p == limit) [[unlikely]] {
      in_frame_ = false;
      limit = limit_ = end_;
      if (p == end_) {
        status_ = NoStopError(static_cast<size_t>(p - begin_));
        return false;
      }
    }
    op = p;
    if (allowance == 0) [[unlikely]] {
      leave();
      if (!CheckLimits(&allowance)) return false;
    }
    --allowance;
    if (top == room) [[unlikely]] {
      const size_t size = static_cast<size_t>(top - stack_.base());
      stack_.Grow();
      top = stack_.base() + size;
      room = stack_.limit();
      ResetFence();
    }
    const auto opcode = static_cast<Opcode>(*p++);
    switch (opcode) {
      case Opcode::kNone:
        *top++ = Value::None();
        continue;
      case Opcode::kNewTrue:
        *top++ = Value::Bool(true);
        continue;
      case Opcode::kNewFalse:
        *top++ = Value::Bool(false);
        continue;
      case Opcode::kBinInt1: {
        uint8_t number;
        if ((error = TakeFixed(&p, limit, &number)) != ArgError::kNone) goto argument;
        *top++ = Value::Int(number);
        continue;
      }
      case Opcode::kBinInt2: {
        uint16_t number;
        if ((error = TakeFixed(&p, limit, &number)) != ArgError::kNone) goto argument;
        *top++ = Value::Int(number);
        continue;
      }
      case Opcode::kBinInt: {
        int32_t number;
        if ((error = TakeFixed(&p, limit, &number)) != ArgError::kNone) goto argument;
        *top++ = Value::Int(number);
        continue;
      }
      case Opcode::kBinFloat: {
        double number;
        if ((error = TakeFloat8(&p, limit, &number)) != ArgError::kNone) goto argument;
        *top++ = Value::Float(number);
        continue;
      }

      case Opcode::kShortBinUnicode:
        if ((error = TakeCounted<uint8_t>(&p, limit, &text)) != ArgError::kNone) goto argument;
        goto unicode;
      case Opcode::kBinUnicode:
        if ((error = TakeCounted<uint32_t>(&p, limit, &text)) != ArgError::kNone) goto argument;
        goto unicode;
      case Opcode::kBinUnicode8:
        if ((error = TakeCounted<uint64_t>(&p, limit, &text)) != ArgError::kNone) goto argument;
        goto unicode;
      case Opcode::kShortBinBytes:
        if ((error = TakeCounted<uint8_t>(&p, limit, &text)) != ArgError::kNone) goto argument;
        if (!push_text(Kind::kBytes)) return false;
        continue;
      case Opcode::kBinBytes:
        if ((error = TakeCounted<uint32_t>(&p, limit, &text)) != ArgError::kNone) goto argument;
        if (!push_text(Kind::kBytes)) return false;
        continue;
      case Opcode::kBinBytes8:
        if ((error = TakeCounted<uint64_t>(&p, limit, &text)) != ArgError::kNone) goto argument;
        if (!push_text(Kind::kBytes)) return false;
        continue;

      case Opcode::kMemoize: {
        if (top == fence_) goto underflow;
        Share(&top[-1]);
        memo_.Put(memo_.count(), top[-1]);
        continue;
      }
      case Opcode::kBinPut: {
        uint8_t index;
        if ((error = TakeFixed(&p, limit, &index)) != ArgError::kNone) goto argument;
        leave();
        if (!Put(index)) return false;
        continue;
      }
      case Opcode::kLongBinPut: {
        uint32_t index;
        if ((error = TakeFixed(&p, limit, &index)) != ArgError::kNone) goto argument;
        leave();
        if (!Put(index)) return false;
        continue;
      }
      case Opcode::kBinGet: {
        uint8_t index;
        if ((error = TakeFixed(&p, limit, &index)) != ArgError::kNone) goto argument;
        leave();
        if (!Get(index)) return false;
        ++top;
        continue;
      }
      case Opcode::kLongBinGet: {
        uint32_t index;
        if ((error = TakeFixed(&p, limit, &index)) != ArgError::kNone) goto argument;
        leave();
        if (!Get(index)) return false;
        ++top;
        continue;
      }

      case Opcode::kMark:
        marks_.push_back(static_cast<size_t>(top - stack_.base()));
        fence_ = top;
        continue;
      case Opcode::kEmptyTuple:
        *top++ = ValueAccess::OfNode(Kind::kTuple, nullptr, 0);
        continue;
      case Opcode::kTuple1:
        if (top - fence_ < 1) goto underflow;
        if (!new_tuple(1)) return false;
        continue;
      case Opcode::kTuple2:
        if (top - fence_ < 2) goto underflow;
        if (!new_tuple(2)) return false;
        after_tuple2_ = p;
        continue;
      case Opcode::kTuple3:
        if (top - fence_ < 3) goto underflow;
        if (!new_tuple(3)) return false;
        continue;
      case Opcode::kTuple:
        leave();
        if ((items = PopToMark()) == nullptr) return false;
        if (items == top) {
          *top++ = ValueAccess::OfNode(Kind::kTuple, nullptr, 0);
        } else {
          if (!new_tuple(static_cast<size_t>(top - items))) return false;
        }
        continue;

      case Opcode::kEmptyList: {
        if constexpr (kVisiting) {
          leave();
          if (!VisitEmpty(Kind::kList)) return false;
          top = top_;
          continue;
        }
        auto* node = arena_->AllocateArray<ListNode>(1);
        *node = ListNode{};
        *top++ = ValueAccess::OfNode(Kind::kList, node, document_->next_id_++);
        continue;
      }
      case Opcode::kAppend:
        if (top - fence_ < 2) goto underflow;
        items = top - 1;
        goto append;
      case Opcode::kAppends:
        leave();
        if ((items = PopToMark()) == nullptr) return false;
        if (items == fence_) goto underflow;
      append:
        if (items[-1].is(Kind::kList)) {
          auto* node = ValueAccess::Node<ListNode>(items[-1]);
          const size_t count = static_cast<size_t>(top - items);
          if (node->size + count > node->capacity) {
            document_->MakeRoom(&node->items, node->size, &node->capacity, count);
          }
          if (count != 0) std::memcpy(node->items + node->size, items, count * sizeof(Value));
          node->size += count;
        } else if (items != top) {
          leave();
          if (!AppendTo(items)) return false;
        }
        top = items;
        continue;

      case Opcode::kEmptyDict:
        if (!new_keyed(Kind::kDict)) return false;
        continue;
      case Opcode::kEmptySet:
        if (!new_keyed(Kind::kSet)) return false;
        continue;
      case Opcode::kSetItem:
        if (top - fence_ < 3) goto underflow;
        items = top - 2;
        goto set_items;
      case Opcode::kSetItems:
        leave();
        if ((items = PopToMark()) == nullptr) return false;
        if (items == fence_) goto underflow;
      set_items:
        leave();
        if (items != top && !SetItemsOf(items)) return false;
        top = items;
        continue;

      case Opcode::kNewObj:
        leave();
        if (!NewObject(false)) return false;
        top = top_;
        continue;
      case Opcode::kReduce:
        leave();
        if (!Reduce()) return false;
        top = top_;
        continue;
      case Opcode::kBuild:
        leave();
        if (!Build()) return false;
        top = top_;
        continue;
      case Opcode::kStop:
        leave();
        return Stop();
      default:
        leave();
        if (!Rare(opcode)) return false;
        resume();
        continue;
    }

  unicode:
    if (!ValidUtf8(text)) {
      leave();
      return Fail(
          absl::StrCat("invalid UTF-8 at byte ", Utf8ErrorOffset(text, true), " of ", text.size()));
    }
    if (!push_text(Kind::kStr)) return false;
    continue;
  argument:
    leave();
    return FailArgument(error);
  underflow:
    leave();
    return FailUnderflow();
  }
}

}  // namespace pannier::codec::internal

#include "pannier/codec/globals_scan.h"

#include <algorithm>

#include "pannier/codec/globals_scanner.h"

namespace pannier::codec::internal {
namespace {

// Far below what the machine refuses for its number of objects.
constexpr size_t kLongestStream = size_t{1} << 28;

}  // namespace

// On the stack a mark is the slot below its values; it holds where the fence was before. Opcodes
// read their numbers unlooked at: they end inside the stream, and if past the end of a frame, then
// this is seen before the next opcode.
size_t Scan::Run() {
  constexpr size_t kStep = 1024;  // bytes, and so at most as many slots, between looks at room
  BytePtr p = begin_;
  BytePtr limit = end_;  // end of the frame
  BytePtr pause = p;     // where to look at limit and room
  bool in_frame = false;
  Slot* base = stack_.base();
  Slot* top = base;
  Slot* fence = top;  // above it lies what opcodes may take
  Slot* memo = nullptr;
  size_t memo_size = 0;

  // What follows an opcode as a rule is done with it.
  const auto take = [&](Opcode next) {
    if (p >= pause || *p != static_cast<uint8_t>(next)) return false;
    ++p;
    return true;
  };
  const auto push = [&](Slot slot) {
    *top++ = slot;
    if (take(Opcode::kMemoize)) memo[memo_size++] = slot;
  };
  const auto push_mark = [&] {
    *top++ = static_cast<Slot>(fence - base);
    fence = top;
  };
  const auto push_empty = [&](Slot slot) {
    push(slot);
    if (take(Opcode::kMark)) push_mark();
  };
  const auto push_str = [&](uint64_t size, BytePtr text) {
    if (size > static_cast<uint64_t>(end_ - text) || !ValidText(text, size)) return false;
    p = text + size;
    push(size <= 0xff ? SlotOf(size << 8 | kStr, text) : kOther);
    return true;
  };
  const auto push_bytes = [&](uint64_t size, BytePtr text, Slot shape) {
    if (size > static_cast<uint64_t>(end_ - text)) return false;
    p = text + size;
    push(shape == kBytes && size > 0xff ? kLongBytes : shape);
    return true;
  };
  const auto have = [&](size_t count) { return static_cast<size_t>(top - fence) >= count; };
  // The values above the topmost mark, which are left above `top`; null if there is no mark.
  const auto pop_mark = [&]() -> Slot* {
    if (fence == base) return nullptr;
    Slot* items = fence;
    fence = base + items[-1];
    top = items - 1;
    return items;
  };
  const auto put = [&](size_t index) {
    if (!have(1) || index > memo_size) return false;
    memo[index] = top[-1];
    memo_size += index == memo_size;
    return true;
  };
  const auto get = [&](size_t index) {
    if (index >= memo_size) return false;
    *top++ = memo[index];
    return true;
  };
  const auto push_tuple = [&](size_t size) {
    if (!have(size)) return false;
    top -= size;
    push(TupleOf(top, size));
    return true;
  };

  while (true) {
    if (p >= pause) [[unlikely]] {
      if (p > limit) return 0;
      if (p == limit) {
        in_frame = false;
        limit = end_;
        if (p == end_) return 0;
      }
      const auto left = static_cast<size_t>(end_ - p);
      if (left < kLongestOpcode) {
        if (left <= NumberSize(static_cast<Opcode>(*p))) return 0;
        pause = p + 1;
      } else {
        pause = p + std::min({kStep, static_cast<size_t>(limit - p), left - kLongestOpcode + 1});
      }
      const auto stack_size = static_cast<size_t>(top - base);
      const auto fence_at = static_cast<size_t>(fence - base);
      stack_.Reserve(stack_size, kStep);
      memo_.Reserve(memo_size, kStep);
      base = stack_.base();
      top = base + stack_size;
      fence = base + fence_at;
      memo = memo_.base();
    }
    const BytePtr op = p;
    const auto opcode = static_cast<Opcode>(*p++);
    // Most of most streams; a switch takes longer.
    if (opcode == Opcode::kBinGet) {
      if (!get(*p)) return 0;
      p += 1;
      continue;
    }
    if (opcode == Opcode::kShortBinUnicode) {
      if (!push_str(*p, p + 1)) return 0;
      continue;
    }
    switch (opcode) {
      case Opcode::kNone:
      case Opcode::kNewTrue:
      case Opcode::kNewFalse:
        *top++ = kAtom;
        continue;
      case Opcode::kBinInt1:
        *top++ = kAtom;
        p += 1;
        continue;
      case Opcode::kBinInt2:
        *top++ = kAtom;
        p += 2;
        continue;
      case Opcode::kBinInt:
        *top++ = kAtom;
        p += 4;
        continue;
      case Opcode::kBinFloat:
        *top++ = SlotOf(kFloat, p);
        p += 8;
        continue;
      case Opcode::kEmptyTuple:
        *top++ = kFlat;
        continue;
      case Opcode::kEmptyList:
        push_empty(kList);
        continue;
      case Opcode::kEmptyDict:
        push_empty(kDict);
        continue;
      case Opcode::kEmptySet:
        push_empty(kSet);
        continue;
      case Opcode::kNextBuffer:
        push(kBuffer);
        continue;
      case Opcode::kBinUnicode:
        if (!push_str(Load<uint32_t>(p), p + 4)) return 0;
        continue;
      case Opcode::kBinUnicode8:
        if (!push_str(Load<uint64_t>(p), p + 8)) return 0;
        continue;
      case Opcode::kShortBinBytes:
        if (!push_bytes(*p, p + 1, kBytes)) return 0;
        continue;
      case Opcode::kBinBytes:
        if (!push_bytes(Load<uint32_t>(p), p + 4, kBytes)) return 0;
        continue;
      case Opcode::kBinBytes8:
        if (!push_bytes(Load<uint64_t>(p), p + 8, kBytes)) return 0;
        continue;
      case Opcode::kByteArray8:
        if (!push_bytes(Load<uint64_t>(p), p + 8, kByteArray)) return 0;
        continue;
      case Opcode::kLong1:
        if (!push_bytes(*p, p + 1, *p <= sizeof(int64_t) ? kAtom : kOther)) return 0;
        continue;

      case Opcode::kMemoize:
        if (!put(memo_size)) return 0;
        continue;
      case Opcode::kBinPut:
        if (!put(*p)) return 0;
        p += 1;
        continue;
      case Opcode::kLongBinPut:
        if (!put(Load<uint32_t>(p))) return 0;
        p += 4;
        continue;
      case Opcode::kLongBinGet:
        if (!get(Load<uint32_t>(p))) return 0;
        p += 4;
        continue;

      case Opcode::kMark:
        push_mark();
        continue;
      case Opcode::kPop:
        if (top > fence) {
          --top;
        } else if (pop_mark() == nullptr) {
          return 0;
        }
        continue;
      case Opcode::kPopMark:
        if (pop_mark() == nullptr) return 0;
        continue;

      case Opcode::kTuple1:
        if (!push_tuple(1)) return 0;
        continue;
      case Opcode::kTuple2:
        if (!push_tuple(2)) return 0;
        continue;
      case Opcode::kTuple3:
        if (!push_tuple(3)) return 0;
        continue;
      case Opcode::kTuple: {
        const Slot* end = top;
        const Slot* items = pop_mark();
        if (items == nullptr) return 0;
        const auto size = static_cast<size_t>(end - items);
        push(size <= kMostFlat ? TupleOf(items, size) : kDeepTuple);
        continue;
      }
      case Opcode::kFrozenSet: {
        const Slot* end = top;
        const Slot* items = pop_mark();
        if (items == nullptr || !CheapKeys(items, end, 1)) return 0;
        push(kOther);
        continue;
      }

      case Opcode::kAppend: {
        if (!have(2)) return 0;
        --top;
        const Slot target = ShapeOf(top[-1]);
        if (target != kList && target != kObject) return 0;
        continue;
      }
      case Opcode::kAppends: {
        if (pop_mark() == nullptr || !have(1)) return 0;
        const Slot target = ShapeOf(top[-1]);
        if (target != kList && target != kObject) return 0;
        continue;
      }
      case Opcode::kSetItem: {
        if (!have(3)) return 0;
        top -= 2;
        const Slot target = ShapeOf(top[-1]);
        if (target != kObject && (target != kDict || !CheapKeys(top, top + 1, 1))) return 0;
        continue;
      }
      case Opcode::kSetItems: {
        const Slot* end = top;
        const Slot* items = pop_mark();
        if (items == nullptr || !have(1) || (end - items) % 2 != 0) return 0;
        const Slot target = ShapeOf(top[-1]);
        if (target != kObject && (target != kDict || !CheapKeys(items, end, 2))) return 0;
        continue;
      }
      case Opcode::kAddItems: {
        const Slot* end = top;
        const Slot* items = pop_mark();
        if (items == nullptr || !have(1)) return 0;
        const Slot target = ShapeOf(top[-1]);
        if (target != kObject && (target != kSet || !CheapKeys(items, end, 1))) return 0;
        continue;
      }

      case Opcode::kGlobal:
        if (!UseLines(op, &p, limit)) return 0;
        push(kObject);
        continue;
      case Opcode::kStackGlobal:
        if (!have(2) || ShapeOf(top[-1]) != kStr || ShapeOf(top[-2]) != kStr) return 0;
        top -= 2;
        Use(op, StrOf(top[0]), StrOf(top[1]));
        push(kObject);
        continue;
      case Opcode::kReduce:
      case Opcode::kNewObj:
        if (!have(2) || ShapeOf(top[-2]) != kObject || !MayBeTuple(top[-1])) return 0;
        top -= 2;
        push(kObject);
        continue;
      case Opcode::kNewObjEx:
        if (!have(3) || ShapeOf(top[-3]) != kObject || !MayBeTuple(top[-2])) return 0;
        if (ShapeOf(top[-1]) != kDict && ShapeOf(top[-1]) != kObject) return 0;
        top -= 3;
        push(kObject);
        continue;
      case Opcode::kBuild:
        if (!have(2) || ShapeOf(top[-2]) != kObject) return 0;
        --top;
        continue;
      case Opcode::kBinPersId:
        if (!have(1)) return 0;
        top[-1] = kObject;
        continue;
      case Opcode::kReadonlyBuffer: {
        if (!have(1)) return 0;
        const Slot shape = ShapeOf(top[-1]);
        if (shape == kByteArray) {
          top[-1] = kBuffer;
        } else if (shape != kBuffer && shape != kBytes && shape != kLongBytes) {
          return 0;
        }
        continue;
      }

      case Opcode::kProto:
        protocol_ = *p++;
        if (protocol_ > 5) return 0;
        continue;
      case Opcode::kFrame: {
        const auto length = Load<uint64_t>(p);
        p += 8;
        if ((in_frame && p != limit) || length > static_cast<uint64_t>(end_ - p)) return 0;
        in_frame = true;
        limit = p + length;
        pause = p;
        continue;
      }
      case Opcode::kStop:
        return have(1) ? static_cast<size_t>(p - begin_) : 0;
      default:
        return 0;
    }
  }
}

bool ScanGlobals(ByteSpan stream, const GlobalsOptions& options, GlobalsReport* report) {
  if (stream.size() > kLongestStream) return false;
  thread_local ScanMemory memory;
  std::vector<GlobalUse> uses;
  const size_t consumed = Scan(stream, options.fix_imports, &memory, &uses).Run();
  memory.stack.Shrink();
  memory.memo.Shrink();
  if (consumed == 0) return false;
  report->uses = std::move(uses);
  report->status = absl::OkStatus();
  report->consumed = consumed;
  return true;
}

}  // namespace pannier::codec::internal

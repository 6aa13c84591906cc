// What ScanGlobals works with: the state of one scan, what its loop asks of opcodes and slots, and
// how it notes a use. The loop itself is globals_scan.cc.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "pannier/codec/arguments.h"
#include "pannier/codec/compat_names.h"
#include "pannier/codec/globals_scan.h"
#include "pannier/codec/globals_slot.h"
#include "pannier/codec/utf8.h"

namespace pannier::codec::internal {

// The length of what an opcode reads unlooked at: a number, or that of the text's length.
inline size_t NumberSize(Opcode opcode) {
  switch (InfoOf(opcode).arg) {
    case ArgKind::kUint1:
    case ArgKind::kLong1:
    case ArgKind::kString1:
    case ArgKind::kUnicode1:
    case ArgKind::kBytes1:
      return 1;
    case ArgKind::kUint2:
      return 2;
    case ArgKind::kInt4:
    case ArgKind::kUint4:
    case ArgKind::kUnicode4:
    case ArgKind::kBytes4:
      return 4;
    case ArgKind::kUint8:
    case ArgKind::kFloat8:
    case ArgKind::kUnicode8:
    case ArgKind::kBytes8:
    case ArgKind::kByteArray8:
      return 8;
    default:
      return 0;
  }
}
inline constexpr size_t kLongestOpcode = 9;  // and its number

template <typename T>
T Load(BytePtr at) {
  T number;
  std::memcpy(&number, at, sizeof(number));
  return number;
}

struct ScanMemory {
  Slots stack;
  Slots memo;
};

class Scan {
 public:
  Scan(ByteSpan stream, bool fix_imports, ScanMemory* memory, std::vector<GlobalUse>* uses)
      : begin_(reinterpret_cast<const uint8_t*>(stream.data())),
        end_(begin_ + stream.size()),
        fix_imports_(fix_imports),
        stack_(memory->stack),
        memo_(memory->memo),
        uses_(*uses) {}

  // The bytes up to and with STOP; 0: ask the machine.
  size_t Run();

 private:
  Slot SlotOf(Slot shape, BytePtr at) const { return static_cast<Slot>(at - begin_) << 16 | shape; }
  std::string_view StrOf(Slot slot) const {
    return {reinterpret_cast<const char*>(begin_ + (slot >> 16)), slot >> 8 & 0xff};
  }
  bool IsNan(Slot slot) const {
    return std::isnan(
        std::bit_cast<double>(__builtin_bswap64(Load<uint64_t>(begin_ + (slot >> 16)))));
  }
  bool ValidText(BytePtr at, size_t size) const;
  bool CheapKeys(const Slot* first, const Slot* end, size_t stride) const;
  void Use(BytePtr opcode, std::string_view module, std::string_view name);
  bool UseLines(BytePtr opcode, BytePtr* next, BytePtr limit);

  const BytePtr begin_;
  const BytePtr end_;
  const bool fix_imports_;
  uint8_t protocol_ = 0;
  Slots& stack_;
  Slots& memo_;
  std::vector<GlobalUse>& uses_;
};

inline bool Scan::ValidText(BytePtr at, size_t size) const {
  constexpr uint64_t kHigh = 0x8080808080808080u;
  if (size > 0 && size <= 8 && end_ - at >= 8) [[likely]] {
    if ((Load<uint64_t>(at) << (64 - 8 * size) & kHigh) == 0) return true;
  }
  return ValidUtf8({reinterpret_cast<const char*>(at), size});
}

inline bool Scan::CheapKeys(const Slot* first, const Slot* end, size_t stride) const {
  for (const Slot* key = first; key < end; key += stride) {
    if ((*key & kNotCheap) != 0 && (ShapeOf(*key) != kFloat || IsNan(*key))) return false;
  }
  return true;
}

inline void Scan::Use(BytePtr opcode, std::string_view module, std::string_view name) {
  GlobalName named{module, name};
  if (protocol_ < 3 && fix_imports_) named = ToPython3(named);
  uses_.push_back({std::string(named.module), std::string(named.name),
                   static_cast<size_t>(opcode - begin_), static_cast<Opcode>(*opcode), 0});
}

inline bool Scan::UseLines(BytePtr opcode, BytePtr* next, BytePtr limit) {
  std::string_view module;
  std::string_view name;
  if (TakeLine(next, limit, &module) != ArgError::kNone) return false;
  if (TakeLine(next, limit, &name) != ArgError::kNone) return false;
  if (module.empty() || name.empty() || !IsAscii(module) || !IsAscii(name)) return false;
  Use(opcode, module, name);
  return true;
}

}  // namespace pannier::codec::internal

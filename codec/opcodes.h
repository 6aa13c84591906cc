// The 68 opcodes of pickle, protocols 0 to 5, and what each takes from stream and stack.
// The tokenizer, the decoder and the tools read this one table.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace pannier::codec {

enum class Opcode : uint8_t {
  // Protocol 0.
  kMark = '(',
  kStop = '.',
  kPop = '0',
  kDup = '2',
  kFloat = 'F',
  kInt = 'I',
  kLong = 'L',
  kNone = 'N',
  kPersId = 'P',
  kReduce = 'R',
  kString = 'S',
  kUnicode = 'V',
  kAppend = 'a',
  kBuild = 'b',
  kGlobal = 'c',
  kDict = 'd',
  kGet = 'g',
  kInst = 'i',
  kList = 'l',
  kPut = 'p',
  kSetItem = 's',
  kTuple = 't',
  // Protocol 1.
  kEmptyTuple = ')',
  kPopMark = '1',
  kBinFloat = 'G',
  kBinInt = 'J',
  kBinInt1 = 'K',
  kBinInt2 = 'M',
  kBinPersId = 'Q',
  kBinString = 'T',
  kShortBinString = 'U',
  kBinUnicode = 'X',
  kEmptyList = ']',
  kAppends = 'e',
  kBinGet = 'h',
  kLongBinGet = 'j',
  kObj = 'o',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kSetItems = 'u',
  kEmptyDict = '}',
  // Protocol 2.
  kProto = 0x80,
  kNewObj = 0x81,
  kExt1 = 0x82,
  kExt2 = 0x83,
  kExt4 = 0x84,
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kLong1 = 0x8a,
  kLong4 = 0x8b,
  // Protocol 3.
  kBinBytes = 'B',
  kShortBinBytes = 'C',
  // Protocol 4.
  kShortBinUnicode = 0x8c,
  kBinUnicode8 = 0x8d,
  kBinBytes8 = 0x8e,
  kEmptySet = 0x8f,
  kAddItems = 0x90,
  kFrozenSet = 0x91,
  kNewObjEx = 0x92,
  kStackGlobal = 0x93,
  kMemoize = 0x94,
  kFrame = 0x95,
  // Protocol 5.
  kByteArray8 = 0x96,
  kNextBuffer = 0x97,
  kReadonlyBuffer = 0x98,
};
inline constexpr size_t kOpcodeCount = 68;

// How the argument stands in the stream, after the opcode's byte. Numbers are little-endian
// but for kFloat8. A line ends with '\n', which is not part of the argument.
enum class ArgKind : uint8_t {
  kNone,
  kUint1,
  kUint2,
  kInt4,
  kUint4,
  kUint8,
  kFloat8,        // IEEE 754, big-endian
  kDecimalLine,   // an integer as text
  kLongLine,      // an integer as text, perhaps with an L at its end
  kFloatLine,     // a float as text
  kStringLine,    // a Python 2 string literal, quoted
  kUnicodeLine,   // raw-unicode-escape
  kTextLine,      // as it stands
  kTextLinePair,  // two lines: module and name
  kLong1,         // length in one byte, two's complement
  kLong4,         // length in four bytes, signed
  kString1,       // length in one byte; Python 2's 8-bit string
  kString4,       // length in four bytes, signed
  kUnicode1,      // length in one byte; UTF-8
  kUnicode4,      // length in four bytes, unsigned
  kUnicode8,      // length in eight bytes
  kBytes1,
  kBytes4,
  kBytes8,
  kByteArray8,
};

// The kind of what an opcode leaves on the stack.
enum class Pushes : uint8_t {
  kNothing,
  kAny,
  kMark,
  kNone,
  kBool,
  kInt,
  kIntOrBool,
  kFloat,
  kStr,
  kBytes,
  kBytesOrStr,
  kByteArray,
  kTuple,
  kList,
  kDict,
  kSet,
  kFrozenSet,
  kBuffer,
};

struct OpcodeInfo {
  Opcode code;
  std::string_view name;  // "SHORT_BINUNICODE"; empty if no opcode has this byte
  uint8_t protocol;       // the first that has it
  ArgKind arg;
  uint8_t pops;    // values below the topmost mark, if pops_mark; else values
  bool pops_mark;  // and the mark with all above it
  uint8_t pushes;  // number of values
  Pushes pushed;   // their kind
};

namespace internal {
extern const std::array<OpcodeInfo, 256> kOpcodeTable;
}  // namespace internal

// What stands for a byte in the table; name is empty if it is no opcode.
inline const OpcodeInfo& InfoOf(uint8_t byte) { return internal::kOpcodeTable[byte]; }
inline const OpcodeInfo& InfoOf(Opcode code) { return InfoOf(static_cast<uint8_t>(code)); }

}  // namespace pannier::codec

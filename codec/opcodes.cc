#include "pannier/codec/opcodes.h"

namespace pannier::codec::internal {
namespace {

constexpr OpcodeInfo kRows[kOpcodeCount] = {
    {Opcode::kMark, "MARK", 0, ArgKind::kNone, 0, false, 1, Pushes::kMark},
    {Opcode::kStop, "STOP", 0, ArgKind::kNone, 1, false, 0, Pushes::kNothing},
    {Opcode::kPop, "POP", 0, ArgKind::kNone, 1, false, 0, Pushes::kNothing},
    {Opcode::kDup, "DUP", 0, ArgKind::kNone, 1, false, 2, Pushes::kAny},
    {Opcode::kFloat, "FLOAT", 0, ArgKind::kFloatLine, 0, false, 1, Pushes::kFloat},
    {Opcode::kInt, "INT", 0, ArgKind::kDecimalLine, 0, false, 1, Pushes::kIntOrBool},
    {Opcode::kLong, "LONG", 0, ArgKind::kLongLine, 0, false, 1, Pushes::kInt},
    {Opcode::kNone, "NONE", 0, ArgKind::kNone, 0, false, 1, Pushes::kNone},
    {Opcode::kPersId, "PERSID", 0, ArgKind::kTextLine, 0, false, 1, Pushes::kAny},
    {Opcode::kReduce, "REDUCE", 0, ArgKind::kNone, 2, false, 1, Pushes::kAny},
    {Opcode::kString, "STRING", 0, ArgKind::kStringLine, 0, false, 1, Pushes::kBytesOrStr},
    {Opcode::kUnicode, "UNICODE", 0, ArgKind::kUnicodeLine, 0, false, 1, Pushes::kStr},
    {Opcode::kAppend, "APPEND", 0, ArgKind::kNone, 2, false, 1, Pushes::kList},
    {Opcode::kBuild, "BUILD", 0, ArgKind::kNone, 2, false, 1, Pushes::kAny},
    {Opcode::kGlobal, "GLOBAL", 0, ArgKind::kTextLinePair, 0, false, 1, Pushes::kAny},
    {Opcode::kDict, "DICT", 0, ArgKind::kNone, 0, true, 1, Pushes::kDict},
    {Opcode::kGet, "GET", 0, ArgKind::kDecimalLine, 0, false, 1, Pushes::kAny},
    {Opcode::kInst, "INST", 0, ArgKind::kTextLinePair, 0, true, 1, Pushes::kAny},
    {Opcode::kList, "LIST", 0, ArgKind::kNone, 0, true, 1, Pushes::kList},
    {Opcode::kPut, "PUT", 0, ArgKind::kDecimalLine, 0, false, 0, Pushes::kNothing},
    {Opcode::kSetItem, "SETITEM", 0, ArgKind::kNone, 3, false, 1, Pushes::kDict},
    {Opcode::kTuple, "TUPLE", 0, ArgKind::kNone, 0, true, 1, Pushes::kTuple},
    {Opcode::kEmptyTuple, "EMPTY_TUPLE", 1, ArgKind::kNone, 0, false, 1, Pushes::kTuple},
    {Opcode::kPopMark, "POP_MARK", 1, ArgKind::kNone, 0, true, 0, Pushes::kNothing},
    {Opcode::kBinFloat, "BINFLOAT", 1, ArgKind::kFloat8, 0, false, 1, Pushes::kFloat},
    {Opcode::kBinInt, "BININT", 1, ArgKind::kInt4, 0, false, 1, Pushes::kInt},
    {Opcode::kBinInt1, "BININT1", 1, ArgKind::kUint1, 0, false, 1, Pushes::kInt},
    {Opcode::kBinInt2, "BININT2", 1, ArgKind::kUint2, 0, false, 1, Pushes::kInt},
    {Opcode::kBinPersId, "BINPERSID", 1, ArgKind::kNone, 1, false, 1, Pushes::kAny},
    {Opcode::kBinString, "BINSTRING", 1, ArgKind::kString4, 0, false, 1, Pushes::kBytesOrStr},
    {Opcode::kShortBinString, "SHORT_BINSTRING", 1, ArgKind::kString1, 0, false, 1,
     Pushes::kBytesOrStr},
    {Opcode::kBinUnicode, "BINUNICODE", 1, ArgKind::kUnicode4, 0, false, 1, Pushes::kStr},
    {Opcode::kEmptyList, "EMPTY_LIST", 1, ArgKind::kNone, 0, false, 1, Pushes::kList},
    {Opcode::kAppends, "APPENDS", 1, ArgKind::kNone, 1, true, 1, Pushes::kList},
    {Opcode::kBinGet, "BINGET", 1, ArgKind::kUint1, 0, false, 1, Pushes::kAny},
    {Opcode::kLongBinGet, "LONG_BINGET", 1, ArgKind::kUint4, 0, false, 1, Pushes::kAny},
    {Opcode::kObj, "OBJ", 1, ArgKind::kNone, 0, true, 1, Pushes::kAny},
    {Opcode::kBinPut, "BINPUT", 1, ArgKind::kUint1, 0, false, 0, Pushes::kNothing},
    {Opcode::kLongBinPut, "LONG_BINPUT", 1, ArgKind::kUint4, 0, false, 0, Pushes::kNothing},
    {Opcode::kSetItems, "SETITEMS", 1, ArgKind::kNone, 1, true, 1, Pushes::kDict},
    {Opcode::kEmptyDict, "EMPTY_DICT", 1, ArgKind::kNone, 0, false, 1, Pushes::kDict},
    {Opcode::kProto, "PROTO", 2, ArgKind::kUint1, 0, false, 0, Pushes::kNothing},
    {Opcode::kNewObj, "NEWOBJ", 2, ArgKind::kNone, 2, false, 1, Pushes::kAny},
    {Opcode::kExt1, "EXT1", 2, ArgKind::kUint1, 0, false, 1, Pushes::kAny},
    {Opcode::kExt2, "EXT2", 2, ArgKind::kUint2, 0, false, 1, Pushes::kAny},
    {Opcode::kExt4, "EXT4", 2, ArgKind::kInt4, 0, false, 1, Pushes::kAny},
    {Opcode::kTuple1, "TUPLE1", 2, ArgKind::kNone, 1, false, 1, Pushes::kTuple},
    {Opcode::kTuple2, "TUPLE2", 2, ArgKind::kNone, 2, false, 1, Pushes::kTuple},
    {Opcode::kTuple3, "TUPLE3", 2, ArgKind::kNone, 3, false, 1, Pushes::kTuple},
    {Opcode::kNewTrue, "NEWTRUE", 2, ArgKind::kNone, 0, false, 1, Pushes::kBool},
    {Opcode::kNewFalse, "NEWFALSE", 2, ArgKind::kNone, 0, false, 1, Pushes::kBool},
    {Opcode::kLong1, "LONG1", 2, ArgKind::kLong1, 0, false, 1, Pushes::kInt},
    {Opcode::kLong4, "LONG4", 2, ArgKind::kLong4, 0, false, 1, Pushes::kInt},
    {Opcode::kBinBytes, "BINBYTES", 3, ArgKind::kBytes4, 0, false, 1, Pushes::kBytes},
    {Opcode::kShortBinBytes, "SHORT_BINBYTES", 3, ArgKind::kBytes1, 0, false, 1, Pushes::kBytes},
    {Opcode::kShortBinUnicode, "SHORT_BINUNICODE", 4, ArgKind::kUnicode1, 0, false, 1,
     Pushes::kStr},
    {Opcode::kBinUnicode8, "BINUNICODE8", 4, ArgKind::kUnicode8, 0, false, 1, Pushes::kStr},
    {Opcode::kBinBytes8, "BINBYTES8", 4, ArgKind::kBytes8, 0, false, 1, Pushes::kBytes},
    {Opcode::kEmptySet, "EMPTY_SET", 4, ArgKind::kNone, 0, false, 1, Pushes::kSet},
    {Opcode::kAddItems, "ADDITEMS", 4, ArgKind::kNone, 1, true, 1, Pushes::kSet},
    {Opcode::kFrozenSet, "FROZENSET", 4, ArgKind::kNone, 0, true, 1, Pushes::kFrozenSet},
    {Opcode::kNewObjEx, "NEWOBJ_EX", 4, ArgKind::kNone, 3, false, 1, Pushes::kAny},
    {Opcode::kStackGlobal, "STACK_GLOBAL", 4, ArgKind::kNone, 2, false, 1, Pushes::kAny},
    {Opcode::kMemoize, "MEMOIZE", 4, ArgKind::kNone, 1, false, 1, Pushes::kAny},
    {Opcode::kFrame, "FRAME", 4, ArgKind::kUint8, 0, false, 0, Pushes::kNothing},
    {Opcode::kByteArray8, "BYTEARRAY8", 5, ArgKind::kByteArray8, 0, false, 1, Pushes::kByteArray},
    {Opcode::kNextBuffer, "NEXT_BUFFER", 5, ArgKind::kNone, 0, false, 1, Pushes::kBuffer},
    {Opcode::kReadonlyBuffer, "READONLY_BUFFER", 5, ArgKind::kNone, 1, false, 1, Pushes::kBuffer},
};

constexpr std::array<OpcodeInfo, 256> MakeTable() {
  std::array<OpcodeInfo, 256> table{};
  for (size_t byte = 0; byte < table.size(); ++byte) {
    table[byte] = {static_cast<Opcode>(byte), "", 0, ArgKind::kNone, 0, false, 0, Pushes::kNothing};
  }
  for (const OpcodeInfo& row : kRows) table[static_cast<uint8_t>(row.code)] = row;
  return table;
}

}  // namespace

constexpr std::array<OpcodeInfo, 256> kOpcodeTable = MakeTable();

}  // namespace pannier::codec::internal

#include "pannier/codec/direct_writer.h"

#include <algorithm>
#include <limits>

namespace pannier::codec {
namespace {

constexpr char kProtocol = 5;
// A pickler makes no frame around less.
constexpr size_t kLeastFrame = 4;

}  // namespace

bool DirectWriter::WriteInt(int64_t value) {
  if (left() < 1 + 1 + sizeof(value)) return false;
  char* at = bytes_.data() + used_;
  // Little-endian, as pickles are.
  size_t size = sizeof(int32_t);
  if (value >= 0 && value <= 0xFFFF) {
    size = value <= 0xFF ? 1 : 2;
    *at++ = static_cast<char>(size == 1 ? Opcode::kBinInt1 : Opcode::kBinInt2);
  } else if (value == static_cast<int32_t>(value)) {
    *at++ = static_cast<char>(Opcode::kBinInt);
  } else {
    // As many bytes as hold the number and its sign.
    const auto bits = static_cast<uint64_t>(value < 0 ? ~value : value);
    size = static_cast<size_t>(std::bit_width(bits)) / 8 + 1;
    *at++ = static_cast<char>(Opcode::kLong1);
    *at++ = static_cast<char>(size);
  }
  std::memcpy(at, &value, size);
  used_ = static_cast<size_t>(at - bytes_.data()) + size;
  return true;
}

bool DirectWriter::WriteFloat(double value) {
  if (left() < 1 + sizeof(value)) return false;
  const uint64_t bits = __builtin_bswap64(std::bit_cast<uint64_t>(value));
  bytes_[used_] = static_cast<char>(Opcode::kBinFloat);
  std::memcpy(bytes_.data() + used_ + 1, &bits, sizeof(bits));
  used_ += 1 + sizeof(bits);
  return true;
}

bool DirectWriter::WriteText(std::string_view text) {
  if (text.size() > std::numeric_limits<uint8_t>::max() || left() < text.size() + 3) return false;
  const auto ascii = [](char c) { return static_cast<uint8_t>(c) < 0x80; };
  if (!std::all_of(text.begin(), text.end(), ascii)) return false;
  char* at = bytes_.data() + used_;
  *at++ = static_cast<char>(Opcode::kShortBinUnicode);
  *at++ = static_cast<char>(text.size());
  at = std::copy(text.begin(), text.end(), at);
  *at++ = static_cast<char>(Opcode::kMemoize);
  used_ = static_cast<size_t>(at - bytes_.data());
  return true;
}

bool DirectWriter::EndTuple(size_t size) {
  if (size == 0) return Put(Opcode::kEmptyTuple);
  constexpr Opcode kEnds[] = {Opcode::kTuple1, Opcode::kTuple2, Opcode::kTuple3, Opcode::kTuple};
  return Put(kEnds[std::min<size_t>(size, 4) - 1]) && Put(Opcode::kMemoize);
}

std::string DirectWriter::Finish() {
  bytes_[used_++] = static_cast<char>(Opcode::kStop);
  const uint64_t size = used_ - kHead;
  char* begin = bytes_.data() + kHead;
  if (size >= kLeastFrame) {
    begin -= 1 + sizeof(size);
    *begin = static_cast<char>(Opcode::kFrame);
    std::memcpy(begin + 1, &size, sizeof(size));
  }
  begin -= 2;
  begin[0] = static_cast<char>(Opcode::kProto);
  begin[1] = kProtocol;
  return {begin, bytes_.data() + used_};
}

}  // namespace pannier::codec

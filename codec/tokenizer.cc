#include "pannier/codec/tokenizer.h"

#include "absl/strings/str_cat.h"
#include "pannier/codec/arguments.h"
#include "pannier/codec/position.h"

namespace pannier::codec {
namespace internal {

Status StreamError(size_t offset, uint8_t byte, std::string_view what) {
  const std::string_view name = InfoOf(byte).name;
  return WithPosition(
      MakeError(ErrorKind::kUnpickling,
                absl::StrCat("pickle, byte ", offset, ", ", ToAbsl(name), ": ", ToAbsl(what))),
      {offset, byte});
}

Status ArgumentError(size_t offset, uint8_t byte, ArgError error, bool frame_limits) {
  if (error == ArgError::kNegative) return StreamError(offset, byte, "negative length");
  return StreamError(
      offset, byte,
      frame_limits ? "the frame ends inside this opcode" : "the stream ends inside this opcode");
}

Status NoStopError(size_t offset) {
  return WithPosition(
      MakeError(ErrorKind::kUnpickling,
                absl::StrCat("pickle, byte ", offset, ": the stream ends without STOP")),
      {offset, std::nullopt});
}

Status NoOpcodeError(size_t offset, uint8_t byte) {
  return WithPosition(MakeError(ErrorKind::kUnpickling,
                                absl::StrCat("pickle, byte ", offset, ": 0x",
                                             absl::Hex(byte, absl::kZeroPad2), " is no opcode")),
                      {offset, std::nullopt});
}

namespace {

ArgError ReadArgument(ArgKind kind, BytePtr* next, BytePtr limit, Token* token) {
  const auto fixed = [&]<typename T>(T value) {
    const ArgError error = TakeFixed(next, limit, &value);
    token->number = static_cast<uint64_t>(static_cast<int64_t>(value));
    return error;
  };
  switch (kind) {
    case ArgKind::kNone:
      return ArgError::kNone;
    case ArgKind::kUint1:
      return fixed(uint8_t{});
    case ArgKind::kUint2:
      return fixed(uint16_t{});
    case ArgKind::kInt4:
      return fixed(int32_t{});
    case ArgKind::kUint4:
      return fixed(uint32_t{});
    case ArgKind::kUint8:
      return fixed(uint64_t{});
    case ArgKind::kFloat8:
      return TakeFloat8(next, limit, &token->real);
    case ArgKind::kTextLinePair: {
      const BytePtr start = *next;
      ArgError error = TakeLine(next, limit, &token->text);
      if (error == ArgError::kNone) error = TakeLine(next, limit, &token->text2);
      if (error != ArgError::kNone) *next = start;
      return error;
    }
    case ArgKind::kDecimalLine:
    case ArgKind::kLongLine:
    case ArgKind::kFloatLine:
    case ArgKind::kStringLine:
    case ArgKind::kUnicodeLine:
    case ArgKind::kTextLine:
      return TakeLine(next, limit, &token->text);
    case ArgKind::kLong1:
    case ArgKind::kString1:
    case ArgKind::kUnicode1:
    case ArgKind::kBytes1:
      return TakeCounted<uint8_t>(next, limit, &token->text);
    case ArgKind::kLong4:
    case ArgKind::kString4:
      return TakeCounted<int32_t>(next, limit, &token->text);
    case ArgKind::kUnicode4:
    case ArgKind::kBytes4:
      return TakeCounted<uint32_t>(next, limit, &token->text);
    case ArgKind::kUnicode8:
    case ArgKind::kBytes8:
    case ArgKind::kByteArray8:
      return TakeCounted<uint64_t>(next, limit, &token->text);
  }
  return ArgError::kTruncated;
}

}  // namespace
}  // namespace internal

Tokenizer::Tokenizer(ByteSpan stream, bool enforce_frames)
    : begin_(reinterpret_cast<const uint8_t*>(stream.data())),
      end_(begin_ + stream.size()),
      next_(begin_),
      limit_(end_),
      enforce_frames_(enforce_frames) {}

bool Tokenizer::Fail(Status status) {
  status_ = std::move(status);
  return false;
}

bool Tokenizer::EnterFrame(const Token& token) {
  const auto byte = static_cast<uint8_t>(Opcode::kFrame);
  if (in_frame_ && next_ != limit_) {
    return Fail(internal::StreamError(token.offset, byte, "a frame begins inside another"));
  }
  if (token.number > static_cast<uint64_t>(end_ - next_)) {
    return Fail(internal::StreamError(
        token.offset, byte,
        absl::StrCat("a frame of ", token.number, " bytes, but ", end_ - next_, " are left")));
  }
  in_frame_ = true;
  limit_ = next_ + token.number;
  return true;
}

bool Tokenizer::Next(Token* token) {
  if (stopped_ || !status_.ok()) return false;
  if (in_frame_ && next_ == limit_) {
    in_frame_ = false;
    limit_ = end_;
  }
  if (next_ == limit_) {
    return Fail(internal::NoStopError(offset()));
  }
  const uint8_t byte = *next_;
  *token = Token();
  token->info = &InfoOf(byte);
  token->offset = offset();
  if (token->info->name.empty()) {
    return Fail(internal::NoOpcodeError(offset(), byte));
  }
  const uint8_t* after = next_ + 1;
  const internal::ArgError error = internal::ReadArgument(token->info->arg, &after, limit_, token);
  if (error != internal::ArgError::kNone) {
    return Fail(internal::ArgumentError(token->offset, byte, error, limit_ != end_));
  }
  next_ = after;
  token->end = offset();
  if (token->opcode() == Opcode::kFrame && enforce_frames_) return EnterFrame(*token);
  stopped_ = token->opcode() == Opcode::kStop;
  return true;
}

}  // namespace pannier::codec

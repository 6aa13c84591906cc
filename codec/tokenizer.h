// Cuts a stream into opcodes with their arguments, in one pass, without looking at what they
// mean. For the tools; the decoder's loop reads the same arguments through arguments.h.
#pragma once

#include <cstdint>
#include <string_view>

#include "pannier/base/bytes.h"
#include "pannier/base/status.h"
#include "pannier/codec/opcodes.h"

namespace pannier::codec {

struct Token {
  const OpcodeInfo* info = nullptr;
  size_t offset = 0;  // of the opcode
  size_t end = 0;     // of the argument; the next opcode's offset
  // kUint*, kInt4 (sign-extended): the number.
  uint64_t number = 0;
  double real = 0;  // kFloat8
  // Lines and counted bytes: as they stand, borrowed from the stream.
  std::string_view text;
  std::string_view text2;  // kTextLinePair: the name

  Opcode opcode() const { return info->code; }
};

class Tokenizer {
 public:
  // Borrows `stream`. With `enforce_frames`, a frame must lie inside the stream and in no
  // other, and end where an opcode ends; without, FRAME is an opcode like any other, as
  // pickletools has it.
  explicit Tokenizer(ByteSpan stream, bool enforce_frames = true);

  // The next token; false after STOP was given, and on error. Token's views live as long as
  // the stream.
  bool Next(Token* token);
  // OK, or why Next() ended early: Unpickling, with byte offset and opcode.
  const Status& status() const { return status_; }
  // Bytes consumed; after STOP, the length of the pickle.
  size_t offset() const { return static_cast<size_t>(next_ - begin_); }

 private:
  bool Fail(Status status);
  bool EnterFrame(const Token& token);

  const uint8_t* begin_;
  const uint8_t* end_;
  const uint8_t* next_;
  const uint8_t* limit_;  // end of the current frame, or end_
  bool enforce_frames_;
  bool in_frame_ = false;
  bool stopped_ = false;
  Status status_;
};

}  // namespace pannier::codec

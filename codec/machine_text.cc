// Opcodes with a text argument: numbers and strings of protocols 0 and 1, and long integers.
#include <utility>

#include "absl/strings/str_cat.h"
#include "pannier/codec/escapes.h"
#include "pannier/codec/machine.h"
#include "pannier/codec/numerals.h"
#include "pannier/codec/str8.h"
#include "pannier/codec/utf8.h"

namespace pannier::codec::internal {

bool Machine::Line(std::string_view* line) {
  const ArgError error = TakeLine(&next_, limit_, line);
  if (error != ArgError::kNone) return FailArgument(error);
  return !TooLong(*line);
}

Value Machine::StrOf(std::string&& text) {
  return document_->Text(Kind::kStr, document_->CopyText(text), 0);
}

bool Machine::TextInt() {
  std::string_view line;
  if (!Line(&line)) return false;
  if (line.empty()) return Fail("no digits");
  const std::string_view text = line.substr(0, line.find('\0'));
  size_t used = 0;
  // To strtol(), which CPython asks, a line that begins with NUL says 0.
  const auto small = text.empty() ? std::optional<int64_t>(0) : ParseCLong(text, &used);
  if (small && used == text.size()) {
    // "00" and "01" are how protocols 0 and 1 write False and True.
    const bool is_bool = line.size() == 2 && (*small == 0 || *small == 1);
    Push(is_bool ? Value::Bool(*small == 1) : Value::Int(*small));
    return true;
  }
  const auto number = ParseInteger(text, 0);
  if (!number) return Fail("not an integer, or longer than 4300 digits");
  Push(number->fits ? Value::Int(number->small) : document_->NewInteger(AsBytes(number->bytes)));
  return true;
}

bool Machine::TextLong() {
  std::string_view line;
  if (!Line(&line)) return false;
  if (line.empty()) return Fail("no digits");
  if (line.back() == 'L') line.remove_suffix(1);
  const auto number = ParseInteger(line, 0);
  if (!number) return Fail("not an integer, or longer than 4300 digits");
  Push(number->fits ? Value::Int(number->small) : document_->NewInteger(AsBytes(number->bytes)));
  return true;
}

bool Machine::CountedLong(bool four_bytes) {
  std::string_view bytes;
  const ArgError error = four_bytes ? TakeCounted<int32_t>(&next_, limit_, &bytes)
                                    : TakeCounted<uint8_t>(&next_, limit_, &bytes);
  if (error != ArgError::kNone) return FailArgument(error);
  if (TooLong(bytes)) return false;
  int64_t small = 0;
  size_t length = 0;
  if (FitsInt64(bytes, &small, &length)) {
    Push(Value::Int(small));
  } else {
    Push(document_->Text(Kind::kBigInt, bytes.substr(0, length), 0));
  }
  return true;
}

bool Machine::TextFloat() {
  std::string_view line;
  if (!Line(&line)) return false;
  const auto number = ParseFloat(line);
  if (!number) return Fail("not a float, or out of range");
  Push(Value::Float(*number));
  return true;
}

bool Machine::TextString() {
  std::string_view line;
  if (!Line(&line)) return false;
  const char* why = "";
  auto bytes = DecodeStringLiteral(line, &why);
  if (!bytes) return Fail(why);
  return Str8(document_->CopyText(*bytes));
}

bool Machine::TextUnicode() {
  std::string_view line;
  if (!Line(&line)) return false;
  if (IsPlainLine(line)) {
    Push(document_->Text(Kind::kStr, line, 0));
    return true;
  }
  const char* why = "";
  auto text = DecodeRawUnicodeEscape(line, &why);
  if (!text) return Fail(why);
  Push(StrOf(*std::move(text)));
  return true;
}

// `bytes` lie in the stream or the arena.
bool Machine::Str8(std::string_view bytes) {
  if (TooLong(bytes)) return false;
  if (options_.decode_str8) {
    StatusOr<std::string> text = options_.decode_str8(bytes);
    if (!text.ok()) return FailWith(text.status());
    if (!ValidUtf8(*text)) return Fail("decode_str8 gave what is not UTF-8");
    Push(StrOf(*std::move(text)));
    return true;
  }
  std::string changed;
  Kind kind = Kind::kStr;
  const char* why = "";
  switch (DecodeStr8(bytes, options_.encoding, options_.errors, &kind, &changed, &why)) {
    case Str8Result::kAsIs:
      Push(document_->Text(kind, bytes, 0));
      return true;
    case Str8Result::kChanged:
      Push(StrOf(std::move(changed)));
      return true;
    case Str8Result::kError:
      break;
  }
  return Fail(why);
}

bool Machine::TextMemo(bool put) {
  std::string_view line;
  if (!Line(&line)) return false;
  const auto number = ParseInteger(line, 10);
  if (!number || !number->fits) return Fail("not a memo index");
  if (number->small < 0) {
    return Fail(put ? "negative memo index"
                    : absl::StrCat("memo index ", number->small, " was never written"));
  }
  const auto index = static_cast<uint64_t>(number->small);
  if (put) return Put(index);
  if (!Get(index)) return false;
  ++top_;
  return true;
}

}  // namespace pannier::codec::internal

#include "pannier/codec/token_text.h"

#include <limits>
#include <optional>

#include "absl/strings/str_cat.h"
#include "pannier/base/status.h"
#include "pannier/codec/escapes.h"
#include "pannier/codec/numerals.h"
#include "pannier/codec/printable.h"
#include "pannier/codec/utf8.h"

namespace pannier::codec::internal {
namespace {

constexpr size_t kNoLimit = std::numeric_limits<size_t>::max();
constexpr char kNotAscii[] = "a line that is not ASCII";
constexpr char kNotInteger[] = "not an integer, or longer than 4300 digits";

// int(bytes): decimal, and the text ends where the bytes do.
std::optional<std::string> Decimal(std::string_view line) {
  if (line.find('\0') != std::string_view::npos) return std::nullopt;
  const auto number = ParseInteger(line, 10);
  if (!number) return std::nullopt;
  return number->fits ? absl::StrCat(number->small) : FormatInteger(number->bytes);
}

std::optional<std::string> BinaryInteger(std::string_view bytes) {
  int64_t small = 0;
  size_t length = 0;
  if (FitsInt64(bytes, &small, &length)) return absl::StrCat(small);
  return FormatInteger(bytes.substr(0, length));
}

// A line with Python's escapes, which must come out as ASCII.
const char* EscapedLine(std::string_view line, std::string* text) {
  const char* why = nullptr;
  auto decoded = DecodeEscapes(line, &why);
  if (!decoded) return why;
  if (!IsAscii(*decoded)) return kNotAscii;
  *text = *std::move(decoded);
  return nullptr;
}

const char* QuotedLine(std::string_view line, std::string* text) {
  // Either quote first, which must then be last as well; a lone one is both.
  if (line.empty() || (line.front() != '"' && line.front() != '\'')) return "no quotes";
  if (line.back() != line.front()) return "the quotes do not match";
  line = line.size() == 1 ? std::string_view() : line.substr(1, line.size() - 2);
  std::string decoded;
  if (const char* why = EscapedLine(line, &decoded)) return why;
  AppendStrRepr(decoded, kNoLimit, text);
  return nullptr;
}

const char* Line(std::string_view line, std::string* text) {
  std::string decoded;
  if (const char* why = EscapedLine(line, &decoded)) return why;
  AppendStrRepr(decoded, kNoLimit, text);
  return nullptr;
}

const char* LinePair(const Token& token, std::string* text) {
  std::string module;
  std::string name;
  if (const char* why = EscapedLine(token.text, &module)) return why;
  if (const char* why = EscapedLine(token.text2, &name)) return why;
  AppendStrRepr(absl::StrCat(module, " ", name), kNoLimit, text);
  return nullptr;
}

const char* Number(std::optional<std::string> digits, std::string* text) {
  if (!digits) return kNotInteger;
  *text = *std::move(digits);
  return nullptr;
}

const char* FloatLine(std::string_view line, std::string* text) {
  if (line.find('\0') != std::string_view::npos) return "not a float";
  const auto value = ParsePythonFloat(line);
  if (!value) return "not a float";
  *text = FormatFloat(*value);
  return nullptr;
}

}  // namespace

std::string CodeText(Opcode code) {
  std::string text;
  const char byte = static_cast<char>(code);
  AppendStrRepr(Latin1ToUtf8({&byte, 1}), kNoLimit, &text);
  return text.substr(1, text.size() - 2);
}

const char* ArgumentText(const Token& token, std::string* text) {
  switch (token.info->arg) {
    case ArgKind::kNone:
      return nullptr;
    case ArgKind::kUint1:
    case ArgKind::kUint2:
    case ArgKind::kUint4:
    case ArgKind::kUint8:
      *text = absl::StrCat(token.number);
      return nullptr;
    case ArgKind::kInt4:
      *text = absl::StrCat(static_cast<int64_t>(token.number));
      return nullptr;
    case ArgKind::kFloat8:
      *text = FormatFloat(token.real);
      return nullptr;
    case ArgKind::kFloatLine:
      return FloatLine(token.text, text);
    case ArgKind::kDecimalLine:
      if (token.text == "00" || token.text == "01") {
        *text = token.text == "00" ? "False" : "True";
        return nullptr;
      }
      return Number(Decimal(token.text), text);
    case ArgKind::kLongLine: {
      std::string_view line = token.text;
      if (line.ends_with('L')) line.remove_suffix(1);
      return Number(Decimal(line), text);
    }
    case ArgKind::kLong1:
    case ArgKind::kLong4:
      return Number(BinaryInteger(token.text), text);
    case ArgKind::kStringLine:
      return QuotedLine(token.text, text);
    case ArgKind::kTextLine:
      return Line(token.text, text);
    case ArgKind::kTextLinePair:
      return LinePair(token, text);
    case ArgKind::kUnicodeLine: {
      const char* why = nullptr;
      const auto decoded = DecodeRawUnicodeEscape(token.text, &why);
      if (!decoded) return why;
      AppendStrRepr(*decoded, kNoLimit, text);
      return nullptr;
    }
    case ArgKind::kString1:
    case ArgKind::kString4:
      AppendStrRepr(Latin1ToUtf8(token.text), kNoLimit, text);
      return nullptr;
    case ArgKind::kUnicode1:
    case ArgKind::kUnicode4:
    case ArgKind::kUnicode8:
      if (!ValidUtf8(token.text)) return "invalid UTF-8";
      AppendStrRepr(token.text, kNoLimit, text);
      return nullptr;
    case ArgKind::kBytes1:
    case ArgKind::kBytes4:
    case ArgKind::kBytes8:
      AppendBytesRepr(token.text, kNoLimit, text);
      return nullptr;
    case ArgKind::kByteArray8:
      AppendByteArrayRepr(token.text, kNoLimit, text);
      return nullptr;
  }
  return "an argument of no known kind";
}

std::string MemoKey(const std::string& argument_text) {
  if (argument_text == "False") return "0";
  return argument_text == "True" ? "1" : argument_text;
}

}  // namespace pannier::codec::internal

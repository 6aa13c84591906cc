#include "pannier/codec/escapes.h"

#include <cstdint>

#include "pannier/codec/utf8.h"

namespace pannier::codec::internal {
namespace {

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

constexpr char kHex[] = "0123456789abcdef";

void AppendHex(uint32_t value, int digits, std::string* out) {
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) {
    out->push_back(kHex[value >> shift & 15]);
  }
}

}  // namespace

bool IsPlainLine(std::string_view line) {
  return line.find('\\') == std::string_view::npos && IsAscii(line);
}

std::optional<std::string> DecodeRawUnicodeEscape(std::string_view line, const char** why) {
  std::string out;
  out.reserve(line.size());
  size_t at = 0;
  while (at < line.size()) {
    const char c = line[at++];
    if (c != '\\' || at == line.size()) {
      AppendUtf8(static_cast<uint8_t>(c), &out);
      continue;
    }
    const char letter = line[at++];
    if (letter != 'u' && letter != 'U') {  // a backslash escapes nothing else, not even itself
      out.push_back('\\');
      AppendUtf8(static_cast<uint8_t>(letter), &out);
      continue;
    }
    uint32_t code_point = 0;
    for (int count = letter == 'u' ? 4 : 8; count > 0; --count, ++at) {
      const int digit = at < line.size() ? HexDigit(line[at]) : -1;
      if (digit < 0) {
        *why = letter == 'u' ? "truncated \\uXXXX escape" : "truncated \\UXXXXXXXX escape";
        return std::nullopt;
      }
      code_point = code_point << 4 | static_cast<uint32_t>(digit);
    }
    if (code_point > 0x10ffff) {
      *why = "\\U escape past 0x10ffff";
      return std::nullopt;
    }
    AppendUtf8(code_point, &out);
  }
  return out;
}

void AppendRawUnicodeEscape(std::string_view utf8, std::string* out) {
  size_t at = 0;
  while (at < utf8.size()) {
    const uint32_t c = NextCodePoint(utf8, &at);
    if (c >= 0x10000) {
      out->append("\\U");
      AppendHex(c, 8, out);
    } else if (c >= 256 || c == '\\' || c == 0 || c == '\n' || c == '\r' || c == 0x1a) {
      out->append("\\u");
      AppendHex(c, 4, out);
    } else {
      out->push_back(static_cast<char>(c));
    }
  }
}

std::optional<std::string> DecodeStringLiteral(std::string_view line, const char** why) {
  if (line.size() < 2 || line.front() != line.back() ||
      (line.front() != '\'' && line.front() != '"')) {
    *why = "the argument is not quoted";
    return std::nullopt;
  }
  return DecodeEscapes(line.substr(1, line.size() - 2), why);
}

std::optional<std::string> DecodeEscapes(std::string_view line, const char** why) {
  std::string out;
  out.reserve(line.size());
  size_t at = 0;
  while (at < line.size()) {
    const char c = line[at++];
    if (c != '\\') {
      out.push_back(c);
      continue;
    }
    if (at == line.size()) {
      *why = "a backslash ends the literal";
      return std::nullopt;
    }
    const char letter = line[at++];
    switch (letter) {
      case '\\':
      case '\'':
      case '"':
        out.push_back(letter);
        break;
      case 'a':
        out.push_back('\a');
        break;
      case 'b':
        out.push_back('\b');
        break;
      case 'f':
        out.push_back('\f');
        break;
      case 'n':
        out.push_back('\n');
        break;
      case 'r':
        out.push_back('\r');
        break;
      case 't':
        out.push_back('\t');
        break;
      case 'v':
        out.push_back('\v');
        break;
      case 'x': {
        const int high = at + 1 < line.size() ? HexDigit(line[at]) : -1;
        const int low = at + 1 < line.size() ? HexDigit(line[at + 1]) : -1;
        if (high < 0 || low < 0) {
          *why = "invalid \\x escape";
          return std::nullopt;
        }
        out.push_back(static_cast<char>(high << 4 | low));
        at += 2;
        break;
      }
      default:
        if (letter >= '0' && letter <= '7') {
          int value = letter - '0';
          for (int i = 0; i < 2 && at < line.size() && line[at] >= '0' && line[at] <= '7'; ++i) {
            value = value * 8 + (line[at++] - '0');
          }
          out.push_back(static_cast<char>(value));
        } else {  // no escape: both stand
          out.push_back('\\');
          --at;
        }
    }
  }
  return out;
}

void AppendStringLiteral(std::string_view bytes, std::string* out) {
  const bool has_single = bytes.find('\'') != std::string_view::npos;
  const bool has_double = bytes.find('"') != std::string_view::npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  out->push_back(quote);
  for (const char c : bytes) {
    const auto byte = static_cast<uint8_t>(c);
    if (c == quote || c == '\\') {
      out->push_back('\\');
      out->push_back(c);
    } else if (c == '\t') {
      out->append("\\t");
    } else if (c == '\n') {
      out->append("\\n");
    } else if (c == '\r') {
      out->append("\\r");
    } else if (byte < 0x20 || byte >= 0x7f) {
      out->append("\\x");
      AppendHex(byte, 2, out);
    } else {
      out->push_back(c);
    }
  }
  out->push_back(quote);
}

}  // namespace pannier::codec::internal

// The repr() of texts, declared in printable.h.
#include "absl/strings/str_cat.h"
#include "pannier/codec/printable.h"
#include "pannier/codec/utf8.h"

namespace pannier::codec::internal {
namespace {

char QuoteFor(std::string_view text) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  return has_single && text.find('"') == std::string_view::npos ? '"' : '\'';
}

// False if the character needs no escape.
bool AppendEscaped(uint32_t c, char also, std::string* out) {
  if (c == '\n') {
    out->append("\\n");
  } else if (c == '\r') {
    out->append("\\r");
  } else if (c == '\t') {
    out->append("\\t");
  } else if (c == '\\' || c == static_cast<uint8_t>(also)) {
    out->push_back('\\');
    out->push_back(static_cast<char>(c));
  } else if (IsPrintable(c)) {
    return false;
  } else if (c < 0x100) {
    absl::StrAppend(out, "\\x", absl::Hex(c, absl::kZeroPad2));
  } else if (c < 0x10000) {
    absl::StrAppend(out, "\\u", absl::Hex(c, absl::kZeroPad4));
  } else {
    absl::StrAppend(out, "\\U", absl::Hex(c, absl::kZeroPad8));
  }
  return true;
}

void AppendByte(char c, char also, std::string* out) {
  const auto byte = static_cast<uint8_t>(c);
  if (byte >= 0x80) {
    absl::StrAppend(out, "\\x", absl::Hex(byte, absl::kZeroPad2));
  } else if (!AppendEscaped(byte, also, out)) {
    out->push_back(c);
  }
}

}  // namespace

void AppendStrRepr(std::string_view utf8, size_t most, std::string* out) {
  const char quote = QuoteFor(utf8);
  const bool valid = ValidUtf8(utf8);
  out->push_back(quote);
  for (size_t at = 0; at < utf8.size() && out->size() <= most;) {
    if (!valid) {
      AppendByte(utf8[at++], quote, out);
      continue;
    }
    const size_t start = at;
    const uint32_t c = NextCodePoint(utf8, &at);
    if (!AppendEscaped(c, quote, out)) out->append(utf8.substr(start, at - start));
  }
  out->push_back(quote);
}

void AppendBytesRepr(std::string_view bytes, size_t most, std::string* out) {
  const char quote = QuoteFor(bytes);
  out->push_back('b');
  out->push_back(quote);
  for (size_t at = 0; at < bytes.size() && out->size() <= most; ++at) {
    AppendByte(bytes[at], quote, out);
  }
  out->push_back(quote);
}

void AppendByteArrayRepr(std::string_view bytes, size_t most, std::string* out) {
  // Single quotes are escaped whatever stands around, and double ones never.
  const char quote = QuoteFor(bytes);
  out->append("bytearray(b");
  out->push_back(quote);
  for (size_t at = 0; at < bytes.size() && out->size() <= most; ++at) {
    AppendByte(bytes[at], '\'', out);
  }
  out->push_back(quote);
  out->push_back(')');
}

}  // namespace pannier::codec::internal

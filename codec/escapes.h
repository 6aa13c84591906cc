// The two escaped forms of text in protocol 0: raw-unicode-escape (UNICODE) and Python 2's
// string literals (STRING).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace pannier::codec::internal {

// True if the text has a form of its own: the decoder may borrow it from the stream.
// False if it holds an escape or a byte beyond ASCII.
bool IsPlainLine(std::string_view line);

// raw-unicode-escape to UTF-8. On error nothing, and *why says it.
std::optional<std::string> DecodeRawUnicodeEscape(std::string_view line, const char** why);
// The form that _pickle writes. REQUIRES: valid UTF-8 (surrogates allowed).
void AppendRawUnicodeEscape(std::string_view utf8, std::string* out);

// Python's escapes in a bytes literal ("\n", "\x41", "\101") to bytes. On error nothing, and
// *why says it.
std::optional<std::string> DecodeEscapes(std::string_view text, const char** why);
// The argument of STRING, with its quotes, to bytes. On error nothing, and *why says it.
std::optional<std::string> DecodeStringLiteral(std::string_view line, const char** why);
// repr() of Python 2's str.
void AppendStringLiteral(std::string_view bytes, std::string* out);

}  // namespace pannier::codec::internal

// UTF-8 as pickle has it: lone surrogates are encoded like any other code point of three
// bytes (Python's "surrogatepass"); otherwise as the standard says.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace pannier::codec::internal {

inline bool IsAscii(const char* data, size_t size) {
  constexpr uint64_t kHigh = 0x8080808080808080u;
  uint64_t any = 0;
  uint64_t word;
  if (size >= 8) {
    size_t at = 0;
    for (; at + 8 <= size; at += 8) {
      std::memcpy(&word, data + at, 8);
      any |= word;
    }
    std::memcpy(&word, data + size - 8, 8);  // overlaps what was read
    return ((any | word) & kHigh) == 0;
  }
  for (size_t at = 0; at < size; ++at) any |= static_cast<uint8_t>(data[at]);
  return (any & 0x80) == 0;
}
inline bool IsAscii(std::string_view text) { return IsAscii(text.data(), text.size()); }

// The offset of the first byte that does not belong; text.size() if all do.
size_t Utf8ErrorOffset(std::string_view text, bool allow_surrogates);

// The length of the ill-formed piece at the start of `text`, as decoders replace them: the
// longest beginning of a sequence that could have been, else one byte. Surrogates are ill.
size_t Utf8ErrorLength(std::string_view text);

inline bool ValidUtf8(std::string_view text) {
  return IsAscii(text) || Utf8ErrorOffset(text, true) == text.size();
}

// The code point at `*at`, which moves past it. REQUIRES: valid text and *at < size.
uint32_t NextCodePoint(std::string_view text, size_t* at);

// REQUIRES: code_point <= 0x10ffff.
void AppendUtf8(uint32_t code_point, std::string* out);

std::string Latin1ToUtf8(std::string_view latin1);

}  // namespace pannier::codec::internal

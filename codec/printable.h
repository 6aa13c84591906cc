// Which characters Python shows as they are.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace pannier::codec::internal {

// str.isprintable() of one character, as of Python 3.11.
bool IsPrintable(uint32_t code_point);

// Python's repr() of a str, of bytes and of a bytearray. Stops once *out is longer than
// `most` bytes, to be cut by the caller. Bytes of `utf8` that are not UTF-8 are shown as "\xff".
void AppendStrRepr(std::string_view utf8, size_t most, std::string* out);
void AppendBytesRepr(std::string_view bytes, size_t most, std::string* out);
void AppendByteArrayRepr(std::string_view bytes, size_t most, std::string* out);

}  // namespace pannier::codec::internal

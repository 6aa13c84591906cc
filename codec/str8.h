// Python 2's 8-bit strings as Python 3 reads them: `encoding` and `errors` of the unpickler.
#pragma once

#include <string>
#include <string_view>

#include "pannier/codec/decoder.h"

namespace pannier::codec::internal {

enum class Str8Result : uint8_t {
  kAsIs,     // *kind of the same bytes
  kChanged,  // a Str whose text is *changed
  kError,    // *why says what is wrong
};

Str8Result DecodeStr8(std::string_view bytes, Str8Encoding encoding, Str8Errors errors, Kind* kind,
                      std::string* changed, const char** why);

}  // namespace pannier::codec::internal

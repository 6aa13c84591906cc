#include "pannier/codec/str8.h"

#include "pannier/codec/utf8.h"

namespace pannier::codec::internal {
namespace {

// What stands for `count` bytes at `data` that the encoding does not have.
void AppendReplacement(const char* data, size_t count, Str8Errors errors, std::string* out) {
  if (errors == Str8Errors::kReplace) AppendUtf8(0xfffd, out);
  if (errors == Str8Errors::kSurrogateEscape) {
    for (size_t i = 0; i < count; ++i) AppendUtf8(0xdc00 + static_cast<uint8_t>(data[i]), out);
  }
}

std::string Repair(std::string_view bytes, bool utf8, Str8Errors errors) {
  std::string out;
  out.reserve(bytes.size());
  while (!bytes.empty()) {
    size_t good = 0;
    size_t bad = 1;
    if (utf8) {
      good = Utf8ErrorOffset(bytes, false);
      if (good < bytes.size()) bad = Utf8ErrorLength(bytes.substr(good));
    } else {
      while (good < bytes.size() && static_cast<uint8_t>(bytes[good]) < 0x80) ++good;
    }
    out.append(bytes.substr(0, good));
    bytes.remove_prefix(good);
    if (bytes.empty()) break;
    AppendReplacement(bytes.data(), bad, errors, &out);
    bytes.remove_prefix(bad);
  }
  return out;
}

}  // namespace

Str8Result DecodeStr8(std::string_view bytes, Str8Encoding encoding, Str8Errors errors, Kind* kind,
                      std::string* changed, const char** why) {
  *kind = encoding == Str8Encoding::kBytes  ? Kind::kBytes
          : encoding == Str8Encoding::kKeep ? Kind::kStr8
                                            : Kind::kStr;
  if (*kind != Kind::kStr || IsAscii(bytes)) return Str8Result::kAsIs;
  if (encoding == Str8Encoding::kLatin1) {
    *changed = Latin1ToUtf8(bytes);
    return Str8Result::kChanged;
  }
  const bool utf8 = encoding == Str8Encoding::kUtf8;
  if (utf8 && Utf8ErrorOffset(bytes, false) == bytes.size()) return Str8Result::kAsIs;
  if (errors == Str8Errors::kStrict) {
    *why = utf8 ? "an 8-bit str that is not UTF-8"
                : "an 8-bit str that is not ASCII: state its encoding";
    return Str8Result::kError;
  }
  *changed = Repair(bytes, utf8, errors);
  return Str8Result::kChanged;
}

}  // namespace pannier::codec::internal

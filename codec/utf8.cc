#include "pannier/codec/utf8.h"

namespace pannier::codec::internal {
namespace {

constexpr bool Continues(uint8_t byte) { return (byte & 0xc0) == 0x80; }

// The length of the well-formed sequence at `text[at]`, or 0.
size_t SequenceLength(std::string_view text, size_t at, bool allow_surrogates) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[at + i]); };
  const size_t left = text.size() - at;
  const uint8_t lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead < 0xc2) return 0;
  if (lead < 0xe0) return left >= 2 && Continues(byte(1)) ? 2 : 0;
  if (lead < 0xf0) {
    if (left < 3 || !Continues(byte(1)) || !Continues(byte(2))) return 0;
    if (lead == 0xe0 && byte(1) < 0xa0) return 0;  // too long a form
    if (lead == 0xed && byte(1) >= 0xa0 && !allow_surrogates) return 0;
    return 3;
  }
  if (lead > 0xf4 || left < 4) return 0;
  if (!Continues(byte(1)) || !Continues(byte(2)) || !Continues(byte(3))) return 0;
  if (lead == 0xf0 && byte(1) < 0x90) return 0;   // too long a form
  if (lead == 0xf4 && byte(1) >= 0x90) return 0;  // past 0x10ffff
  return 4;
}

}  // namespace

size_t Utf8ErrorOffset(std::string_view text, bool allow_surrogates) {
  size_t at = 0;
  while (at < text.size()) {
    const size_t length = SequenceLength(text, at, allow_surrogates);
    if (length == 0) return at;
    at += length;
  }
  return at;
}

size_t Utf8ErrorLength(std::string_view text) {
  // A prefix could have been a sequence if some continuation makes it one; the extremes of
  // the second byte are all that the rules tell apart.
  const auto could_be = [&](size_t size) {
    for (const char second : {'\x80', '\x90', '\xa0', '\xbf'}) {
      std::string trial(text.substr(0, size));
      if (trial.size() < 2) trial.push_back(second);
      trial.resize(4, '\x80');
      if (SequenceLength(trial, 0, false) > size) return true;
    }
    return false;
  };
  size_t length = 1;
  while (length < 3 && length < text.size() && could_be(length + 1)) ++length;
  return length;
}

uint32_t NextCodePoint(std::string_view text, size_t* at) {
  const auto byte = [&](size_t i) {
    return static_cast<uint32_t>(static_cast<uint8_t>(text[*at + i]));
  };
  const uint32_t lead = byte(0);
  uint32_t code_point;
  size_t length;
  if (lead < 0x80) {
    code_point = lead;
    length = 1;
  } else if (lead < 0xe0) {
    code_point = (lead & 0x1f) << 6 | (byte(1) & 0x3f);
    length = 2;
  } else if (lead < 0xf0) {
    code_point = (lead & 0x0f) << 12 | (byte(1) & 0x3f) << 6 | (byte(2) & 0x3f);
    length = 3;
  } else {
    code_point =
        (lead & 0x07) << 18 | (byte(1) & 0x3f) << 12 | (byte(2) & 0x3f) << 6 | (byte(3) & 0x3f);
    length = 4;
  }
  *at += length;
  return code_point;
}

void AppendUtf8(uint32_t c, std::string* out) {
  const auto put = [&](uint32_t byte) { out->push_back(static_cast<char>(byte)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xc0 | c >> 6);
    put(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    put(0xe0 | c >> 12);
    put(0x80 | (c >> 6 & 0x3f));
    put(0x80 | (c & 0x3f));
  } else {
    put(0xf0 | c >> 18);
    put(0x80 | (c >> 12 & 0x3f));
    put(0x80 | (c >> 6 & 0x3f));
    put(0x80 | (c & 0x3f));
  }
}

std::string Latin1ToUtf8(std::string_view latin1) {
  std::string out;
  out.reserve(latin1.size() + latin1.size() / 4);
  for (const char c : latin1) AppendUtf8(static_cast<uint8_t>(c), &out);
  return out;
}

}  // namespace pannier::codec::internal

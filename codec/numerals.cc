#include "pannier/codec/numerals.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "absl/strings/charconv.h"
#include "pannier/base/bytes.h"

namespace pannier::codec::internal {
namespace {

constexpr bool IsSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

constexpr int DigitOf(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'z') return c - 'a' + 10;
  if (c >= 'A' && c <= 'Z') return c - 'A' + 10;
  return 99;
}

// Magnitudes are little-endian words.
using Words = std::vector<uint32_t>;

void MultiplyAdd(Words* words, uint32_t factor, uint32_t addend) {
  uint64_t carry = addend;
  for (uint32_t& word : *words) {
    carry += static_cast<uint64_t>(word) * factor;
    word = static_cast<uint32_t>(carry);
    carry >>= 32;
  }
  if (carry != 0) words->push_back(static_cast<uint32_t>(carry));
}

uint32_t DivideBy(Words* words, uint32_t divisor) {
  uint64_t rest = 0;
  for (size_t i = words->size(); i-- > 0;) {
    rest = rest << 32 | (*words)[i];
    (*words)[i] = static_cast<uint32_t>(rest / divisor);
    rest %= divisor;
  }
  while (!words->empty() && words->back() == 0) words->pop_back();
  return static_cast<uint32_t>(rest);
}

void Negate(std::string* bytes) {
  unsigned carry = 1;
  for (char& c : *bytes) {
    carry += static_cast<uint8_t>(~c);
    c = static_cast<char>(carry);
    carry >>= 8;
  }
}

Integer FromMagnitude(const Words& words, bool negative) {
  std::string bytes(words.size() * 4 + 1, '\0');
  if (!words.empty()) std::memcpy(bytes.data(), words.data(), words.size() * 4);
  if (negative) Negate(&bytes);
  Integer result;
  size_t length;
  result.fits = FitsInt64(bytes, &result.small, &length);
  if (!result.fits) result.bytes = bytes.substr(0, length);
  return result;
}

// The digits of `text` in `base` into words: whole words for powers of two, so that long hex
// numbers take linear time.
Words ReadDigits(std::string_view digits, int base) {
  Words words;
  if (base == 10) {
    for (const char c : digits) MultiplyAdd(&words, 10, static_cast<uint32_t>(DigitOf(c)));
    return words;
  }
  const int bits = base == 16 ? 4 : base == 8 ? 3 : 1;
  uint64_t pending = 0;
  int held = 0;
  for (size_t i = digits.size(); i-- > 0;) {
    pending |= static_cast<uint64_t>(DigitOf(digits[i])) << held;
    held += bits;
    if (held >= 32) {
      words.push_back(static_cast<uint32_t>(pending));
      pending >>= 32;
      held -= 32;
    }
  }
  if (pending != 0) words.push_back(static_cast<uint32_t>(pending));
  while (!words.empty() && words.back() == 0) words.pop_back();
  return words;
}

}  // namespace

bool FitsInt64(std::string_view bytes, int64_t* small, size_t* length) {
  size_t size = bytes.size();
  while (size > 1) {
    const auto top = static_cast<uint8_t>(bytes[size - 1]);
    const bool next_negative = (static_cast<uint8_t>(bytes[size - 2]) & 0x80) != 0;
    if (!(top == 0 && !next_negative) && !(top == 0xff && next_negative)) break;
    --size;
  }
  *length = size;
  if (size > 8) return false;
  const bool negative = size > 0 && (static_cast<uint8_t>(bytes[size - 1]) & 0x80) != 0;
  uint64_t value = negative ? ~uint64_t{0} : 0;
  if (size != 0) std::memcpy(&value, bytes.data(), size);
  *small = static_cast<int64_t>(value);
  return true;
}

std::optional<Integer> ParseInteger(std::string_view text, int base) {
  text = text.substr(0, text.find('\0'));
  while (!text.empty() && IsSpace(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsSpace(text.back())) text.remove_suffix(1);
  bool negative = false;
  if (!text.empty() && (text.front() == '+' || text.front() == '-')) {
    negative = text.front() == '-';
    text.remove_prefix(1);
  }
  bool zeros_only = false;
  if (base == 0) {
    base = 10;
    if (text.size() > 1 && text[0] == '0') {
      const char letter = static_cast<char>(text[1] | 0x20);
      if (letter == 'x' || letter == 'o' || letter == 'b') {
        base = letter == 'x' ? 16 : letter == 'o' ? 8 : 2;
        text.remove_prefix(2);
        if (!text.empty() && text.front() == '_') text.remove_prefix(1);
      } else {
        zeros_only = true;  // a literal has no leading zeros
      }
    }
  }
  std::string digits;
  bool after_underscore = true;
  for (const char c : text) {
    if (c == '_') {
      if (after_underscore) return std::nullopt;
      after_underscore = true;
      continue;
    }
    const int digit = DigitOf(c);
    if (digit >= base || (zeros_only && digit != 0)) return std::nullopt;
    digits.push_back(c);
    after_underscore = false;
  }
  if (digits.empty() || after_underscore) return std::nullopt;
  if (base == 10 && digits.size() > kMaxDecimalDigits) return std::nullopt;
  return FromMagnitude(ReadDigits(digits, base), negative);
}

std::optional<int64_t> ParseCLong(std::string_view text, size_t* length) {
  size_t at = 0;
  while (at < text.size() && IsSpace(text[at])) ++at;
  bool negative = false;
  if (at < text.size() && (text[at] == '+' || text[at] == '-')) negative = text[at++] == '-';
  int base = 10;
  if (at < text.size() && text[at] == '0') {
    base = 8;
    if (at + 2 < text.size() && (text[at + 1] | 0x20) == 'x' && DigitOf(text[at + 2]) < 16) {
      base = 16;
      at += 2;
    }
  }
  const char* first = text.data() + at;
  const char* last = text.data() + text.size();
  uint64_t magnitude = 0;
  const auto [end, error] = std::from_chars(first, last, magnitude, base);
  if (error != std::errc() || end == first) return std::nullopt;
  const uint64_t most = (uint64_t{1} << 63) - (negative ? 0 : 1);
  if (magnitude > most) return std::nullopt;
  *length = static_cast<size_t>(end - text.data());
  return static_cast<int64_t>(negative ? 0 - magnitude : magnitude);
}

std::optional<std::string> FormatInteger(std::string_view bytes) {
  // A digit needs at least 3.32 bits.
  if (bytes.size() > kMaxDecimalDigits / 2) return std::nullopt;
  std::string magnitude(bytes);
  const bool negative = !magnitude.empty() && (static_cast<uint8_t>(magnitude.back()) & 0x80) != 0;
  magnitude.resize(RoundUp(magnitude.size(), 4), negative ? '\xff' : '\0');
  if (negative) Negate(&magnitude);
  Words words(magnitude.size() / 4);
  std::memcpy(words.data(), magnitude.data(), magnitude.size());
  while (!words.empty() && words.back() == 0) words.pop_back();
  std::string digits;
  while (!words.empty()) {
    uint32_t group = DivideBy(&words, 1'000'000'000);
    for (int i = 0; i < 9 && (group != 0 || !words.empty()); ++i, group /= 10) {
      digits.push_back(static_cast<char>('0' + group % 10));
    }
  }
  if (digits.empty()) digits.push_back('0');
  if (digits.size() > kMaxDecimalDigits) return std::nullopt;
  if (negative) digits.push_back('-');
  std::reverse(digits.begin(), digits.end());
  return digits;
}

namespace {

std::optional<double> ParseFloatOrInfinite(std::string_view text, bool* overflow) {
  if (!text.empty() && text.front() == '+') {
    text.remove_prefix(1);
    if (!text.empty() && text.front() == '-') return std::nullopt;
  }
  // What from_chars takes and Python does not: "nan(...)" and hexadecimals.
  if (text.find_first_of("(xX") != std::string_view::npos) return std::nullopt;
  double value = 0;
  const auto result = absl::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ptr != text.data() + text.size() || text.empty()) return std::nullopt;
  if (result.ec == std::errc::invalid_argument) return std::nullopt;
  // At the bottom of the range the value is 0 or the least, and right.
  *overflow = result.ec == std::errc::result_out_of_range && std::abs(value) > 1;
  return value;
}

}  // namespace

std::optional<double> ParseFloat(std::string_view text) {
  bool overflow = false;
  const auto value = ParseFloatOrInfinite(text.substr(0, text.find('\0')), &overflow);
  return overflow ? std::nullopt : value;
}

std::optional<double> ParsePythonFloat(std::string_view text) {
  while (!text.empty() && IsSpace(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsSpace(text.back())) text.remove_suffix(1);
  std::string digits;
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      digits.push_back(text[i]);
    } else if (i == 0 || i + 1 == text.size() || !is_digit(text[i - 1]) || !is_digit(text[i + 1])) {
      return std::nullopt;
    }
  }
  bool overflow = false;
  const auto value = ParseFloatOrInfinite(digits, &overflow);
  if (!overflow) return value;
  return std::copysign(std::numeric_limits<double>::infinity(), *value);
}

std::string FormatFloat(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char text[40];
  const auto scientific =
      std::to_chars(text, text + sizeof(text), value, std::chars_format::scientific);
  // d[.ddd]e[+-]xx: the digits and the exponent are laid out again as repr() does.
  std::string_view shape(text, static_cast<size_t>(scientific.ptr - text));
  std::string out;
  if (shape.front() == '-') {
    out.push_back('-');
    shape.remove_prefix(1);
  }
  const size_t mark = shape.find('e');
  int exponent = 0;
  const char* exponent_text = shape.data() + mark + (shape[mark + 1] == '+' ? 2 : 1);
  std::from_chars(exponent_text, shape.data() + shape.size(), exponent);
  std::string digits(1, shape[0]);
  if (mark > 2) digits.append(shape.substr(2, mark - 2));
  const int count = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    out += digits[0];
    if (count > 1) out.append(".").append(digits, 1);
    const std::string size = std::to_string(std::abs(exponent));
    out.append(exponent < 0 ? "e-" : "e+").append(size.size() < 2 ? "0" : "").append(size);
  } else if (exponent < 0) {
    out.append("0.").append(static_cast<size_t>(-exponent) - 1, '0').append(digits);
  } else if (count <= exponent + 1) {
    out.append(digits).append(static_cast<size_t>(exponent) + 1 - digits.size(), '0').append(".0");
  } else {
    const auto whole = static_cast<size_t>(exponent) + 1;
    out.append(digits, 0, whole).append(".").append(digits, whole);
  }
  return out;
}

std::optional<double> ExactDouble(std::string_view bytes) {
  if (bytes.size() > 130) return std::nullopt;  // beyond 2^1024
  const bool negative = !bytes.empty() && (static_cast<uint8_t>(bytes.back()) & 0x80) != 0;
  std::string magnitude(bytes);
  if (negative) {
    magnitude.push_back('\xff');
    Negate(&magnitude);
  }
  while (!magnitude.empty() && magnitude.back() == 0) magnitude.pop_back();
  double value = 0;
  for (size_t i = magnitude.size(); i-- > 0;) {
    const double next = value * 256 + static_cast<uint8_t>(magnitude[i]);
    // Each step is exact or the result is not, and what was lost shows in going back.
    if (!std::isfinite(next) || next - value * 256 != static_cast<uint8_t>(magnitude[i])) {
      return std::nullopt;
    }
    value = next;
  }
  return negative ? -value : value;
}

}  // namespace pannier::codec::internal

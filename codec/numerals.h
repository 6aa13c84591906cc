// Numbers as text, as Python reads and writes them, and integers of any size.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace pannier::codec::internal {

// Python's limit on digits of decimal integers, in both directions: the conversion takes
// time that grows with the square.
inline constexpr size_t kMaxDecimalDigits = 4300;

// An integer: `small` if it fits, else `bytes`, little-endian two's complement, shortest.
struct Integer {
  bool fits = true;
  int64_t small = 0;
  std::string bytes;
};

// Reduces little-endian two's complement to an Integer. Empty is 0.
// If it does not fit, the shortest form is a prefix of `bytes`: its length is returned in
// *length and nothing is copied.
bool FitsInt64(std::string_view bytes, int64_t* small, size_t* length);

// Python's int(text, base), base 0 (a literal: prefixes 0x 0o 0b, no leading zeros) or 10;
// spaces around, a sign, and single underscores between digits are allowed. A NUL ends the
// text. Nothing if it is no integer, or longer than kMaxDecimalDigits.
std::optional<Integer> ParseInteger(std::string_view text, int base);

// C's strtol(text, end, 0), which is what INT reads with: sets *length to the characters
// used; nothing if no digit is there or the number is out of range.
std::optional<int64_t> ParseCLong(std::string_view text, size_t* length);

// Decimal digits of little-endian two's complement; nothing beyond kMaxDecimalDigits.
std::optional<std::string> FormatInteger(std::string_view bytes);

// What FLOAT reads: a decimal, "inf", "nan", any case, a sign. Nothing if it is no number or
// overflows.
std::optional<double> ParseFloat(std::string_view text);

// Python's float(): as ParseFloat, but spaces may stand around, underscores between digits,
// and what overflows is infinite.
std::optional<double> ParsePythonFloat(std::string_view text);

// Python's repr(): shortest digits that read back, "1.0", "1e+16", "inf", "nan".
std::string FormatFloat(double value);

// The exact value of a big integer as a double, or nothing.
std::optional<double> ExactDouble(std::string_view bytes);

}  // namespace pannier::codec::internal

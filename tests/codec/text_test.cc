// Numbers, escapes and UTF-8 as text.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "pannier/base/status.h"
#include "pannier/codec/compat_names.h"
#include "pannier/codec/escapes.h"
#include "pannier/codec/numerals.h"
#include "pannier/codec/utf8.h"

namespace pannier::codec::internal {
namespace {

using std::string_literals::operator""s;

std::string Digits(std::string_view text, int base = 0) {
  const auto number = ParseInteger(text, base);
  if (!number) return "error";
  if (number->fits) return absl::StrCat(number->small);
  return FormatInteger(number->bytes).value_or("long");
}

TEST(Numerals, IntegersAsPythonReadsThem) {
  EXPECT_EQ(Digits(" -12\n"), "-12");
  EXPECT_EQ(Digits("0b101"), "5");
  EXPECT_EQ(Digits("0O17"), "15");
  EXPECT_EQ(Digits("0x_f"), "15");
  EXPECT_EQ(Digits("0_0"), "0");
  EXPECT_EQ(Digits("017"), "error");
  EXPECT_EQ(Digits("017", 10), "17");
  EXPECT_EQ(Digits("1_", 10), "error");
  EXPECT_EQ(Digits("_1"), "error");
  EXPECT_EQ(Digits("0x"), "error");
  EXPECT_EQ(Digits("--1"), "error");
  EXPECT_EQ(Digits("- 1"), "error");
  EXPECT_EQ(Digits(""), "error");
  EXPECT_EQ(Digits("5\0x"s), "5");
  EXPECT_EQ(Digits("9223372036854775807"), "9223372036854775807");
  EXPECT_EQ(Digits("-9223372036854775808"), "-9223372036854775808");
  EXPECT_EQ(Digits("9223372036854775808"), "9223372036854775808");
  EXPECT_EQ(Digits("-9223372036854775809"), "-9223372036854775809");
  EXPECT_EQ(Digits("-0x10000000000000000"), "-18446744073709551616");
  EXPECT_EQ(Digits("0b" + std::string(64, '1')), "18446744073709551615");
  const std::string long_digits = "1" + std::string(4298, '0') + "7";
  EXPECT_EQ(Digits(long_digits), long_digits);
  EXPECT_EQ(Digits("-" + long_digits), "-" + long_digits);
  EXPECT_EQ(Digits(long_digits + "7"), "error");
  EXPECT_EQ(ParseInteger("0x" + std::string(100'000, 'f'), 0)->bytes.size(), 50'001u);
}

TEST(Numerals, ShortestTwosComplement) {
  int64_t small = 0;
  size_t length = 0;
  EXPECT_TRUE(FitsInt64("\x80\xff\xff"s, &small, &length));
  EXPECT_EQ(small, -128);
  EXPECT_TRUE(FitsInt64("\x80\0\0"s, &small, &length));
  EXPECT_EQ(small, 128);
  EXPECT_FALSE(FitsInt64("\0\0\0\0\0\0\0\x80\0\0"s, &small, &length));
  EXPECT_EQ(length, 9u);
  EXPECT_FALSE(FitsInt64("\xff\xff\xff\xff\xff\xff\xff\x7f\xff\xff"s, &small, &length));
  EXPECT_EQ(length, 9u);
}

TEST(Numerals, CLong) {
  size_t used = 0;
  EXPECT_EQ(ParseCLong("0x1fz", &used), 31);
  EXPECT_EQ(used, 4u);
  EXPECT_EQ(ParseCLong("0x", &used), 0);
  EXPECT_EQ(used, 1u);
  EXPECT_EQ(ParseCLong(" -010", &used), -8);
  EXPECT_EQ(ParseCLong("-9223372036854775808", &used), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(ParseCLong("9223372036854775808", &used), std::nullopt);
  EXPECT_EQ(ParseCLong("x", &used), std::nullopt);
}

TEST(Numerals, FloatsAsPythonWritesThem) {
  EXPECT_EQ(FormatFloat(0), "0.0");
  EXPECT_EQ(FormatFloat(-0.0), "-0.0");
  EXPECT_EQ(FormatFloat(1), "1.0");
  EXPECT_EQ(FormatFloat(123456.789), "123456.789");
  EXPECT_EQ(FormatFloat(1e15), "1000000000000000.0");
  EXPECT_EQ(FormatFloat(1e16), "1e+16");
  EXPECT_EQ(FormatFloat(1.5e300), "1.5e+300");
  EXPECT_EQ(FormatFloat(0.0001), "0.0001");
  EXPECT_EQ(FormatFloat(0.00001), "1e-05");
  EXPECT_EQ(FormatFloat(-5e-324), "-5e-324");
  EXPECT_EQ(FormatFloat(0.1 + 0.2), "0.30000000000000004");
  EXPECT_EQ(FormatFloat(9007199254740993.0), "9007199254740992.0");
  EXPECT_EQ(FormatFloat(std::numeric_limits<double>::infinity()), "inf");
  EXPECT_EQ(FormatFloat(NAN), "nan");
}

TEST(Numerals, FloatsAsPythonReadsThem) {
  EXPECT_EQ(ParseFloat("1."), 1.0);
  EXPECT_EQ(ParseFloat(".5"), 0.5);
  EXPECT_EQ(ParseFloat("+1E2"), 100.0);
  EXPECT_EQ(ParseFloat("-iNfInItY"), -std::numeric_limits<double>::infinity());
  EXPECT_EQ(ParseFloat("1e-999"), 0.0);
  EXPECT_EQ(ParseFloat("4.9406564584124654e-324"), 5e-324);
  EXPECT_EQ(ParseFloat("1e999"), std::nullopt);
  for (const char* text : {"", " 1", "1 ", "+-1", "1e", "0x1", "nan(1)", "1_0", "."}) {
    EXPECT_EQ(ParseFloat(text), std::nullopt) << text;
  }
}

TEST(Numerals, ExactDoubles) {
  EXPECT_EQ(ExactDouble("\0\0\0\0\0\0\0\0\1"s), 18446744073709551616.0);
  EXPECT_EQ(ExactDouble("\1\0\0\0\0\0\0\0\1"s), std::nullopt);
  EXPECT_EQ(ExactDouble("\0\0\0\0\0\0\0\0\xff"s), -18446744073709551616.0);
  EXPECT_EQ(ExactDouble(std::string(128, '\0') + "\1"), std::nullopt);  // 2^1024
  EXPECT_EQ(ExactDouble(std::string(127, '\0') + "\x40"), std::ldexp(1.0, 1022));
}

TEST(Escapes, RawUnicode) {
  std::string out;
  AppendRawUnicodeEscape("a\\\n\r\x1a\u00e9\u0100\U0001f600", &out);
  EXPECT_EQ(out, "a\\u005c\\u000a\\u000d\\u001a\xe9\\u0100\\U0001f600");
  const char* why = "";
  EXPECT_EQ(DecodeRawUnicodeEscape(out, &why), "a\\\n\r\x1a\u00e9\u0100\U0001f600");
  EXPECT_EQ(DecodeRawUnicodeEscape("\\", &why), "\\");
  EXPECT_EQ(DecodeRawUnicodeEscape("\\\\u0041", &why), "\\\\u0041");
  EXPECT_EQ(DecodeRawUnicodeEscape("\\u004", &why), std::nullopt);
}

TEST(Escapes, StringLiterals) {
  const char* why = "";
  for (const std::string& bytes : {""s, "it's"s, "\"q\""s, "both'\""s, "\t\n\r\0\xff\\"s}) {
    std::string literal;
    AppendStringLiteral(bytes, &literal);
    EXPECT_EQ(DecodeStringLiteral(literal, &why), bytes) << literal;
  }
  EXPECT_EQ(DecodeStringLiteral("'\\x41\\101\\7\\a\\b\\f\\v\\z'", &why), "AA\7\a\b\f\v\\z");
  EXPECT_EQ(DecodeStringLiteral("'", &why), std::nullopt);
  EXPECT_EQ(DecodeStringLiteral("'a\"", &why), std::nullopt);
}

TEST(Utf8, SurrogatesPassAndTheRestIsAsTheStandardSays) {
  for (const char* good :
       {"", "abc", "\u00e9", "\u20ac", "\xed\x9f\xbf", "\xed\xa0\x80", "\xed\xbf\xbf",
        "\xee\x80\x80", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_TRUE(ValidUtf8(good)) << good;
  }
  for (const char* bad : {"\x80", "\xc0\x80", "\xc1\xbf", "\xc3", "\xe0\x80\x80", "\xe0\x9f\xbf",
                          "\xe2\x82", "\xf0\x80\x80\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80",
                          "\xf5\x80\x80\x80", "\xff", "\xf0\x90\x80"}) {
    EXPECT_FALSE(ValidUtf8(bad)) << bad;
    EXPECT_EQ(Utf8ErrorOffset(std::string("ok ") + bad, true), 3u);
  }
  EXPECT_EQ(Utf8ErrorOffset("a\xed\xa0\x80", false), 1u);
}

TEST(Utf8, EveryLengthIsLookedAtToItsEnd) {
  for (size_t size = 0; size < 40; ++size) {
    std::string text(size, 'x');
    EXPECT_TRUE(IsAscii(text));
    for (size_t at = 0; at < size; ++at) {
      text[at] = '\x80';
      EXPECT_FALSE(IsAscii(text)) << size << " " << at;
      text[at] = 'x';
    }
  }
}

TEST(Utf8, CodePointsThereAndBack) {
  for (uint32_t c = 0; c <= 0x10ffff; c += c < 0x1000 ? 1 : 61) {
    std::string text;
    AppendUtf8(c, &text);
    size_t at = 0;
    ASSERT_EQ(NextCodePoint(text, &at), c);
    ASSERT_EQ(at, text.size());
    ASSERT_TRUE(ValidUtf8(text)) << c;
  }
}

TEST(CompatNames, ModulesNamesAndBoth) {
  const auto to3 = [](std::string_view module, std::string_view name) {
    const GlobalName to = ToPython3({module, name});
    return absl::StrCat(ToAbsl(to.module), ".", ToAbsl(to.name));
  };
  const auto to2 = [](std::string_view module, std::string_view name) {
    const GlobalName to = ToPython2({module, name});
    return absl::StrCat(ToAbsl(to.module), ".", ToAbsl(to.name));
  };
  EXPECT_EQ(to3("__builtin__", "xrange"), "builtins.range");
  EXPECT_EQ(to3("__builtin__", "set"), "builtins.set");
  EXPECT_EQ(to3("UserDict", "IterableUserDict"), "collections.UserDict");
  EXPECT_EQ(to3("cPickle", "loads"), "pickle.loads");
  EXPECT_EQ(to3("exceptions", "ValueError"), "builtins.ValueError");
  EXPECT_EQ(to3("numpy", "ndarray"), "numpy.ndarray");
  EXPECT_EQ(to2("builtins", "range"), "__builtin__.xrange");
  EXPECT_EQ(to2("builtins", "set"), "__builtin__.set");
  EXPECT_EQ(to2("builtins", "ValueError"), "exceptions.ValueError");
  EXPECT_EQ(to2("copyreg", "_reconstructor"), "copy_reg._reconstructor");
  EXPECT_EQ(to2("zz", "z"), "zz.z");
  EXPECT_EQ(to2("", ""), ".");
}

}  // namespace
}  // namespace pannier::codec::internal

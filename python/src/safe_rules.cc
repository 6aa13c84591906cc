#include "safe_rules.h"

#include <algorithm>
#include <array>

#include "pannier/codec/array_dtype.h"

namespace pannier::python {
namespace {

using codec::Kind;
using codec::Value;

// What an argument may be, a letter each:
//   i int   I one of at most 1024 bytes: Fraction divides them   f float   s str   y bytes   l list
//   t tuple   d dict   z the tuple (0,) e bytes, or latin-1 text encoded, as protocols 0 to 2 write
//   bytes o a dtype   b a buffer or bytes   B a buffer   g a name   a anything c the code of a
//   dtype of numbers n None   0 the number 0   p a tuple of natural numbers q text of a fraction,
//   which must not have an exponent: Python would compute the power
bool Fits(char letter, const Value& value) {
  switch (letter) {
    case 'i':
      return value.is(Kind::kInt) || value.is(Kind::kBigInt) || value.is(Kind::kBool);
    case 'I':
      return value.is(Kind::kInt) || (value.is(Kind::kBigInt) && value.text().size() <= 1024);
    case 'f':
      return value.is(Kind::kFloat);
    case 's':
      return value.is(Kind::kStr);
    case 'y':
      return value.is(Kind::kBytes) || value.is(Kind::kByteArray);
    case 'l':
      return value.is(Kind::kList);
    case 't':
      return value.is(Kind::kTuple);
    case 'd':
      return value.is(Kind::kDict);
    case 'z':
      return value.is(Kind::kTuple) && value.size() == 1 && value.items()[0].is(Kind::kInt) &&
             value.items()[0].int_value() == 0;
    case 'e':
      return Fits('y', value) ||
             (value.is(Kind::kReduce) && value.callee().IsGlobal("_codecs", "encode"));
    case 'o':
      return value.is(Kind::kReduce) && value.callee().IsGlobal("numpy", "dtype");
    case 'B':
      return value.is(Kind::kBuffer);
    case 'b':
      return Fits('B', value) || Fits('e', value);
    case 'g':
      return value.is(Kind::kGlobal);
    case 'c':
      return value.is(Kind::kStr) && codec::DType::FromCode(value.text()).has_value();
    case 'n':
      return value.is_none();
    case '0':
      return value.is(Kind::kInt) && value.int_value() == 0;
    case 'p':
      return value.is(Kind::kTuple) && std::ranges::all_of(value.items(), [](const Value& item) {
               return item.is(Kind::kInt) && item.int_value() >= 0;
             });
    case 'q':
      return value.is(Kind::kStr) && value.text().find_first_of("eE") == std::string_view::npos;
    default:
      return true;
  }
}

constexpr std::array kRules = {
    SafeRule{"builtins", "bytearray", "|e|ss|B"},
    SafeRule{"builtins", "bytes", "|B"},
    SafeRule{"builtins", "complex", "ff"},
    SafeRule{"builtins", "frozenset", "|l"},
    SafeRule{"builtins", "object", ""},
    SafeRule{"builtins", "range", "iii"},
    SafeRule{"builtins", "set", "|l"},
    SafeRule{"builtins", "slice", "aaa"},
    SafeRule{"_codecs", "encode", "ss"},
    SafeRule{"array", "_array_reconstructor", "gsie"},
    SafeRule{"array", "array", "sl"},
    SafeRule{"collections", "Counter", "|d"},
    SafeRule{"collections", "OrderedDict", "|l"},
    SafeRule{"collections", "defaultdict", "|g"},
    SafeRule{"collections", "deque", "|t|ti|l|li"},
    SafeRule{"datetime", "date", "e"},
    SafeRule{"datetime", "datetime", "e|ea"},
    SafeRule{"datetime", "time", "e|ea"},
    SafeRule{"datetime", "timedelta", "iii"},
    SafeRule{"datetime", "timezone", "a|as"},
    SafeRule{"decimal", "Decimal", "s"},
    SafeRule{"fractions", "Fraction", "II|q"},
    SafeRule{"uuid", "UUID", "", true},
    SafeRule{"numpy", "dtype", "saa", true},
    // As the C++ codec writes arrays. The constructor believes in any offset, and in objects.
    SafeRule{"numpy", "ndarray", "pcb|pcb0ns|pcb0p"},
    SafeRule{"numpy.core.multiarray", "_reconstruct", "gze", true},
    SafeRule{"numpy.core.multiarray", "scalar", "oa"},
    SafeRule{"numpy.core.numeric", "_frombuffer", "bots|botst"},
    SafeRule{"numpy._core.multiarray", "_reconstruct", "gze", true},
    SafeRule{"numpy._core.multiarray", "scalar", "oa"},
    SafeRule{"numpy._core.numeric", "_frombuffer", "bots|botst"},
};

bool FitsOne(std::string_view pattern, std::span<const Value> args) {
  if (pattern.size() != args.size()) return false;
  for (size_t i = 0; i < args.size(); ++i) {
    if (!Fits(pattern[i], args[i])) return false;
  }
  return true;
}

}  // namespace

bool FitsRule(const SafeRule& rule, std::span<const Value> args) {
  std::string_view patterns = rule.arguments;
  while (true) {
    const size_t bar = patterns.find('|');
    if (FitsOne(patterns.substr(0, bar), args)) return true;
    if (bar == std::string_view::npos) return false;
    patterns.remove_prefix(bar + 1);
  }
}

const SafeRule* SafeRuleFor(const Value& callee) {
  for (const SafeRule& rule : kRules) {
    if (callee.IsGlobal(rule.module, rule.name)) return &rule;
  }
  return nullptr;
}

}  // namespace pannier::python

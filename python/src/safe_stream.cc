#include "safe_stream.h"

#include <algorithm>
#include <array>
#include <span>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "pannier/codec/array_dtype.h"
#include "pannier/codec/decoder.h"
#include "pannier/codec/document.h"
#include "safe_dtype.h"

namespace pannier::python {
namespace {

using codec::Document;
using codec::Kind;
using codec::Part;
using codec::PartKind;
using codec::Value;

// What an argument may be, a letter each:
//   i int   f float   s str   y bytes   l list   t tuple   d dict   z the tuple (0,)
//   e bytes, or latin-1 text encoded, as protocols 0 to 2 write bytes
//   o a dtype   b a buffer or bytes   g a name   a anything
//   c the code of a dtype of numbers   n None   0 the number 0   p a tuple of natural numbers
//   q text of a fraction, which must not have an exponent: Python would compute the power
bool Fits(char letter, const Value& value) {
  switch (letter) {
    case 'i':
      return value.is(Kind::kInt) || value.is(Kind::kBigInt) || value.is(Kind::kBool);
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
    case 'b':
      return value.is(Kind::kBuffer) || Fits('e', value);
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

// How pickles call what is in the safe set: alternatives of arguments, separated by '|'. A name
// that is not here may be a value, and may not be called.
struct Rule {
  std::string_view module;
  std::string_view name;
  std::string_view arguments;
  bool state = false;  // BUILD may follow
};
constexpr std::array kRules = {
    Rule{"builtins", "bytearray", "|e|ss"},
    Rule{"builtins", "bytes", ""},
    Rule{"builtins", "complex", "ff"},
    Rule{"builtins", "frozenset", "|l"},
    Rule{"builtins", "object", ""},
    Rule{"builtins", "range", "iii"},
    Rule{"builtins", "set", "|l"},
    Rule{"builtins", "slice", "aaa"},
    Rule{"_codecs", "encode", "ss"},
    Rule{"array", "_array_reconstructor", "gsie"},
    Rule{"array", "array", "sl"},
    Rule{"collections", "Counter", "|d"},
    Rule{"collections", "OrderedDict", "|l"},
    Rule{"collections", "defaultdict", "|g"},
    Rule{"collections", "deque", "|t|ti|l|li"},
    Rule{"datetime", "date", "e"},
    Rule{"datetime", "datetime", "e|ea"},
    Rule{"datetime", "time", "e|ea"},
    Rule{"datetime", "timedelta", "iii"},
    Rule{"datetime", "timezone", "a|as"},
    Rule{"decimal", "Decimal", "s"},
    Rule{"fractions", "Fraction", "ii|q"},
    Rule{"uuid", "UUID", "", true},
    Rule{"numpy", "dtype", "saa", true},
    // As the C++ codec writes arrays. The constructor believes in any offset, and in objects.
    Rule{"numpy", "ndarray", "pcb|pcb0ns|pcb0p"},
    Rule{"numpy.core.multiarray", "_reconstruct", "gze", true},
    Rule{"numpy.core.multiarray", "scalar", "oa"},
    Rule{"numpy.core.numeric", "_frombuffer", "bots|botst"},
    Rule{"numpy._core.multiarray", "_reconstruct", "gze", true},
    Rule{"numpy._core.multiarray", "scalar", "oa"},
    Rule{"numpy._core.numeric", "_frombuffer", "bots|botst"},
};

bool FitsOne(std::string_view pattern, std::span<const Value> args) {
  if (pattern.size() != args.size()) return false;
  for (size_t i = 0; i < args.size(); ++i) {
    if (!Fits(pattern[i], args[i])) return false;
  }
  return true;
}

bool FitsAny(std::string_view patterns, std::span<const Value> args) {
  while (true) {
    const size_t bar = patterns.find('|');
    if (FitsOne(patterns.substr(0, bar), args)) return true;
    if (bar == std::string_view::npos) return false;
    patterns.remove_prefix(bar + 1);
  }
}

std::string NameOf(const Value& global) {
  return absl::StrCat(ToAbsl(global.module_name()), ".", ToAbsl(global.global_name()));
}

// Visits everything that a Document's root reaches, each object once.
class Checker {
 public:
  explicit Checker(const SafeNames& names) : names_(names) {}

  Status Check(const Document& document) {
    Visit(document.root());
    while (!pending_.empty()) {
      const Value value = pending_.back();
      pending_.pop_back();
      PANNIER_RETURN_IF_ERROR(CheckOne(value));
    }
    return absl::OkStatus();
  }

 private:
  // To be looked at, if it was not and if it can hold anything.
  void Visit(const Value& value) {
    const bool holds = value.is_object() || value.is(Kind::kTuple) || value.is(Kind::kList) ||
                       value.is(Kind::kDict) || value.is(Kind::kSet) || value.is(Kind::kFrozenSet);
    if (holds && (value.id() == 0 || seen_.insert(value.id()).second)) pending_.push_back(value);
  }
  void VisitAll(std::span<const Value> values) {
    for (const Value& value : values) Visit(value);
  }

  Status CheckOne(const Value& value) {
    if (value.is(Kind::kDict)) {
      for (const codec::DictEntry& entry : value.entries()) {
        Visit(entry.key);
        Visit(entry.value);
      }
      return absl::OkStatus();
    }
    if (!value.is_object()) {
      VisitAll(value.items());
      return absl::OkStatus();
    }
    for (const Part part : value.parts()) VisitAll(part.values());
    switch (value.kind()) {
      case Kind::kGlobal:
        return CheckName(value);
      case Kind::kPersistent:
        return MakeError(ErrorKind::kUnpickling, "its pickle refers to a persistent id");
      case Kind::kExtension:
        return MakeError(ErrorKind::kForbiddenGlobal,
                         absl::StrCat("its pickle uses the extension code ", value.extension_code(),
                                      ", which may stand for anything"));
      default:
        return CheckCall(value);
    }
  }

  Status CheckName(const Value& global) const {
    if (!global.parts().empty()) return Forbidden(global, "is changed and not only used");
    const auto name =
        std::pair(std::string(global.module_name()), std::string(global.global_name()));
    if (names_.safe.contains(name) || names_.allowed.contains(name)) return absl::OkStatus();
    return MakeError(ErrorKind::kForbiddenGlobal,
                     absl::StrCat("its pickle names ", NameOf(global),
                                  ", which is outside the safe set; to accept it, pass allow=[('",
                                  name.first, "', '", name.second, "')]"));
  }

  // An object made by calling something.
  Status CheckCall(const Value& object) {
    const Value callee = object.callee();
    Visit(callee);
    Visit(object.args());
    if (object.is(Kind::kNewObjEx)) Visit(object.kwargs());
    if (!callee.is(Kind::kGlobal)) {
      return MakeError(ErrorKind::kForbiddenGlobal,
                       "its pickle calls what a call returned, and not a name");
    }
    PANNIER_RETURN_IF_ERROR(CheckName(callee));
    if (Allowed(callee)) return absl::OkStatus();
    const Rule* const rule = RuleOf(callee);
    if (rule == nullptr) return Forbidden(callee, "may be a value and not be called");
    const Value args = object.args();
    if (object.is(Kind::kNewObjEx) || !args.is(Kind::kTuple) ||
        !FitsAny(rule->arguments, args.items())) {
      return Forbidden(callee, "is called with arguments that its pickles do not have");
    }
    for (const Part part : object.parts()) {
      const bool state = part.kind() == PartKind::kState;
      if (part.kind() == PartKind::kSetter && Allowed(part.values()[0])) continue;
      if (part.kind() == PartKind::kSetter || (state && !rule->state)) {
        return Forbidden(callee, "is given a state that its pickles do not have");
      }
    }
    return CheckMore(callee, args.items(), object);
  }

  Status CheckMore(const Value& callee, std::span<const Value> args, const Value& object) {
    if (callee.IsGlobal("numpy", "dtype")) return dtypes_.Check(object);
    if (callee.global_name() == "_reconstruct" && !args[0].IsGlobal("numpy", "ndarray") &&
        !Allowed(args[0])) {
      return Forbidden(args[0], "is no array");
    }
    if (callee.IsGlobal("_codecs", "encode") && args[1].text() != "latin1") {
      return Forbidden(callee, "is called for an encoding that its pickles do not have");
    }
    return absl::OkStatus();
  }

  static const Rule* RuleOf(const Value& callee) {
    for (const Rule& rule : kRules) {
      if (callee.IsGlobal(rule.module, rule.name)) return &rule;
    }
    return nullptr;
  }

  bool Allowed(const Value& value) const {
    return value.is(Kind::kGlobal) && !names_.allowed.empty() &&
           names_.allowed.contains(
               std::pair(std::string(value.module_name()), std::string(value.global_name())));
  }

  static Status Forbidden(const Value& global, std::string_view why) {
    return MakeError(ErrorKind::kForbiddenGlobal,
                     absl::StrCat("its pickle misuses ", NameOf(global), ", which ", ToAbsl(why)));
  }

  const SafeNames& names_;
  std::vector<Value> pending_;
  absl::flat_hash_set<uint32_t> seen_;
  DTypeChecker dtypes_;
};

}  // namespace

Status CheckSafe(ByteSpan stream, std::span<const Buffer> buffers, const SafeNames& names) {
  codec::DecodeOptions options;
  options.buffers = buffers;
  PANNIER_ASSIGN_OR_RETURN(const Document document, codec::Decode(stream, options));
  return Checker(names).Check(document);
}

}  // namespace pannier::python

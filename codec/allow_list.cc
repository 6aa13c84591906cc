#include "pannier/codec/allow_list.h"

#include <algorithm>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace pannier::codec {
namespace {

constexpr char kModulePayload[] = "pannier/forbidden_module";
constexpr char kNamePayload[] = "pannier/forbidden_name";

struct SafeModule {
  const char* module;
  const char* names;  // with a space between
};
constexpr char kNumpyReconstruct[] = "_reconstruct scalar";
constexpr SafeModule kSafe[] = {
    {"builtins",
     "bool bytearray bytes complex dict float frozenset int list object range set slice str tuple"},
    {"_codecs", "encode"},
    {"array", "_array_reconstructor array"},
    {"collections", "Counter OrderedDict defaultdict deque"},
    {"datetime", "date datetime time timedelta timezone"},
    {"decimal", "Decimal"},
    {"fractions", "Fraction"},
    {"uuid", "UUID"},
    {"numpy",
     "dtype ndarray bool bool_ int8 int16 int32 int64 longlong uint8 uint16 uint32 uint64 "
     "ulonglong float16 float32 float64 longdouble complex64 complex128 clongdouble bytes_ str_ "
     "void datetime64 timedelta64"},
    // NumPy 1 and 2 keep the same functions in modules of different names.
    {"numpy.core.multiarray", kNumpyReconstruct},
    {"numpy._core.multiarray", kNumpyReconstruct},
    {"numpy.core.numeric", "_frombuffer"},
    {"numpy._core.numeric", "_frombuffer"},
};

}  // namespace

AllowList AllowList::SafeSet() {
  AllowList list;
  for (const SafeModule& module : kSafe) {
    for (const absl::string_view name : absl::StrSplit(module.names, ' ')) {
      list.Add(module.module, FromAbsl(name));
    }
  }
  return list;
}

AllowList& AllowList::Add(std::string_view module, std::string_view name) {
  if (names_[std::string(module)].emplace(name).second) ++size_;
  return *this;
}

bool AllowList::Allows(std::string_view module, std::string_view name) const {
  const auto found = names_.find(ToAbsl(module));
  return found != names_.end() && found->second.contains(ToAbsl(name));
}

std::vector<std::pair<std::string, std::string>> AllowList::names() const {
  std::vector<std::pair<std::string, std::string>> all;
  for (const auto& [module, names] : names_) {
    for (const std::string& name : names) all.emplace_back(module, name);
  }
  std::ranges::sort(all);
  return all;
}

std::optional<ForbiddenName> ForbiddenNameOf(const Status& status) {
  const auto module = status.GetPayload(kModulePayload);
  const auto name = status.GetPayload(kNamePayload);
  if (!module || !name) return std::nullopt;
  return ForbiddenName{std::string(*module), std::string(*name)};
}

namespace internal {

Status ForbiddenNameError(std::string_view module, std::string_view name, std::string_view what) {
  Status status =
      MakeError(ErrorKind::kForbiddenGlobal,
                absl::StrCat("global '", ToAbsl(module), ".", ToAbsl(name), "' ", ToAbsl(what)));
  status.SetPayload(kModulePayload, absl::Cord(ToAbsl(module)));
  status.SetPayload(kNamePayload, absl::Cord(ToAbsl(name)));
  return status;
}

}  // namespace internal
}  // namespace pannier::codec

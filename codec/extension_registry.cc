#include "pannier/codec/extension_registry.h"

#include "absl/strings/str_cat.h"

namespace pannier::codec {
namespace {

constexpr uint32_t kMostCode = 0x7fffffff;

std::string Shown(const ExtensionRegistry::Name& name) {
  return absl::StrCat(name.first, ".", name.second);
}

}  // namespace

Status ExtensionRegistry::Add(std::string_view module, std::string_view name, uint32_t code) {
  if (code == 0 || code > kMostCode) {
    return MakeError(ErrorKind::kInvalidArgument,
                     absl::StrCat("extension code ", code, " is not one of 1 to ", kMostCode));
  }
  const Name key{module, name};
  const uint32_t other_code = CodeOf(module, name);
  if (other_code == code) return absl::OkStatus();
  if (other_code != 0) {
    return MakeError(
        ErrorKind::kInvalidArgument,
        absl::StrCat(Shown(key), " is registered with extension code ", other_code, " already"));
  }
  if (const Name* other = Find(code)) {
    return MakeError(ErrorKind::kInvalidArgument,
                     absl::StrCat("extension code ", code, " is in use for ", Shown(*other)));
  }
  by_name_.emplace(key, code);
  by_code_.emplace(code, key);
  return absl::OkStatus();
}

Status ExtensionRegistry::Remove(std::string_view module, std::string_view name, uint32_t code) {
  const Name key{module, name};
  if (code == 0 || CodeOf(module, name) != code) {
    return MakeError(ErrorKind::kInvalidArgument,
                     absl::StrCat(Shown(key), " is not registered with extension code ", code));
  }
  by_name_.erase(key);
  by_code_.erase(code);
  return absl::OkStatus();
}

const ExtensionRegistry::Name* ExtensionRegistry::Find(uint32_t code) const {
  const auto found = by_code_.find(code);
  return found == by_code_.end() ? nullptr : &found->second;
}

uint32_t ExtensionRegistry::CodeOf(std::string_view module, std::string_view name) const {
  if (by_name_.empty()) return 0;
  const auto found = by_name_.find(Name(module, name));
  return found == by_name_.end() ? 0 : found->second;
}

}  // namespace pannier::codec

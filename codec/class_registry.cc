#include "pannier/codec/class_registry.h"

namespace pannier::codec {

void ClassRegistry::AddErased(std::string_view module, std::string_view name,
                              internal::ErasedClass erased) {
  classes_[std::string(module)][std::string(name)] = std::move(erased);
}

const internal::ErasedClass* ClassRegistry::Find(std::string_view module,
                                                 std::string_view name) const {
  const auto names = classes_.find(ToAbsl(module));
  if (names == classes_.end()) return nullptr;
  const auto found = names->second.find(ToAbsl(name));
  return found == names->second.end() ? nullptr : &found->second;
}

}  // namespace pannier::codec

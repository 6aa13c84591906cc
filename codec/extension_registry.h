// Codes in place of names: copyreg's extension registry. A stream of protocol 2 or newer may
// write a registered global as one opcode with a number (EXT1, EXT2, EXT4), which means something
// only to those who agreed on it beforehand.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "pannier/base/status.h"

namespace pannier::codec {

// Thread-compatible: any number of readers, or one writer.
class ExtensionRegistry {
 public:
  using Name = std::pair<std::string, std::string>;  // module, qualified name

  // Registers a pair of name and code, 1 to 2^31-1; the same pair again does nothing. Errors:
  // InvalidArgument, if the code is out of range, or the name or code stands for another.
  Status Add(std::string_view module, std::string_view name, uint32_t code);
  // Forgets a pair. Errors: InvalidArgument, if it is not registered.
  Status Remove(std::string_view module, std::string_view name, uint32_t code);

  // What a code stands for; null if it is not registered. Valid until the registry changes.
  const Name* Find(uint32_t code) const;
  // The code of a name; 0 if it has none.
  uint32_t CodeOf(std::string_view module, std::string_view name) const;
  size_t size() const { return by_code_.size(); }

 private:
  absl::flat_hash_map<Name, uint32_t> by_name_;
  absl::flat_hash_map<uint32_t, Name> by_code_;
};

}  // namespace pannier::codec

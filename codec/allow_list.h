// Which names a stream may use: exact pairs of module and qualified name, and nothing else. A
// decoder that has one (DecodeOptions::allow) refuses a stream at the first opcode that names,
// or calls, what is not on it, whether or not the result would hold it:
//
//   - GLOBAL, STACK_GLOBAL, INST and EXT1 to EXT4 may produce these names alone. A dotted name is
//     a name of its own: ("pathlib", "os.system") must stand here to the letter. A code must be
//     in the extension registry, and is what it stands for.
//   - REDUCE, NEWOBJ, NEWOBJ_EX and OBJ may call these names alone: never what a call returned, a
//     persistent id, or a name that came into the memo under another list.
//   - A name itself may not be changed (BUILD, APPEND, SETITEM, ADDITEMS and state setters).
//
// Names are those of Python 3, as an unpickler looks them up (DecodeOptions::fix_imports). With
// which arguments an allowed name is called is not looked at: the codec calls nothing, so they
// cost nothing here. Whoever hands the stream on to an unpickler that does must look.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "pannier/base/status.h"

namespace pannier::codec {

class AllowList {
 public:
  using Name = std::pair<std::string_view, std::string_view>;  // module, qualified name

  AllowList() = default;  // allows nothing
  AllowList(std::initializer_list<Name> names) {
    for (const Name& name : names) Add(name.first, name.second);
  }

  // Types that hold data, and the functions by which their pickles build them: builtin
  // containers and scalars, array, collections, datetime, decimal, fractions, uuid, and NumPy's
  // arrays, dtypes and scalars. A copy to add to.
  static AllowList SafeSet();

  AllowList& Add(std::string_view module, std::string_view name);
  bool Allows(std::string_view module, std::string_view name) const;
  size_t size() const { return size_; }
  std::vector<std::pair<std::string, std::string>> names() const;  // sorted

 private:
  absl::flat_hash_map<std::string, absl::flat_hash_set<std::string>> names_;  // by module
  size_t size_ = 0;
};

// What a ForbiddenGlobal error of the decoder refused; nothing for other errors, and for what
// has no name. Where it stands is PositionOf() (position.h).
struct ForbiddenName {
  std::string module;
  std::string name;
};
std::optional<ForbiddenName> ForbiddenNameOf(const Status& status);

namespace internal {
// "global 'os.system' is forbidden", with the name beside the text.
Status ForbiddenNameError(std::string_view module, std::string_view name, std::string_view what);
}  // namespace internal

}  // namespace pannier::codec

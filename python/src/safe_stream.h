// The second look at a pickle of a peer that is not trusted. The first is the unpickler's
// find_class, which refuses every name outside the safe set and the program's own list; but a
// stream can misuse names that are allowed: BUILD a class to change its attributes, call a type
// with arguments that allocate without end, or give NumPy a dtype whose fields lie outside its
// items. So the stream is decoded here first, which runs nothing, and what it would do with
// names of the safe set must look as pickles of these types do (docs/python.md, "Trust").
#pragma once

#include <span>
#include <string>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "pannier/base/buffer.h"
#include "pannier/base/status.h"

namespace pannier::python {

using Names = absl::flat_hash_set<std::pair<std::string, std::string>>;  // (module, name)

struct SafeNames {
  Names safe;
  // What the program allowed. What is done with these is not looked at, but for setting
  // attributes of the named object itself.
  Names allowed;
};

// Errors: ForbiddenGlobal, saying what is done with which name; Unpickling, Limit.
Status CheckSafe(ByteSpan stream, std::span<const Buffer> buffers, const SafeNames& names);

}  // namespace pannier::python

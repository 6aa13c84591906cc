// Where Python 3 keeps what Python 2 kept elsewhere: the maps of `_compat_pickle`, which
// `fix_imports` applies to protocols 0 to 2.
#pragma once

#include <string_view>

namespace pannier::codec::internal {

struct GlobalName {
  std::string_view module;
  std::string_view name;
};

// What an unpickler of Python 3 looks up for a name in a stream of protocol 0 to 2.
GlobalName ToPython3(GlobalName python2);
// What a pickler of Python 3 writes for a name in protocols 0 to 2.
GlobalName ToPython2(GlobalName python3);

}  // namespace pannier::codec::internal

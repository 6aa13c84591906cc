// RemoteFailure: what is known here of a failure on the far side. It travels in an error
// reply (docs/wire_format.md, "Calls") and reaches the caller inside the Status of the call,
// from which RemoteFailureOf recovers it. A Status without one failed on this side.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "pannier/base/status.h"

namespace pannier {

struct RemoteFailure {
  ErrorKind kind = ErrorKind::kRemote;
  // Type of what was raised: ("builtins", "ValueError"); of a C++ exception, its C++ name and
  // an empty module; of a Status, ("pannier", the kind's name) or ("absl", the code's name).
  std::string module = {};
  std::string qualname = {};
  std::string message = {};
  std::string traceback = {};  // text, or empty
  // A pickle of the exception itself, all in band, or empty. Never looked at by C++; whoever
  // unpickles it decides by his own policy whether its globals may be used.
  std::string exception = {};
};

// The Status of `failure`, of its kind, with the message "context: qualname: message". The
// type is left out where the kind says it already, the context where it is empty.
// A handler returns this to say more than a plain Status can.
Status MakeRemoteError(const RemoteFailure& failure, std::string_view context = {});

// What `status` carries from the far side; nothing if the failure is of this side.
std::optional<RemoteFailure> RemoteFailureOf(const Status& status);

// What is said of `status` to the far side: the failure that it carries (that of a server
// which this one asked in turn), or else its own kind and message. REQUIRES: !status.ok().
RemoteFailure FailureFrom(const Status& status);

}  // namespace pannier

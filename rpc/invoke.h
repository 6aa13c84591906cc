// The one place that calls handlers. Internal to rpc/.
#pragma once

#include "pannier/base/status.h"
#include "pannier/rpc/raw.h"

namespace pannier::rpc {

// Calls `handler`. What it throws becomes an error of kind kRemote that carries a
// RemoteFailure with the exception's type and what().
StatusOr<RawResult> Invoke(const RawHandler& handler, RawCall& call);

}  // namespace pannier::rpc

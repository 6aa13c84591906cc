// Endpoint: a ZeroMQ address, taken apart and checked before ZeroMQ sees it, so that
// errors name what is wrong with it.
#pragma once

#include <string>

#include "pannier/base/status.h"

namespace pannier {

struct Endpoint {
  enum class Scheme : uint8_t { kIpc, kTcp, kInproc };
  Scheme scheme = Scheme::kIpc;
  std::string text;     // whole, as ZeroMQ takes it
  std::string address;  // after "://"
};

// Errors: InvalidArgument (unknown scheme, empty address, an ipc path too long for a
// Unix socket, tcp without a port or with a false one).
StatusOr<Endpoint> ParseEndpoint(const std::string& text);

// Errors: kSystem with EADDRINUSE if a live process listens on this ipc path. A path
// that is a socket and that nobody listens on is stale: ZeroMQ replaces it. A path that
// is something else than a socket is left alone: InvalidArgument.
Status CheckIpcPathIsFree(const Endpoint& endpoint);

}  // namespace pannier

// The raw level of calls: bytes and buffers, no pickle. The typed level of client.h and server.h
// stands on it, as does the Python package.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pannier/base/buffer.h"
#include "pannier/base/deadline.h"
#include "pannier/base/status.h"
#include "pannier/transport/connection.h"

namespace pannier {

class CallContext;

// A Buffer whose owner is `text`, moved and not copied. Read-only.
Buffer BufferOf(std::string text);

// The arguments of a call, to send. Borrowed until the call was sent.
struct RawArgs {
  // A pickle of the tuple of positional arguments; with `keywords`, of the pair (tuple of
  // positional arguments, dict of keyword arguments).
  ByteSpan stream = {};
  std::span<const Buffer> buffers = {};
  bool keywords = false;
};

// One result: a pickle of one value.
struct RawResult {
  Buffer stream;
  std::vector<Buffer> buffers;
};

// A call as its handler sees it. Valid during the handler; `stream` and `buffers` may be moved or
// copied out and then live as long as the handler's owner wants. What is left in them is released
// before the result is sent.
struct RawCall {
  std::string_view method;
  bool keywords = false;  // as in RawArgs
  Buffer stream;
  std::vector<Buffer> buffers;
  // When the caller gives up, on this side's clock.
  Deadline deadline = Deadline::Never();
  // Of whom calls: info().same_user and info().link say what is attested.
  const Connection& connection;
  // rpc/call_context.h. Never null.
  std::shared_ptr<CallContext> context;
};

// Runs a call. An error goes to the caller with its kind and message, or as the RemoteFailure that
// it carries (MakeRemoteError). Called on the serving thread, or on a handler thread
// (ServerOptions::threads), under no lock; may call methods of the Server. An exception derived
// from std::exception becomes an error reply that names its type; std::bad_alloc too.
using RawHandler = std::function<StatusOr<RawResult>(RawCall& call)>;

}  // namespace pannier

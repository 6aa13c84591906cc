// CallContext: a call while the server has it, for its handler: how long there is, whether anybody
// still waits, who asks, and the way to answer with more than one value, or later.
//
// Thread-safe. May be kept after the handler returned, which the call's end does not wait for
// unless the handler said Defer. Once the call is over, everything here fails or does nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "pannier/base/deadline.h"
#include "pannier/base/status.h"
#include "pannier/codec/dumps.h"
#include "pannier/rpc/raw.h"
#include "pannier/transport/connection.h"

namespace pannier {

class CallContext : public std::enable_shared_from_this<CallContext> {
 public:
  virtual ~CallContext() = default;
  CallContext(const CallContext&) = delete;
  CallContext& operator=(const CallContext&) = delete;

  virtual const std::string& method() const = 0;
  // When the caller gives up, on this side's clock.
  virtual Deadline deadline() const = 0;
  // Of whom calls.
  virtual const Connection& peer() const = 0;
  // The caller wants a sequence of values: EmitRaw is possible.
  virtual bool wants_items() const = 0;

  // OK while somebody waits for the answer; else Cancelled, DeadlineExceeded, ConnectionLost (the
  // caller is gone) or Closed (the server stops at once). To be asked now and then by a handler
  // that runs long. On the serving thread it receives what came meanwhile, at most each 200 us, so
  // that a cancel is seen; other requests wait.
  virtual Status Check() = 0;
  bool cancelled() { return !Check().ok(); }

  // Sends one value of a sequence. If the caller has no room for it, waits until he has, until
  // `deadline` or until Check fails; on the serving thread the whole server waits, so a server with
  // streams has handler threads (ServerOptions::threads) or answers by OnReady. Errors: those of
  // Check; DeadlineExceeded; InvalidArgument (the caller wants one value).
  virtual Status EmitRaw(RawResult item, Deadline deadline) = 0;
  // The same of a C++ value.
  template <class T>
  Status Emit(const T& value, Deadline deadline = Deadline::Never()) {
    StatusOr<codec::Encoded> encoded = codec::Dumps(value);
    if (!encoded.ok()) return Annotate(encoded.status(), "the item");
    return EmitRaw({BufferOf(std::move(encoded->stream)), std::move(encoded->buffers)}, deadline);
  }
  // How many items EmitRaw takes without waiting.
  virtual uint32_t credit() = 0;

  // What the handler returns is not the answer: Finish gives it, later, from any thread. A deferred
  // context that is dropped without Finish answers with an error.
  virtual void Defer() = 0;
  // Answers. Only the first has an effect; after that of a handler that did not Defer, none.
  virtual void Finish(StatusOr<RawResult> result) = 0;
  // Calls `resume` once, where handlers run, as soon as credit() is not 0 or Check fails; soon, if
  // that is so already. At most one waits. Not called after the call is over or the server was
  // stopped at once.
  virtual void OnReady(std::function<void()> resume) = 0;

 protected:
  CallContext() = default;
};

}  // namespace pannier

// Waiting without the GIL, and what may end a wait: a signal whose Python handler raised, and the
// end of the interpreter; in a handler also the end of its call.
//
// When the interpreter ends, a thread that comes back for the GIL is stopped inside C++, and
// unwinding it would abort the process. So each wait is counted, and Shutdown, which pannier
// registers with atexit, lets all of them return first.
#pragma once

#include <optional>
#include <utility>

#include <nanobind/nanobind.h>

#include "pannier/base/deadline.h"
#include "pannier/base/status.h"
#include "pannier/rpc/call_context.h"

namespace pannier::python {

// Gives up the GIL as long as it lives; counted. REQUIRES: the GIL, and that the thread drops it
// nowhere else meanwhile. The constructor raises RuntimeError after Shutdown.
class WaitScope {
 public:
  WaitScope();
  ~WaitScope();
  WaitScope(const WaitScope&) = delete;
  WaitScope& operator=(const WaitScope&) = delete;

 private:
  PyThreadState* state_;
};

// The same for what does not wait long and has to be possible until the end (to close, to cancel):
// after Shutdown it keeps the GIL. For nb::call_guard too.
class QuickScope {
 public:
  QuickScope();
  ~QuickScope();
  QuickScope(const QuickScope&) = delete;
  QuickScope& operator=(const QuickScope&) = delete;

 private:
  PyThreadState* state_ = nullptr;
};

// Runs `call` within a QuickScope.
template <typename Call>
auto Quickly(Call&& call) {
  const QuickScope scope;
  return std::forward<Call>(call)();
}

// Raises what CheckHandledCall says. REQUIRES: the GIL.
void RaiseIfCallIsOver();

// The call that this thread handles, while it lives: waits within it end with Cancelled,
// DeadlineExceeded and their like once nobody waits for the answer. Told once.
class HandlerScope {
 public:
  // `server` is the pannier.Server whose call it is; none of Python's if null.
  explicit HandlerScope(CallContext& call, nanobind::handle server = {});
  ~HandlerScope();
  HandlerScope(const HandlerScope&) = delete;
  HandlerScope& operator=(const HandlerScope&) = delete;

 private:
  HandlerScope* const outer_;
  CallContext& call_;
  const nanobind::handle server_;
  bool told_ = false;
  friend Status CheckHandledCall();
  friend bool Handles(nanobind::handle server);
};
// True if this thread handles a call of `server`, a pannier.Server.
bool Handles(nanobind::handle server);
// OK, or, once, why the call that this thread handles need not go on. REQUIRES: not the GIL.
Status CheckHandledCall();

// Runs `call` without the GIL. It may wait, but not touch Python objects. Raises what
// CheckHandledCall says, instead.
template <typename Call>
auto Waiting(Call&& call) {
  RaiseIfCallIsOver();
  const WaitScope scope;
  return std::forward<Call>(call)();
}

// For TransportOptions::interrupted: runs Python's signal handlers, and keeps what one of them
// raised for RestoreInterrupt on the same thread. Also true after Shutdown. REQUIRES: not the GIL.
bool Interrupted();
// Makes what Interrupted kept the current exception; false if there is nothing. REQUIRES: the GIL.
bool RestoreInterrupt();

// Raises ValueError for NaN.
void CheckTimeout(std::optional<double> seconds);
// Seconds from now as a deadline; None is Never. Raises as above.
Deadline DeadlineAfter(std::optional<double> seconds);

// From now on waits are refused and those under way are interrupted. Waits until they have
// returned, at most `seconds`; false if some have not. REQUIRES: the GIL.
bool Shutdown(double seconds);
// In a forked child, before all else: no thread waits here. REQUIRES: the GIL.
void AfterFork();
// True once Shutdown has begun: references to Python objects may have to be leaked.
bool ShuttingDown();

}  // namespace pannier::python

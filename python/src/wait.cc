#include "wait.h"

#include <atomic>
#include <chrono>
#include <cmath>
#include <thread>
#include <utility>

#include "absl/time/time.h"
#include "status.h"

namespace nb = nanobind;

namespace pannier::python {
namespace {

// Changed under the GIL alone, but read without it: relaxed suffices, as whoever must see the last
// value (Shutdown) reads it again and again, and nothing else hangs on it.
std::atomic<int> g_waiting{0};
std::atomic<bool> g_shutting_down{false};

// What a signal handler raised during the wait of this thread. Owned. A plain pointer: a thread's
// end must not need the GIL.
thread_local PyObject* t_raised = nullptr;
thread_local HandlerScope* t_handler = nullptr;

// Makes the current exception what RestoreInterrupt raises on this thread. REQUIRES: the GIL.
void KeepRaised() {
#if PY_VERSION_HEX >= 0x030C0000
  PyObject* raised = PyErr_GetRaisedException();
#else
  PyObject *type, *raised, *traceback;
  PyErr_Fetch(&type, &raised, &traceback);
  PyErr_NormalizeException(&type, &raised, &traceback);
  if (traceback != nullptr) PyException_SetTraceback(raised, traceback);
  Py_XDECREF(type);
  Py_XDECREF(traceback);
#endif
  Py_XDECREF(t_raised);
  t_raised = raised;
}

}  // namespace

HandlerScope::HandlerScope(CallContext& call, nb::handle server)
    : outer_(std::exchange(t_handler, this)), call_(call), server_(server) {}
HandlerScope::~HandlerScope() { t_handler = outer_; }

bool Handles(nb::handle server) {
  for (const HandlerScope* scope = t_handler; scope != nullptr; scope = scope->outer_) {
    if (scope->server_.is(server)) return true;
  }
  return false;
}

Status CheckHandledCall() {
  HandlerScope* const handler = t_handler;
  if (handler == nullptr || handler->told_) return absl::OkStatus();
  Status over = handler->call_.Check();
  handler->told_ = !over.ok();
  return over;
}

void RaiseIfCallIsOver() {
  if (t_handler == nullptr) return;
  Status over;
  {
    const nb::gil_scoped_release no_gil;
    over = CheckHandledCall();
  }
  RaiseIfError(over);
}

WaitScope::WaitScope() {
  if (ShuttingDown()) {
    PyErr_SetString(PyExc_RuntimeError, "pannier cannot wait: the interpreter is exiting");
    throw nb::python_error();
  }
  g_waiting.fetch_add(1, std::memory_order_relaxed);
  state_ = PyEval_SaveThread();
}

WaitScope::~WaitScope() {
  PyEval_RestoreThread(state_);
  g_waiting.fetch_sub(1, std::memory_order_relaxed);
}

QuickScope::QuickScope() {
  if (ShuttingDown()) return;
  g_waiting.fetch_add(1, std::memory_order_relaxed);
  state_ = PyEval_SaveThread();
}

QuickScope::~QuickScope() {
  if (state_ == nullptr) return;
  PyEval_RestoreThread(state_);
  g_waiting.fetch_sub(1, std::memory_order_relaxed);
}

bool Interrupted() {
  if (ShuttingDown()) return true;
  const Status over = CheckHandledCall();
  const nb::gil_scoped_acquire gil;
  if (t_raised != nullptr) return true;  // kept, and not raised yet
  if (!over.ok()) {
    try {
      Raise(over);
    } catch (nb::python_error& raised) {
      raised.restore();
    }
  } else if (PyErr_CheckSignals() == 0) {
    return false;
  }
  KeepRaised();
  return true;
}

bool RestoreInterrupt() {
  if (t_raised == nullptr) return false;
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(t_raised)), t_raised);
  Py_CLEAR(t_raised);
  return true;
}

void CheckTimeout(std::optional<double> seconds) {
  if (seconds && std::isnan(*seconds)) {
    throw nb::value_error("a timeout must be a number of seconds or None, not NaN");
  }
}

Deadline DeadlineAfter(std::optional<double> seconds) {
  CheckTimeout(seconds);
  if (!seconds) return Deadline::Never();
  return Deadline::After(absl::Seconds(*seconds));
}

bool Shutdown(double seconds) {
  g_shutting_down.store(true, std::memory_order_relaxed);
  const Deadline deadline = DeadlineAfter(seconds);
  while (g_waiting.load(std::memory_order_relaxed) > 0 && !deadline.Passed()) {
    const nb::gil_scoped_release no_gil;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return g_waiting.load(std::memory_order_relaxed) == 0;
}

void AfterFork() { g_waiting.store(0, std::memory_order_relaxed); }

bool ShuttingDown() { return g_shutting_down.load(std::memory_order_relaxed); }

}  // namespace pannier::python

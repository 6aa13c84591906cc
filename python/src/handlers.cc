#include "handlers.h"

#include <exception>
#include <memory>
#include <utility>

#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>

#include "callable.h"
#include "pannier/rpc/call_context.h"
#include "pannier/rpc/remote_error.h"
#include "pickles.h"
#include "signals.h"
#include "view.h"
#include "wait.h"

namespace nb = nanobind;

namespace pannier::python {

StatusOr<RawResult> AnswerOf(nb::handle answer) {
  if (nb::isinstance<RemoteFailure>(answer)) {
    return MakeRemoteError(nb::cast<const RemoteFailure&>(answer));
  }
  const auto parts = nb::cast<nb::tuple>(answer);
  RawResult result;
  result.stream = OwnedBuffer(parts[0]);
  for (nb::handle buffer : parts[1]) result.buffers.push_back(OwnedBuffer(buffer));
  return result;
}

namespace {

// REQUIRES: the GIL.
StatusOr<RawResult> RunHandler(nb::handle function, RawCall& call) {
  const nb::object answer = function(View(std::move(call.stream)), ViewsOf(std::move(call.buffers)),
                                     call.keywords, call.context);
  if (answer.is_none()) return RawResult();  // deferred
  return AnswerOf(answer);
}

nb::object OrRaise(PyObject* object) {
  if (object == nullptr) throw nb::python_error();
  return nb::steal(object);
}

// Sets a context variable as long as it lives. REQUIRES: the GIL.
class Setting {
 public:
  Setting(nb::handle variable, nb::handle value)
      : variable_(variable), token_(OrRaise(PyContextVar_Set(variable.ptr(), value.ptr()))) {}
  ~Setting() {
    if (PyContextVar_Reset(variable_.ptr(), token_.ptr()) != 0) PyErr_Clear();
  }
  Setting(const Setting&) = delete;
  Setting& operator=(const Setting&) = delete;

 private:
  const nb::handle variable_;
  const nb::object token_;
};

// What of a Handler is used in each call.
struct Parts {
  explicit Parts(nb::handle of)
      : handler(nb::borrow(of)),
        function(of.attr("function")),
        server(nb::object(of.attr("server")).ptr()),
        pickling(of.attr("pickling")),
        current(of.attr("current")) {}
  Reference handler, function;
  // Not owned: the server owns this. It lives while its calls are handled.
  const nb::handle server;
  Reference pickling, current;
};

nb::object CallFunction(const Parts& parts, RawCall& call) {
  const ConnectionInfo& info = call.connection.info();
  const nb::object loads =
      info.same_user ? nb::none() : nb::object(parts.handler.get().attr("loads_for")(info.peer));
  nb::object args = Unpickled(std::move(call.stream), std::move(call.buffers), loads);
  nb::object keywords;
  if (call.keywords) {
    const auto both = nb::steal<nb::tuple>(OrRaise(PySequence_Tuple(args.ptr())).release());
    if (both.size() != 2 || !PyDict_Check(nb::handle(both[1]).ptr())) {
      PyErr_SetString(PyExc_TypeError, "the arguments are no pair of a tuple and a dict");
      throw nb::python_error();
    }
    args = both[0];
    keywords = both[1];
  }
  if (!PyTuple_CheckExact(args.ptr())) args = OrRaise(PySequence_Tuple(args.ptr()));
  // A function in C lets no signal handler run, and a server that always has calls never waits.
  if (PyErr_CheckSignals() != 0) throw nb::python_error();
  return OrRaise(PyObject_Call(parts.function.get().ptr(), args.ptr(), keywords.ptr()));
}

// An iterator, or something to be awaited.
bool IsLater(nb::handle result) {
  return PyGen_CheckExact(result.ptr()) || PyCoro_CheckExact(result.ptr()) ||
         PyAsyncGen_CheckExact(result.ptr());
}

StatusOr<RawResult> RunFunction(const Parts& parts, RawCall& call) {
  const nb::object context = nb::cast(call.context);
  const Setting current(parts.current.get(), context);
  try {
    const nb::object result = CallFunction(parts, call);
    if (!call.context->wants_items() && !IsLater(result)) {
      return PickledResult(result, parts.pickling.get());
    }
    parts.handler.get().attr("answer_later")(context, result);
    return RawResult();  // deferred
  } catch (nb::python_error& error) {
    const InterruptsLater later;  // one that came out of `failed` would be lost
    return AnswerOf(parts.handler.get().attr("failed")(error.value()));
  }
}

// Runs `body` with the GIL, as the handler of a call of `server`, if that is one of Python's.
template <class Body>
StatusOr<RawResult> Handling(RawCall& call, nb::handle server, Body body) {
  if (ShuttingDown()) return MakeError(ErrorKind::kClosed, "the server's program is exiting");
  const nb::gil_scoped_acquire gil;
  const HandlerScope scope(*call.context, server);
  try {
    return body();
  } catch (const std::exception& error) {  // a buffer of the result is not contiguous
    return MakeError(ErrorKind::kRemote, error.what());
  }
}

}  // namespace

RawHandler HandlerOf(nb::callable function) {
  return [kept = std::make_shared<Reference>(std::move(function))](RawCall& call) {
    return Handling(call, nb::handle(), [&] { return RunHandler(kept->get(), call); });
  };
}

RawHandler FunctionOf(nb::handle handler) {
  return [parts = std::make_shared<Parts>(handler)](RawCall& call) {
    return Handling(call, parts->server, [&] { return RunFunction(*parts, call); });
  };
}

}  // namespace pannier::python

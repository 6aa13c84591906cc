#include "pannier/rpc/server.h"

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include "bind.h"
#include "options.h"
#include "status.h"
#include "view.h"
#include "wait.h"

namespace nb = nanobind;

namespace pannier::python {
namespace {

// A Python callable that any thread may drop, with the GIL or without. Shared by the copies
// of a handler.
class Callable {
 public:
  explicit Callable(nb::callable function) : function_(function.release().ptr()) {}
  ~Callable() {
    if (ShuttingDown()) return;  // left to the end of the process
    const nb::gil_scoped_acquire gil;
    Py_DECREF(function_);
  }
  Callable(const Callable&) = delete;
  Callable& operator=(const Callable&) = delete;
  nb::handle function() const { return function_; }

 private:
  PyObject* function_;
};

// REQUIRES: the GIL.
StatusOr<RawResult> RunHandler(nb::handle function, RawCall& call) {
  const nb::object answer =
      function(View(std::move(call.stream)), ViewsOf(std::move(call.buffers)), call.keywords,
               call.connection.info().same_user, call.connection.info().peer);
  if (nb::isinstance<RemoteFailure>(answer)) {
    return MakeRemoteError(nb::cast<const RemoteFailure&>(answer));
  }
  const auto parts = nb::cast<nb::tuple>(answer);
  RawResult result;
  result.stream = OwnedBuffer(parts[0]);
  for (nb::handle buffer : parts[1]) result.buffers.push_back(OwnedBuffer(buffer));
  return result;
}

// The kind of which a class of pannier.errors is, so that callers in C++ know it too.
ErrorKind KindNamed(std::string_view qualname) {
  for (uint8_t number = 1; number <= kLastErrorKind; ++number) {
    if (ErrorKindName(static_cast<ErrorKind>(number)) == qualname) {
      return static_cast<ErrorKind>(number);
    }
  }
  return ErrorKind::kRemote;
}

RawHandler HandlerOf(nb::callable function) {
  return [callable = std::make_shared<Callable>(std::move(function))](
             RawCall& call) -> StatusOr<RawResult> {
    if (ShuttingDown()) return MakeError(ErrorKind::kClosed, "the server's program is exiting");
    const nb::gil_scoped_acquire gil;
    try {
      return RunHandler(callable->function(), call);
    } catch (const std::exception& error) {  // a buffer of the result is not contiguous
      return MakeError(ErrorKind::kRemote, error.what());
    }
  };
}

}  // namespace

void BindServer(nb::module_& module) {
  nb::class_<RemoteFailure>(module, "Failure", "What a handler's exception is to the caller.")
      .def(
          "__init__",
          [](RemoteFailure* self, std::string module_name, std::string qualname,
             std::string message, std::string traceback, const nb::bytes& exception) {
            const ErrorKind kind =
                module_name == "pannier.errors" ? KindNamed(qualname) : ErrorKind::kRemote;
            new (self) RemoteFailure{.kind = kind,
                                     .module = std::move(module_name),
                                     .qualname = std::move(qualname),
                                     .message = std::move(message),
                                     .traceback = std::move(traceback),
                                     .exception = std::string(exception.c_str(), exception.size())};
          },
          nb::arg("module"), nb::arg("qualname"), nb::arg("message"), nb::arg("traceback"),
          nb::arg("exception"));
  nb::class_<Server>(module, "Server")
      .def(
          "__init__",
          [](Server* self, const TransportOptions& options) {
            ServerOptions server;
            server.transport = options;
            new (self) Server(std::move(server));
          },
          nb::arg("options"))
      .def(
          "method",
          [](Server& self, std::string name, nb::callable function) {
            RawHandler handler = HandlerOf(std::move(function));
            Waiting([&] { self.RawMethod(std::move(name), std::move(handler)); });
          },
          nb::arg("name"), nb::arg("function"),
          nb::sig(
              "def method(self, name: str, function: collections.abc.Callable[..., typing.Any]) "
              "-> None"),
          "Calls function(stream, buffers, keywords, same_user, peer), which returns (stream, "
          "buffers) or a Failure and does not raise.")
      .def(
          "listen",
          [](Server& self, const std::string& endpoint) {
            RaiseIfError(Waiting([&] { return self.Listen(endpoint); }));
          },
          nb::arg("endpoint"))
      .def("serve", [](Server& self) { RaiseIfError(Waiting([&] { return self.Serve(); })); })
      .def("stop", &Server::Stop, nb::call_guard<nb::gil_scoped_release>())
      .def_prop_ro("endpoint", &Server::endpoint);
}

}  // namespace pannier::python

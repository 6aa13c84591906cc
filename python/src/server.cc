#include "pannier/rpc/server.h"

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>

#include "bind.h"
#include "callable.h"
#include "handlers.h"
#include "options.h"
#include "pannier/rpc/call_context.h"
#include "status.h"
#include "view.h"
#include "wait.h"

namespace nb = nanobind;

namespace pannier::python {
namespace {

// The kind of which a class of pannier.errors is, so that callers in C++ know it too.
ErrorKind KindNamed(std::string_view qualname) {
  for (uint8_t number = 1; number <= kLastErrorKind; ++number) {
    if (ErrorKindName(static_cast<ErrorKind>(number)) == qualname) {
      return static_cast<ErrorKind>(number);
    }
  }
  return ErrorKind::kRemote;
}

void BindContext(nb::module_& module) {
  nb::class_<CallContext>(module, "CallContext", "See rpc/call_context.h.")
      .def_prop_ro("method", &CallContext::method)
      .def_prop_ro("remaining",
                   [](const CallContext& self) -> std::optional<double> {
                     if (self.deadline().never()) return std::nullopt;
                     return absl::ToDoubleSeconds(self.deadline().Remaining());
                   })
      .def_prop_ro("peer", [](const CallContext& self) { return self.peer().info().peer; })
      .def_prop_ro("same_user",
                   [](const CallContext& self) { return self.peer().info().same_user; })
      .def_prop_ro(
          "info", [](const CallContext& self) { return InfoDict(self.peer().info()); },
          nb::sig("def info(self) -> dict[str, typing.Any]"))
      .def_prop_ro("wants_items", &CallContext::wants_items)
      .def_prop_ro("cancelled",
                   [](CallContext& self) { return Quickly([&] { return self.cancelled(); }); })
      .def("check", [](CallContext& self) { RaiseIfError(Quickly([&] { return self.Check(); })); })
      .def_prop_ro("credit",
                   [](CallContext& self) { return Quickly([&] { return self.credit(); }); })
      .def(
          "emit",
          [](CallContext& self, nb::handle item) {
            StatusOr<RawResult> result = AnswerOf(item);
            RaiseIfError(Quickly([&] {
              return result.ok() ? self.EmitRaw(*std::move(result), Deadline::Never())
                                 : result.status();
            }));
          },
          nb::arg("item"),
          nb::sig("def emit(self, item: tuple[typing_extensions.Buffer, "
                  "collections.abc.Sequence[typing_extensions.Buffer]]) -> None"))
      .def("defer", &CallContext::Defer)
      .def(
          "finish",
          [](CallContext& self, nb::handle answer) {
            StatusOr<RawResult> result = AnswerOf(answer);
            Quickly([&] { self.Finish(std::move(result)); });
          },
          nb::arg("answer"),
          nb::sig("def finish(self, answer: tuple[typing_extensions.Buffer, "
                  "collections.abc.Sequence[typing_extensions.Buffer]] | Failure) -> None"))
      .def(
          "on_ready",
          [](nb::handle self, nb::callable function) {
            const std::weak_ptr<CallContext> weak = nb::cast<std::shared_ptr<CallContext>>(self);
            std::function<void()> ready = [weak, resume = CallbackOf(std::move(function))] {
              if (const auto call = weak.lock()) {
                const HandlerScope scope(*call);
                resume();
              }
            };
            const auto call = weak.lock();
            Quickly([&] { call->OnReady(std::move(ready)); });
          },
          nb::arg("function"),
          nb::sig("def on_ready(self, function: collections.abc.Callable[[], object]) -> None"));
}

nb::dict StatsOf(const Server& server) {
  const ServerStats stats = Quickly([&] { return server.Stats(); });
  nb::dict dict, methods;
  for (const auto& [name, method] : stats.methods) {
    methods[name.c_str()] = nb::make_tuple(method.calls, method.seconds);
  }
  dict["calls"] = stats.calls;
  dict["failed"] = stats.failed;
  dict["refused"] = stats.refused;
  dict["expired"] = stats.expired;
  dict["cancelled"] = stats.cancelled;
  dict["items"] = stats.items;
  dict["in_flight"] = stats.in_flight;
  dict["in_flight_bytes"] = stats.in_flight_bytes;
  dict["queued"] = stats.queued;
  dict["connections"] = stats.connections;
  dict["methods"] = methods;
  return dict;
}

}  // namespace

void BindServer(nb::module_& module) {
  BindContext(module);
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
          [](Server* self, const TransportOptions& options, size_t threads,
             std::optional<uint64_t> max_calls, std::optional<uint64_t> max_calls_per_peer,
             std::optional<uint64_t> max_call_bytes) {
            ServerOptions server;
            server.transport = options;
            server.threads = threads;
            server.own_threads = false;  // they are Python's
            if (max_calls) server.max_calls = *max_calls;
            if (max_calls_per_peer) server.max_calls_per_peer = *max_calls_per_peer;
            if (max_call_bytes) server.max_call_bytes = *max_call_bytes;
            new (self) Server(std::move(server));
          },
          nb::arg("options"), nb::arg("threads"), nb::arg("max_calls").none(),
          nb::arg("max_calls_per_peer").none(), nb::arg("max_call_bytes").none())
      .def(
          "function",
          [](Server& self, std::string name, nb::handle handler, std::string signature,
             std::string doc) {
            RawHandler raw = FunctionOf(handler);
            MethodInfo info{std::move(signature), std::move(doc)};
            Waiting([&] { self.RawMethod(std::move(name), std::move(raw), std::move(info)); });
          },
          nb::arg("name"), nb::arg("handler"), nb::arg("signature"), nb::arg("doc"),
          nb::sig("def function(self, name: str, handler: object, signature: str, doc: str) -> "
                  "None"),
          "Calls the function of a handler: one of pannier._handlers.")
      .def(
          "method",
          [](Server& self, std::string name, nb::callable function, std::string signature,
             std::string doc) {
            RawHandler handler = HandlerOf(std::move(function));
            MethodInfo info{std::move(signature), std::move(doc)};
            Waiting([&] { self.RawMethod(std::move(name), std::move(handler), std::move(info)); });
          },
          nb::arg("name"), nb::arg("function"), nb::arg("signature"), nb::arg("doc"),
          nb::sig(
              "def method(self, name: str, function: collections.abc.Callable[..., typing.Any], "
              "signature: str, doc: str) -> None"),
          "Calls function(stream, buffers, keywords, context), which returns (stream, buffers), a "
          "Failure, or None if it deferred the answer, and does not raise.")
      .def(
          "listen",
          [](Server& self, const std::string& endpoint) {
            RaiseIfError(Waiting([&] { return self.Listen(endpoint); }));
          },
          nb::arg("endpoint"))
      .def("serve", [](Server& self) { RaiseIfError(Waiting([&] { return self.Serve(); })); })
      .def("work", [](Server& self) { Waiting([&] { self.Work(); }); })
      .def("drain", &Server::Drain, nb::call_guard<QuickScope>())
      .def("stats", &StatsOf, nb::sig("def stats(self) -> dict[str, typing.Any]"))
      .def("stop", &Server::Stop, nb::call_guard<QuickScope>())
      .def_prop_ro("endpoint", &Server::endpoint);
  module.def("handles", &Handles, nb::arg("server"), nb::sig("def handles(server: object) -> bool"),
             "True if this thread runs a function of it.");
}

}  // namespace pannier::python

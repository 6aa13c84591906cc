#include "pannier/rpc/client.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>

#include "bind.h"
#include "callable.h"
#include "options.h"
#include "pannier/rpc/receiver.h"
#include "pickles.h"
#include "signals.h"
#include "status.h"
#include "view.h"
#include "wait.h"

namespace nb = nanobind;

namespace pannier::python {
namespace {

using Seconds = std::optional<double>;

#define PANNIER_CALL_SIG                                                          \
  "method: str, stream: typing_extensions.Buffer, buffers: "                      \
  "collections.abc.Sequence[typing_extensions.Buffer], keywords: bool, timeout: " \
  "float | None"

std::shared_ptr<Client> Connect(const std::string& endpoint, const TransportOptions& options,
                                double timeout, double reconnect) {
  const ClientOptions client{.transport = options,
                             .connect_timeout = absl::Seconds(timeout),
                             .reconnect_timeout = absl::Seconds(reconnect)};
  return ValueOrRaise(Waiting([&] { return Client::Connect(endpoint, client); }));
}

nb::tuple TupleOf(RawResult result) {
  return nb::make_tuple(View(std::move(result.stream)), ViewsOf(std::move(result.buffers)));
}

// Calls start(args, deadline) without the GIL.
template <class Start>
auto Starting(nb::handle stream, nb::handle buffers, bool keywords, Seconds timeout, Start start) {
  const Deadline deadline = DeadlineAfter(timeout);
  const BorrowedBuffers borrowed(stream, buffers);
  const RawArgs args{
      .stream = borrowed.stream(), .buffers = borrowed.buffers(), .keywords = keywords};
  return ValueOrRaise(Waiting([&] { return start(args, deadline); }));
}

nb::tuple Call(Client& self, const std::string& method, nb::handle stream, nb::handle buffers,
               bool keywords, Seconds timeout, int retries) {
  return TupleOf(
      Starting(stream, buffers, keywords, timeout, [&](const RawArgs& args, Deadline deadline) {
        return self.CallRaw(method, args, CallOptions{.deadline = deadline, .retries = retries});
      }));
}

nb::object Start(Client& self, const std::string& method, nb::handle stream, nb::handle buffers,
                 bool keywords, Seconds timeout, bool wait) {
  PendingCall pending =
      Starting(stream, buffers, keywords, timeout, [&](const RawArgs& args, Deadline deadline) {
        return wait ? self.StartRaw(method, args, deadline)
                    : self.TryStartRaw(method, args, deadline);
      });
  return pending ? nb::cast(std::move(pending)) : nb::none();
}

nb::object StartStream(Client& self, const std::string& method, nb::handle stream,
                       nb::handle buffers, bool keywords, Seconds timeout, uint32_t credit,
                       bool wait) {
  PendingStream pending =
      Starting(stream, buffers, keywords, timeout, [&](const RawArgs& args, Deadline deadline) {
        return self.StartStreamRaw(method, args, deadline, credit, wait);
      });
  return pending ? nb::cast(std::move(pending)) : nb::none();
}

void Notify(Client& self, const std::string& method, nb::handle stream, nb::handle buffers,
            bool keywords, Seconds timeout) {
  const Deadline deadline = DeadlineAfter(timeout);
  const BorrowedBuffers borrowed(stream, buffers);
  const RawArgs args{
      .stream = borrowed.stream(), .buffers = borrowed.buffers(), .keywords = keywords};
  RaiseIfError(Waiting([&] { return self.NotifyRaw(method, args, deadline); }));
}

nb::object Next(PendingStream& self, Seconds timeout) {
  const Deadline deadline = DeadlineAfter(timeout);
  std::optional<RawResult> item = ValueOrRaise(Waiting([&] { return self.Next(deadline); }));
  return item ? nb::object(TupleOf(*std::move(item))) : nb::none();
}

// Waits by wait(deadline). False if time ran out.
template <class Wait>
bool Waited(Seconds timeout, Wait wait) {
  const Deadline deadline = DeadlineAfter(timeout);
  const Status waited = Waiting([&] { return wait(deadline); });
  if (KindOf(waited) == ErrorKind::kDeadlineExceeded) return false;
  RaiseIfError(waited);
  return true;
}

// Receives nothing: that would run callbacks of other calls, here.
nb::object TryNext(PendingStream& self) {
  std::optional<StatusOr<std::optional<RawResult>>> next;
  Quickly([&] {
    if (self.Ready()) next.emplace(self.Next(Deadline::Now()));
  });
  if (!next) return nb::bool_(false);
  std::optional<RawResult> item = ValueOrRaise(*std::move(next));
  return item ? nb::object(TupleOf(*std::move(item))) : nb::none();
}

void BindPending(nb::module_& module) {
  nb::class_<PendingCall>(module, "PendingCall", "See rpc/client.h.")
      .def(
          "take",
          [](PendingCall& self) {
            return TupleOf(ValueOrRaise(Quickly([&] { return self.Wait(Deadline::Now()); })));
          },
          nb::sig("def take(self) -> tuple[View, list[View]]"),
          "The result of a call that is done, once.")
      .def(
          "load",
          [](PendingCall& self, nb::handle loads) {
            RawResult result = ValueOrRaise(Quickly([&] { return self.Wait(Deadline::Now()); }));
            return Unpickled(std::move(result.stream), std::move(result.buffers), loads);
          },
          nb::arg("loads").none(),
          nb::sig("def load(self, loads: collections.abc.Callable[[View, list[View]], typing.Any] "
                  "| None) -> typing.Any"),
          "The same, unpickled by loads, or by pickle.loads if it is None.")
      .def(
          "wait",
          [](PendingCall& self, Seconds timeout) {
            return Waited(timeout, [&](Deadline deadline) { return self.WaitDone(deadline); });
          },
          nb::arg("timeout").none(), "True once the call is done; False if time ran out.")
      .def_prop_ro("done",
                   [](const PendingCall& self) { return Quickly([&] { return self.Done(); }); })
      .def("cancel", &PendingCall::Cancel, nb::call_guard<QuickScope>())
      .def(
          "on_done",
          [](PendingCall& self, nb::callable function) {
            std::function<void()> done = UndisturbedCallbackOf(std::move(function));
            Quickly([&] { self.OnDone(std::move(done)); });
          },
          nb::arg("function"),
          nb::sig("def on_done(self, function: collections.abc.Callable[[], object]) -> None"),
          "Calls it when the call is done, on the thread that received the reply.");
  nb::class_<PendingStream>(module, "PendingStream", "See rpc/client.h.")
      .def("next", &Next, nb::arg("timeout").none(),
           nb::sig("def next(self, timeout: float | None) -> tuple[View, list[View]] | None"))
      .def("try_next", &TryNext,
           nb::sig("def try_next(self) -> tuple[View, list[View]] | None | typing.Literal[False]"),
           "As next, or False if there is none yet; receives nothing.")
      .def(
          "wait",
          [](PendingStream& self, Seconds timeout) {
            return Waited(timeout, [&](Deadline deadline) { return self.WaitReady(deadline); });
          },
          nb::arg("timeout").none(), "True once try_next has something; False if time ran out.")
      .def(
          "result",
          [](PendingStream& self) {
            return TupleOf(ValueOrRaise(Quickly([&] { return self.Result(); })));
          },
          nb::sig("def result(self) -> tuple[View, list[View]]"))
      .def("cancel", &PendingStream::Cancel, nb::call_guard<QuickScope>())
      .def(
          "on_change",
          [](PendingStream& self, nb::callable function) {
            std::function<void()> change = UndisturbedCallbackOf(std::move(function));
            Quickly([&] { self.OnChange(std::move(change)); });
          },
          nb::arg("function"),
          nb::sig("def on_change(self, function: collections.abc.Callable[[], object]) -> None"));
}

void BindReceiver(nb::module_& module) {
  nb::class_<Receiver>(module, "Receiver", "See rpc/receiver.h.")
      .def_static("make", [] { return ValueOrRaise(Receiver::Make()); })
      .def("add", &Receiver::Add, nb::arg("client"))
      .def("kick", &Receiver::Kick, nb::arg("now"))
      .def("run", [](Receiver& self) { Waiting([&] { self.Run(); }); })
      .def("stop", &Receiver::Stop);
}

}  // namespace

void BindClient(nb::module_& module) {
  BindPending(module);
  nb::class_<Client>(module, "Client")
      .def_static("connect", &Connect, nb::arg("endpoint"), nb::arg("options"), nb::arg("timeout"),
                  nb::arg("reconnect"))
      .def("call", &Call, nb::arg("method"), nb::arg("stream"), nb::arg("buffers"),
           nb::arg("keywords"), nb::arg("timeout").none(), nb::arg("retries"),
           nb::sig("def call(self, " PANNIER_CALL_SIG ", retries: int) -> tuple[View, list[View]]"))
      .def("start", &Start, nb::arg("method"), nb::arg("stream"), nb::arg("buffers"),
           nb::arg("keywords"), nb::arg("timeout").none(), nb::arg("wait"),
           nb::sig("def start(self, " PANNIER_CALL_SIG ", wait: bool) -> PendingCall | None"))
      .def("start_stream", &StartStream, nb::arg("method"), nb::arg("stream"), nb::arg("buffers"),
           nb::arg("keywords"), nb::arg("timeout").none(), nb::arg("credit"), nb::arg("wait"),
           nb::sig("def start_stream(self, " PANNIER_CALL_SIG
                   ", credit: int, wait: bool) -> PendingStream | None"))
      .def("notify", &Notify, nb::arg("method"), nb::arg("stream"), nb::arg("buffers"),
           nb::arg("keywords"), nb::arg("timeout").none(),
           nb::sig("def notify(self, " PANNIER_CALL_SIG ") -> None"))
      .def("dispatch",
           [](Client& self) {
             // Once for all callbacks, each of which would ask for it.
             const InterruptsLater later;
             const Status status = Quickly([&] { return self.Dispatch(); });
             // What ended the connection is told to its calls.
             if (KindOf(status) == ErrorKind::kInterrupted) Raise(status);
           })
      .def("fileno", [](Client& self) { return ValueOrRaise(Waiting([&] { return self.fd(); })); })
      .def("close", &Client::Close, nb::call_guard<QuickScope>())
      .def(
          "info", [](const Client& self) { return InfoDict(Quickly([&] { return self.info(); })); },
          nb::sig("def info(self) -> dict[str, typing.Any]"))
      .def(
          "stats",
          [](const Client& self) { return StatsDict(Quickly([&] { return self.Stats(); })); },
          nb::sig("def stats(self) -> dict[str, int]"))
      .def_prop_ro("in_flight",
                   [](const Client& self) { return Quickly([&] { return self.InFlight(); }); })
      .def_prop_ro("alive",
                   [](const Client& self) { return Quickly([&] { return self.status().ok(); }); });
  BindReceiver(module);
}

}  // namespace pannier::python

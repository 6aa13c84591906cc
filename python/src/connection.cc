#include "pannier/transport/connection.h"

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>

#include "bind.h"
#include "options.h"
#include "pickles.h"
#include "plain.h"
#include "status.h"
#include "view.h"
#include "wait.h"

namespace nb = nanobind;

namespace pannier::python {
namespace {

using Seconds = std::optional<double>;

// In the order of Carrier.
constexpr std::array<const char*, 3> kCarriers = {"auto", "zmq", "lane"};

void SetCarrier(TransportOptions& options, const std::string& name) {
  const auto found = std::find(kCarriers.begin(), kCarriers.end(), name);
  if (found == kCarriers.end()) {
    throw nb::value_error("carrier must be \"auto\", \"zmq\" or \"lane\"");
  }
  options.carrier = static_cast<Carrier>(found - kCarriers.begin());
}

void SetSpin(TransportOptions& options, double seconds) {
  if (!(seconds >= 0)) throw nb::value_error("spin must be a number of seconds, not negative");
  options.spin = absl::Seconds(seconds);
}

void BindOptions(nb::module_& module) {
  nb::class_<TransportOptions>(module, "Options",
                               "How connections are made; see transport/connection.h.")
      .def("__init__",
           [](TransportOptions* self) {
             new (self) TransportOptions;
             self->interrupted = Interrupted;
           })
      .def_rw("pool", &TransportOptions::pool, nb::arg().none())
      .def_rw("inline_threshold", &TransportOptions::inline_threshold)
      .def_rw("readonly", &TransportOptions::readonly)
      .def_rw("link", &TransportOptions::link)
      .def_prop_rw(
          "carrier",
          [](const TransportOptions& self) { return kCarriers[static_cast<size_t>(self.carrier)]; },
          &SetCarrier, "\"auto\", \"zmq\" or \"lane\".")
      .def_prop_rw(
          "spin", [](const TransportOptions& self) { return absl::ToDoubleSeconds(self.spin); },
          &SetSpin, "Seconds.")
      .def_rw("insecure", &TransportOptions::insecure)
      .def_rw("max_message_bytes", &TransportOptions::max_message_bytes)
      .def_prop_rw(
          "handshake_timeout",
          [](const TransportOptions& self) {
            return absl::ToDoubleSeconds(self.handshake_timeout);
          },
          [](TransportOptions& self, double seconds) {
            self.handshake_timeout = absl::Seconds(seconds);
          },
          "Seconds.");
}

// Both raise, and give up the GIL only where they may have to wait.

void Put(Connection& self, const OutgoingMessage& message, Seconds timeout) {
  CheckTimeout(timeout);
  RaiseIfCallIsOver();
  if (!ShuttingDown() && self.TrySend(message)) return;
  const Deadline deadline = DeadlineAfter(timeout);
  RaiseIfError(Waiting([&] { return self.Send(message, deadline); }));
}

Message Take(Connection& self, Seconds timeout, bool readonly) {
  CheckTimeout(timeout);
  RaiseIfCallIsOver();
  Message message;
  if (!ShuttingDown() && self.TryReceive(&message)) return message;
  const Deadline deadline = DeadlineAfter(timeout);
  const ReceiveOptions options{.readonly = readonly};
  return ValueOrRaise(Waiting([&] { return self.Receive(deadline, options); }));
}

std::shared_ptr<Connection> Connect(const std::string& endpoint, const TransportOptions& options,
                                    Seconds timeout) {
  const Deadline deadline = DeadlineAfter(timeout);
  return ValueOrRaise(Waiting([&] { return Connection::Connect(endpoint, options, deadline); }));
}

void Send(Connection& self, nb::handle stream, nb::handle buffers, Seconds timeout) {
  const BorrowedBuffers borrowed(stream, buffers);
  Put(self, {.stream = borrowed.stream(), .buffers = borrowed.buffers()}, timeout);
}

bool SendPlain(Connection& self, nb::handle object, Seconds timeout) {
  if (!IsPlain(object)) return false;
  const nb::object stream = DumpsPlain(object);
  Put(self, {.stream = BytesOf(stream)}, timeout);
  return true;
}

nb::tuple Receive(Connection& self, Seconds timeout, bool readonly) {
  Message message = Take(self, timeout, readonly);
  return nb::make_tuple(View(std::move(message.stream)), ViewsOf(std::move(message.buffers)));
}

nb::object ReceiveObject(Connection& self, Seconds timeout, bool readonly, nb::handle loads) {
  Message message = Take(self, timeout, readonly);
  return Unpickled(std::move(message.stream), std::move(message.buffers), loads);
}

bool Poll(Connection& self, Seconds timeout) {
  const Deadline deadline = DeadlineAfter(timeout);
  return ValueOrRaise(Waiting([&] { return self.Poll(deadline); }));
}

std::shared_ptr<Listener> Listen(const std::string& endpoint, const TransportOptions& options) {
  return ValueOrRaise(Waiting([&] { return Listener::Listen(endpoint, options); }));
}

std::shared_ptr<Connection> Accept(Listener& self, Seconds timeout) {
  const Deadline deadline = DeadlineAfter(timeout);
  return ValueOrRaise(Waiting([&] { return self.Accept(deadline); }));
}

}  // namespace

nb::dict InfoDict(const ConnectionInfo& info) {
  nb::dict dict;
  dict["endpoint"] = info.endpoint;
  dict["peer"] = info.peer;
  dict["carrier"] = info.carrier;
  dict["link"] = info.link;
  dict["no_link_reason"] = info.no_link_reason;
  dict["same_user"] = info.same_user;
  dict["pid"] = info.pid;
  dict["version"] = info.version;
  return dict;
}

nb::dict StatsDict(const ConnectionStats& stats) {
  nb::dict dict;
  dict["messages_sent"] = stats.messages_sent;
  dict["messages_received"] = stats.messages_received;
  dict["stream_bytes_sent"] = stats.stream_bytes_sent;
  dict["stream_bytes_received"] = stats.stream_bytes_received;
  dict["leased_bytes_sent"] = stats.leased_bytes_sent;
  dict["leased_bytes_received"] = stats.leased_bytes_received;
  dict["inline_bytes_sent"] = stats.inline_bytes_sent;
  dict["inline_bytes_received"] = stats.inline_bytes_received;
  dict["copied_bytes"] = stats.copied_bytes;
  dict["relinks"] = stats.relinks;
  return dict;
}

void BindConnection(nb::module_& module) {
  BindOptions(module);
  nb::class_<Connection>(module, "Connection")
      .def("send", &Send, nb::arg("stream"), nb::arg("buffers"), nb::arg("timeout").none(),
           nb::sig("def send(self, stream: typing_extensions.Buffer, buffers: "
                   "collections.abc.Sequence[typing_extensions.Buffer], timeout: float | None) -> "
                   "None"))
      .def("send_plain", &SendPlain, nb::arg("obj").none(), nb::arg("timeout").none(),
           nb::sig("def send_plain(self, obj: object, timeout: float | None) -> bool"),
           "Pickles obj and sends it, if it is_plain; else False.")
      .def(
          "receive_object", &ReceiveObject, nb::arg("timeout").none(), nb::arg("readonly"),
          nb::arg("loads").none(),
          nb::sig("def receive_object(self, timeout: float | None, readonly: bool, loads: "
                  "collections.abc.Callable[[View, list[View]], typing.Any] | None) -> typing.Any"),
          "What loads, or pickle.loads if it is None, makes of the next message.")
      .def("receive", &Receive, nb::arg("timeout").none(), nb::arg("readonly"),
           nb::sig("def receive(self, timeout: float | None, readonly: bool) -> tuple[View, "
                   "list[View]]"))
      .def("poll", &Poll, nb::arg("timeout").none())
      .def("fileno", [](Connection& self) { return ValueOrRaise(self.fd()); })
      .def("close", &Connection::Close, nb::call_guard<nb::gil_scoped_release>())
      .def_prop_ro("closed", &Connection::closed)
      .def(
          "info", [](const Connection& self) { return InfoDict(self.info()); },
          nb::sig("def info(self) -> dict[str, typing.Any]"))
      .def(
          "stats",
          [](const Connection& self) { return StatsDict(Waiting([&] { return self.Stats(); })); },
          nb::sig("def stats(self) -> dict[str, int]"));
  nb::class_<Listener>(module, "Listener")
      .def("accept", &Accept, nb::arg("timeout").none())
      .def("close", &Listener::Close, nb::call_guard<nb::gil_scoped_release>())
      .def_prop_ro("endpoint", &Listener::endpoint);
  module.def("connect", &Connect, nb::arg("endpoint"), nb::arg("options"),
             nb::arg("timeout").none());
  module.def("listen", &Listen, nb::arg("endpoint"), nb::arg("options"));
}

}  // namespace pannier::python

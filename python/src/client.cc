#include "pannier/rpc/client.h"

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
#include "status.h"
#include "view.h"
#include "wait.h"

namespace nb = nanobind;

namespace pannier::python {
namespace {

using Seconds = std::optional<double>;

std::shared_ptr<Client> Connect(const std::string& endpoint, const TransportOptions& options,
                                double timeout) {
  const ClientOptions client{.transport = options, .connect_timeout = absl::Seconds(timeout)};
  return ValueOrRaise(Waiting([&] { return Client::Connect(endpoint, client); }));
}

nb::tuple Call(Client& self, const std::string& method, nb::handle stream, nb::handle buffers,
               bool keywords, Seconds timeout) {
  const Deadline deadline = DeadlineAfter(timeout);
  const BorrowedBuffers borrowed(stream, buffers);
  const RawArgs args{
      .stream = borrowed.stream(), .buffers = borrowed.buffers(), .keywords = keywords};
  RawResult result = ValueOrRaise(Waiting([&] { return self.CallRaw(method, args, deadline); }));
  return nb::make_tuple(View(std::move(result.stream)), ViewsOf(std::move(result.buffers)));
}

}  // namespace

void BindClient(nb::module_& module) {
  nb::class_<Client>(module, "Client")
      .def_static("connect", &Connect, nb::arg("endpoint"), nb::arg("options"), nb::arg("timeout"))
      .def("call", &Call, nb::arg("method"), nb::arg("stream"), nb::arg("buffers"),
           nb::arg("keywords"), nb::arg("timeout").none(),
           nb::sig("def call(self, method: str, stream: typing_extensions.Buffer, buffers: "
                   "collections.abc.Sequence[typing_extensions.Buffer], keywords: bool, timeout: "
                   "float | None) -> tuple[View, list[View]]"))
      .def("close", &Client::Close, nb::call_guard<nb::gil_scoped_release>())
      .def(
          "info", [](const Client& self) { return InfoDict(self.info()); },
          nb::sig("def info(self) -> dict[str, typing.Any]"))
      .def(
          "stats",
          [](const Client& self) { return StatsDict(Waiting([&] { return self.Stats(); })); },
          nb::sig("def stats(self) -> dict[str, int]"))
      .def_prop_ro("alive",
                   [](const Client& self) { return Waiting([&] { return self.status().ok(); }); });
}

}  // namespace pannier::python

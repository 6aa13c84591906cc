// Binds the check of untrusted streams: pannier/trust.py uses it before it unpickles one.
#include <string>
#include <utility>

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include "absl/strings/str_cat.h"
#include "bind.h"
#include "safe_stream.h"
#include "status.h"
#include "view.h"
#include "wait.h"

namespace nb = nanobind;

namespace pannier::python {
namespace {

Names NamesFrom(nb::handle pairs) {
  Names names;
  for (nb::handle pair : pairs) {
    names.emplace(nb::cast<std::string>(pair[0]), nb::cast<std::string>(pair[1]));
  }
  return names;
}

void Check(const SafeNames& self, nb::handle stream, nb::handle buffers, const std::string& peer) {
  const BorrowedBuffers borrowed(stream, buffers);
  const Status status =
      Waiting([&] { return CheckSafe(borrowed.stream(), borrowed.buffers(), self); });
  RaiseIfError(Annotate(status, absl::StrCat(peer, " is not trusted")));
}

}  // namespace

void BindTrust(nb::module_& module) {
  nb::class_<SafeNames>(module, "SafeNames", "Names that an untrusted stream may use.")
      .def(
          "__init__",
          [](SafeNames* self, nb::handle safe, nb::handle allowed) {
            new (self) SafeNames{.safe = NamesFrom(safe), .allowed = NamesFrom(allowed)};
          },
          nb::arg("safe"), nb::arg("allowed"),
          nb::sig("def __init__(self, safe: collections.abc.Iterable[tuple[str, str]], allowed: "
                  "collections.abc.Iterable[tuple[str, str]]) -> None"))
      .def("check", &Check, nb::arg("stream"), nb::arg("buffers"), nb::arg("peer"),
           nb::sig("def check(self, stream: typing_extensions.Buffer, buffers: "
                   "collections.abc.Sequence[typing_extensions.Buffer], peer: str) -> None"),
           "Raises ForbiddenGlobal for what the stream does that it may not.");
}

}  // namespace pannier::python

// Binds the check of untrusted streams: pannier/trust.py uses it before it unpickles one.
#include <string>
#include <utility>

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include "bind.h"
#include "codec.h"
#include "safe_stream.h"
#include "status.h"
#include "view.h"
#include "wait.h"

namespace nb = nanobind;

namespace pannier::python {
namespace {

SafeNames NamesWith(nb::handle allowed) {
  SafeNames names{.all = codec::AllowList::SafeSet(), .allowed = {}};
  for (nb::handle pair : allowed) {
    const auto module = nb::cast<std::string>(pair[0]);
    const auto name = nb::cast<std::string>(pair[1]);
    names.all.Add(module, name);
    names.allowed.Add(module, name);
  }
  return names;
}

nb::list SafeSet() {
  nb::list names;
  for (const auto& [module, name] : codec::AllowList::SafeSet().names()) {
    names.append(nb::make_tuple(module, name));
  }
  return names;
}

// `stream` is bytes: nobody writes to it meanwhile.
void Check(const SafeNames& self, const nb::bytes& stream, nb::handle buffers,
           const std::string& encoding, const std::string& errors, bool fix_imports,
           nb::handle limits, const std::string& context) {
  const BorrowedBuffers borrowed(stream, buffers.is_none() ? nb::tuple() : nb::tuple(buffers));
  codec::DecodeOptions options;
  Str8Codec str8(encoding, errors, &options);
  options.fix_imports = fix_imports;
  if (!limits.is_none()) options.limits = LimitsOf(nb::borrow<nb::dict>(limits));
  if (!buffers.is_none()) options.buffers = borrowed.buffers();
  const auto check = [&] { return CheckSafe(borrowed.stream(), options, self); };
  const Status status = str8.calls_python() ? check() : Waiting(check);
  str8.Rethrow();
  RaiseIfError(Annotate(status, context));
}

}  // namespace

void BindTrust(nb::module_& module) {
  nb::class_<SafeNames>(module, "SafeNames",
                        "Names that an untrusted stream may use: the safe set, and more.")
      .def(
          "__init__",
          [](SafeNames* self, nb::handle allowed) { new (self) SafeNames(NamesWith(allowed)); },
          nb::arg("allowed"),
          nb::sig("def __init__(self, allowed: collections.abc.Iterable[tuple[str, str]]) -> None"))
      .def("check", &Check, nb::arg("stream"), nb::arg("buffers").none(), nb::arg("encoding"),
           nb::arg("errors"), nb::arg("fix_imports"), nb::arg("limits").none(), nb::arg("context"),
           nb::sig("def check(self, stream: bytes, buffers: "
                   "collections.abc.Sequence[typing_extensions.Buffer] | None, encoding: str, "
                   "errors: str, fix_imports: bool, limits: dict[str, int] | None, context: str) "
                   "-> None"),
           "Raises ForbiddenGlobal for what the stream does that it may not.");
  module.def("safe_set", &SafeSet, nb::sig("def safe_set() -> list[tuple[str, str]]"));
}

}  // namespace pannier::python

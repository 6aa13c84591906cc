// pannier._core: the library as the package's Python files use it. Everything here is private
// to the package; docs/python.md describes what users see.
#include <nanobind/nanobind.h>

#include "bind.h"
#include "pannier/base/version.h"
#include "pannier/transport/connection.h"
#include "pickles.h"
#include "signals.h"
#include "view.h"
#include "wait.h"

namespace nb = nanobind;

NB_MODULE(_core, module) {
  using namespace pannier::python;
  // State is per process (pools, sockets, exception types), so a second interpreter would
  // share objects with the first.
  static decltype(nb::detail::internals) of_main = nullptr;
  if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
    nb::detail::internals = of_main;  // nanobind has just turned to this interpreter's
    throw nb::import_error("pannier cannot be used in a subinterpreter, only in the main one");
  }
  of_main = nb::detail::internals;
  nb::set_leak_warnings(false);  // an array that is alive at exit is no error
  module.doc() = "The compiled part of pannier.";
  module.def("version", &pannier::Version, "As major.minor.patch.");
  FindPickle();
  BindView(module);
  BindPool(module);
  BindConnection(module);
  BindClient(module);
  BindCaller(module);
  BindServer(module);
  BindCallStream(module);
  BindClaims(module);
  BindTrust(module);
  BindCodec(module);
  BindPlain(module);
  module.def("shutdown", &Shutdown, nb::arg("seconds"),
             "Refuses waits from now on and lets those under way return. True if all did.");
  module.def("flush_before_exit", &pannier::FlushBeforeExit,
             nb::call_guard<nb::gil_scoped_release>(),
             "Lets what closed connections sent leave, if no other is open.");
  module.def(
      "undisturbed",
      [](nb::callable function, nb::args arguments) {
        const InterruptsLater later;
        function(*arguments);
      },
      nb::arg("function"), nb::arg("arguments"),
      nb::sig("def undisturbed(function: collections.abc.Callable[..., object], *arguments: "
              "typing.Any) -> None"),
      "Calls it; on the main thread, what Ctrl-C raises is raised afterwards.");
  module.def(
      "set_unless",
      [](nb::handle object, nb::str guard, nb::str name, nb::handle value) {
        const nb::object watched = object.attr(guard);
        if (!watched.is(Py_False)) return false;
        object.attr(name) = value;
        return true;
      },
      nb::arg("object"), nb::arg("guard"), nb::arg("name"), nb::arg("value"),
      "Sets object.name, unless object.guard is not False; tells whether it did. Both are plain "
      "attributes, so no other thread runs in between: the GIL is held throughout.");
  module.def(
      "after_fork",
      [] {
        AfterFork();
        HandleSignalsAfterFork();
      },
      "To be called in a forked child, before all else.");
}

#include "callable.h"

#include <memory>
#include <utility>

#include "signals.h"
#include "wait.h"

namespace nb = nanobind;

namespace pannier::python {

Reference::~Reference() {
  if (ShuttingDown()) return;
  const nb::gil_scoped_acquire gil;
  Py_DECREF(object_);
}

namespace {

// REQUIRES: the GIL.
void CallOrPrint(nb::handle function) {
  PyObject* const result = PyObject_CallNoArgs(function.ptr());
  if (result == nullptr) PyErr_WriteUnraisable(function.ptr());
  Py_XDECREF(result);
}

}  // namespace

std::function<void()> CallbackOf(nb::callable function) {
  return [callable = std::make_shared<Reference>(std::move(function))] {
    if (ShuttingDown()) return;
    const nb::gil_scoped_acquire gil;
    CallOrPrint(callable->get());
  };
}

std::function<void()> UndisturbedCallbackOf(nb::callable function) {
  return [callable = std::make_shared<Reference>(std::move(function))] {
    if (ShuttingDown()) return;
    const nb::gil_scoped_acquire gil;
    const InterruptsLater later;
    CallOrPrint(callable->get());
  };
}

}  // namespace pannier::python

#include "callable.h"

#include <memory>
#include <utility>

#include "wait.h"

namespace nb = nanobind;

namespace pannier::python {

Callable::~Callable() {
  if (ShuttingDown()) return;
  const nb::gil_scoped_acquire gil;
  Py_DECREF(function_);
}

std::function<void()> CallbackOf(nb::callable function) {
  return [callable = std::make_shared<Callable>(std::move(function))] {
    if (ShuttingDown()) return;
    const nb::gil_scoped_acquire gil;
    PyObject* const result = PyObject_CallNoArgs(callable->function().ptr());
    if (result == nullptr) PyErr_WriteUnraisable(callable->function().ptr());
    Py_XDECREF(result);
  };
}

}  // namespace pannier::python

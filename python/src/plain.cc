// Whether an object is small and made of nothing but what CPython's pickler writes by itself: most
// messages that are no arrays. Python code that looks at each object would cost more than
// pickling them.
#include <nanobind/nanobind.h>

#include <cstddef>

#include "bind.h"

namespace nb = nanobind;

namespace pannier::python {
namespace {

constexpr int kDeepest = 8;
constexpr int kMostObjects = 64;

// Shorter than pannier.pickling.BYTES_THRESHOLD.
constexpr Py_ssize_t kMostBytes = 64 << 10;

// Functions and types that are no methods of an object: the pickler writes the names of these, or
// refuses them.
bool IsGlobal(PyObject* object) {
  if (PyFunction_Check(object) || Py_IS_TYPE(object, &PyType_Type)) return true;
  if (!PyCFunction_CheckExact(object)) return false;
  PyObject* const self = PyCFunction_GET_SELF(object);
  return self == nullptr || PyModule_Check(self);
}

// `left` objects may still be looked at.
bool IsPlain(PyObject* object, int depth, int* left) {
  if (--*left < 0) return false;
  if (object == Py_None || PyBool_Check(object) || PyLong_CheckExact(object) ||
      PyFloat_CheckExact(object) || PyUnicode_CheckExact(object)) {
    return true;
  }
  if (PyBytes_CheckExact(object)) return PyBytes_GET_SIZE(object) < kMostBytes;
  if (IsGlobal(object)) return true;
  if (depth == kDeepest) return false;
  if (PyTuple_CheckExact(object)) {
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(object); ++i) {
      if (!IsPlain(PyTuple_GET_ITEM(object, i), depth + 1, left)) return false;
    }
    return true;
  }
  if (PyList_CheckExact(object)) {
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(object); ++i) {
      if (!IsPlain(PyList_GET_ITEM(object, i), depth + 1, left)) return false;
    }
    return true;
  }
  if (!PyDict_CheckExact(object)) return false;
  PyObject* key;
  PyObject* value;
  for (Py_ssize_t position = 0; PyDict_Next(object, &position, &key, &value);) {
    if (!IsPlain(key, depth + 1, left) || !IsPlain(value, depth + 1, left)) return false;
  }
  return true;
}

}  // namespace

void BindPlain(nb::module_& module) {
  module.def(
      "is_plain",
      [](nb::handle object) {
        int left = kMostObjects;
        return IsPlain(object.ptr(), 0, &left);
      },
      nb::arg("obj").none(),
      "True if obj has at most 64 objects, exact builtins all, functions and types among them, "
      "and no long bytes: no reducer and no buffer can matter to its pickle. False says nothing.");
}

}  // namespace pannier::python

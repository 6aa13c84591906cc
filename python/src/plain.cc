#include "plain.h"

#include <cstddef>

#include "bind.h"

namespace nb = nanobind;

namespace pannier::python {
namespace {

constexpr int kDeepest = 8;
constexpr int kMostObjects = 64;

// Shorter than pannier.pickling.BYTES_THRESHOLD.
constexpr Py_ssize_t kMostBytes = 64 << 10;

// `left` objects may still be looked at.
bool IsPlain(PyObject* object, int depth, int* left) {
  if (--*left < 0) return false;
  if (object == Py_None || PyBool_Check(object) || PyLong_CheckExact(object) ||
      PyFloat_CheckExact(object) || PyUnicode_CheckExact(object)) {
    return true;
  }
  if (PyBytes_CheckExact(object)) return PyBytes_GET_SIZE(object) < kMostBytes;
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

bool IsPlain(nb::handle object) {
  int left = kMostObjects;
  return IsPlain(object.ptr(), 0, &left);
}

void BindPlain(nb::module_& module) {
  module.def(
      "is_plain", [](nb::handle object) { return IsPlain(object); }, nb::arg("obj").none(),
      "True if obj has at most 64 objects, exact builtins all, and no long bytes: no reducer and "
      "no buffer can matter to its pickle. False says nothing.");
}

}  // namespace pannier::python

// The pickle of a call, for an Executor: of a function that has a name, and of plain arguments. The
// name is written here, around what CPython's pickler makes of the arguments; the pickler itself
// would import the function's module, to see that the name there is that function's.
#include <nanobind/nanobind.h>

#include <cstddef>
#include <string_view>

#include "bind.h"
#include "pickles.h"
#include "plain.h"

namespace nb = nanobind;

namespace pannier::python {
namespace {

// The stream of (function, args, {}): PROTO, GLOBAL and the two names, a line each; the stream of
// args without its PROTO and STOP; EMPTY_DICT, in STOP's place in the frame, if there is one;
// TUPLE3, STOP. GLOBAL memoizes nothing, so the numbers of the memo are as the pickler counts.
constexpr std::string_view kProto = "\x80\x05";
constexpr std::string_view kGlobal =
    "\x80\x05"
    "c";
constexpr std::string_view kEnd = "}\x87.";

// Functions and types that are no methods of an object.
bool IsGlobal(nb::handle object) {
  PyObject* const function = object.ptr();
  if (PyFunction_Check(function) || Py_IS_TYPE(function, &PyType_Type)) return true;
  if (!PyCFunction_CheckExact(function)) return false;
  PyObject* const self = PyCFunction_GET_SELF(function);
  return self == nullptr || PyModule_Check(self);
}

// The text of a str that can stand in a line by itself; else empty.
std::string_view LineOf(nb::handle name) {
  if (!PyUnicode_CheckExact(name.ptr()) || !PyUnicode_IS_COMPACT_ASCII(name.ptr())) return {};
  const std::string_view text(static_cast<const char*>(PyUnicode_DATA(name.ptr())),
                              static_cast<size_t>(PyUnicode_GET_LENGTH(name.ptr())));
  return text.find('\n') == text.npos ? text : std::string_view();
}

// The attribute, or nothing; what getting it raises is dropped.
nb::object Attribute(nb::handle object, const char* name) {
  nb::object value = nb::steal(PyObject_GetAttrString(object.ptr(), name));
  if (!value.is_valid()) PyErr_Clear();
  return value;
}

// Is `function` what `name` says in an imported module?
bool IsNamed(nb::handle function, nb::handle module_name, nb::handle name) {
  PyObject* const module = PyDict_GetItemWithError(PyImport_GetModuleDict(), module_name.ptr());
  if (module == nullptr || !PyModule_CheckExact(module)) return false;
  return PyDict_GetItemWithError(PyModule_GetDict(module), name.ptr()) == function.ptr();
}

// None where pickle.dumps has to say what becomes of it.
nb::object DumpsCall(nb::handle function, nb::handle args) {
  if (!IsGlobal(function) || !IsPlain(args)) return nb::none();
  const nb::object module_name = Attribute(function, "__module__");
  const nb::object name = Attribute(function, "__qualname__");
  if (!module_name.is_valid() || !name.is_valid()) return nb::none();
  const std::string_view lines[] = {LineOf(module_name), LineOf(name)};
  if (lines[0].empty() || lines[1].empty() || !IsNamed(function, module_name, name)) {
    return nb::none();
  }
  const nb::object stream = DumpsPlain(args);
  const std::string_view own = AsText(BytesOf(stream));
  const std::string_view body = own.substr(kProto.size(), own.size() - kProto.size() - 1);
  const std::string_view parts[] = {kGlobal, lines[0], "\n", lines[1], "\n", body, kEnd};
  size_t size = 0;
  for (const std::string_view part : parts) size += part.size();
  nb::object whole = nb::steal(PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(size)));
  if (!whole.is_valid()) throw nb::python_error();
  char* to = PyBytes_AS_STRING(whole.ptr());
  for (const std::string_view part : parts) to += part.copy(to, part.size());
  return whole;
}

}  // namespace

void BindCallStream(nb::module_& module) {
  module.def("dumps_call", &DumpsCall, nb::arg("function").none(), nb::arg("args"),
             nb::sig("def dumps_call(function: object | None, args: tuple[typing.Any, ...]) -> "
                     "bytes | None"),
             "A pickle of (function, args, {}), or None where the function has no name or args is "
             "not plain: then pickle says what becomes of it.");
}

}  // namespace pannier::python

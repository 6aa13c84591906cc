// pannier._core._Caller: the base of pannier.Client, with the call that waits: one C function from
// the arguments to the result, as most of a short call in Python would be Python. A type of
// CPython's own API, as nanobind's functions make a tuple and a dict of arguments like these; its
// name is private as client.py says what mypy and nanobind's stubs cannot.
#include <algorithm>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <string_view>
#include <utility>

#include <nanobind/nanobind.h>
#include <nanobind/stl/shared_ptr.h>

#include "bind.h"
#include "pannier/rpc/client.h"
#include "pickles.h"
#include "status.h"
#include "wait.h"

namespace nb = nanobind;

namespace pannier::python {
namespace {

struct State {
  std::shared_ptr<Client> client;
  nb::object pickling;
  nb::object loads;  // None: pickle.loads
  std::optional<double> timeout;
};

struct Caller {
  PyObject_HEAD State* state;  // null before __init__
};

// How a call is made, of its keyword arguments; the others are the method's own.
struct How {
  std::optional<double> timeout;
  int retries = 0;
  nb::object keywords = {};  // a dict, or nothing
};

std::optional<double> SecondsOf(PyObject* object) {
  if (object == Py_None) return std::nullopt;
  const double seconds = PyFloat_AsDouble(object);
  if (seconds == -1.0 && PyErr_Occurred() != nullptr) throw nb::python_error();
  return seconds;
}

// As `retries`: what is no int raises TypeError.
int CountOf(PyObject* object) {
  const long count = PyLong_AsLong(object);
  if (count == -1 && PyErr_Occurred() != nullptr) throw nb::python_error();
  return static_cast<int>(std::clamp<long>(count, 0, std::numeric_limits<int>::max()));
}

bool Is(PyObject* name, const char* text) {
  return PyUnicode_CompareWithASCIIString(name, text) == 0;
}

How HowOf(const State& state, PyObject* names, PyObject* const* values) {
  How how{.timeout = state.timeout};
  const Py_ssize_t count = names == nullptr ? 0 : PyTuple_GET_SIZE(names);
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyObject* const name = PyTuple_GET_ITEM(names, i);
    if (Is(name, "timeout")) {
      if (values[i] == Py_Ellipsis) continue;  // as not given
      how.timeout = SecondsOf(values[i]);
    } else if (Is(name, "retries")) {
      how.retries = CountOf(values[i]);
    } else {
      if (!how.keywords.is_valid()) how.keywords = nb::dict();
      how.keywords[nb::handle(name)] = nb::handle(values[i]);
    }
  }
  return how;
}

std::string_view MethodOf(PyObject* const* arguments, Py_ssize_t count) {
  if (count < 1) throw nb::type_error("call() needs the name of a method");
  if (!PyUnicode_Check(arguments[0])) throw nb::type_error("the name of a method is a str");
  Py_ssize_t size;
  const char* text = PyUnicode_AsUTF8AndSize(arguments[0], &size);
  if (text == nullptr) throw nb::python_error();
  return {text, static_cast<size_t>(size)};
}

nb::object TupleOf(PyObject* const* items, Py_ssize_t count) {
  PyObject* const tuple = PyTuple_New(count);
  if (tuple == nullptr) throw nb::python_error();
  for (Py_ssize_t i = 0; i < count; ++i) PyTuple_SET_ITEM(tuple, i, Py_NewRef(items[i]));
  return nb::steal(tuple);
}

// `self` tells what the far side raised.
[[noreturn]] void RaiseWhat(PyObject* self, const Status& status) {
  if (!RemoteFailureOf(status)) Raise(status);
  nb::handle(self).attr("_raise_there")(ExceptionOf(status));
  throw nb::type_error("_raise_there did not raise");
}

nb::object CallAndWait(PyObject* self, PyObject* const* arguments, Py_ssize_t count,
                       PyObject* names) {
  const State* const state = reinterpret_cast<Caller*>(self)->state;
  if (state == nullptr) throw nb::type_error("__init__ of the client was not called");
  const std::string_view method = MethodOf(arguments, count);
  const How how = HowOf(*state, names, arguments + count);
  const Deadline deadline = DeadlineAfter(how.timeout);
  const bool keywords = how.keywords.is_valid();
  nb::object positional = TupleOf(arguments + 1, count - 1);
  const Pickled pickled(keywords ? nb::make_tuple(std::move(positional), how.keywords) : positional,
                        state->pickling);
  const RawArgs args{
      .stream = pickled.stream(), .buffers = pickled.buffers(), .keywords = keywords};
  const CallOptions options{.deadline = deadline, .retries = how.retries};
  StatusOr<RawResult> result =
      Waiting([&] { return state->client->CallRaw(method, args, options); });
  if (!result.ok()) RaiseWhat(self, result.status());
  return Unpickled(std::move(result->stream), std::move(result->buffers), state->loads);
}

// Runs `body`, whose C++ exceptions become Python's.
template <class Body>
auto Guarded(Body body) -> decltype(body()) {
  try {
    return body();
  } catch (nb::python_error& error) {
    error.restore();
  } catch (const nb::builtin_exception& error) {
    PyErr_SetString(
        error.type() == nb::exception_type::value_error ? PyExc_ValueError : PyExc_TypeError,
        error.what());
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& error) {  // a cast
    PyErr_SetString(PyExc_TypeError, error.what());
  }
  if constexpr (std::is_pointer_v<decltype(body())>) {
    return nullptr;
  } else {
    return -1;
  }
}

PyObject* CallMethod(PyObject* self, PyObject* const* arguments, Py_ssize_t count,
                     PyObject* names) {
  return Guarded([&] { return CallAndWait(self, arguments, count, names).release().ptr(); });
}

int Init(PyObject* self, PyObject* arguments, PyObject*) {
  return Guarded([&] {
    State*& own = reinterpret_cast<Caller*>(self)->state;
    // Calls may use it.
    if (own != nullptr) throw nb::type_error("__init__ of the client was called before");
    PyObject *client, *pickling, *loads, *timeout;
    if (PyArg_ParseTuple(arguments, "OOOO:_Caller", &client, &pickling, &loads, &timeout) == 0) {
      throw nb::python_error();
    }
    own = new State{.client = nb::cast<std::shared_ptr<Client>>(nb::handle(client)),
                    .pickling = nb::borrow(pickling),
                    .loads = nb::borrow(loads),
                    .timeout = SecondsOf(timeout)};
    return 0;
  });
}

void Dealloc(PyObject* self) {
  PyTypeObject* const type = Py_TYPE(self);
  delete reinterpret_cast<Caller*>(self)->state;
  type->tp_free(self);
  Py_DECREF(type);
}

constexpr char kCallDoc[] =
    "call(self, method, /, *args, timeout=..., retries=0, **kwargs)\n--\n\n"
    "The result of `method` on the far side.\n\n"
    "`timeout` seconds (None: for ever) bound the whole call; the server is told. Raises what the\n"
    "handler raised, with the far side's traceback as its cause, if this side may unpickle it,\n"
    "else RemoteError; UnknownMethod; DeadlineExceeded; ConnectionLost; LimitExceeded and Refused\n"
    "(the server did not run it); PoolExhausted; Closed. `retries`: how often it may be made\n"
    "again after ConnectionLost, when it may have run, and where the server did not run it.";

PyMethodDef g_methods[] = {
    {"call", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(CallMethod)),
     METH_FASTCALL | METH_KEYWORDS, kCallDoc},
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot g_slots[] = {
    {Py_tp_doc, const_cast<char*>("The base of pannier.Client: see CallMethod in caller.cc.")},
    {Py_tp_new, reinterpret_cast<void*>(PyType_GenericNew)},
    {Py_tp_init, reinterpret_cast<void*>(Init)},
    {Py_tp_dealloc, reinterpret_cast<void*>(Dealloc)},
    {Py_tp_methods, g_methods},
    {0, nullptr},
};

PyType_Spec g_spec = {"pannier._core._Caller", sizeof(Caller), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, g_slots};

}  // namespace

void BindCaller(nb::module_& module) {
  PyObject* const type = PyType_FromSpec(&g_spec);
  if (type == nullptr) throw nb::python_error();
  module.attr("_Caller") = nb::steal(type);
}

}  // namespace pannier::python

#include "status.h"

#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "pannier/codec/allow_list.h"
#include "pannier/codec/encoder.h"
#include "pannier/codec/opcodes.h"
#include "pannier/codec/position.h"
#include "pannier/rpc/remote_error.h"
#include "wait.h"

namespace nb = nanobind;

namespace pannier::python {
namespace {

// Where the class of a kind is found. pannier.errors defines or imports all of them.
constexpr std::array<const char*, kLastErrorKind + 1> kClasses = {
    "Error",             // kNone
    "ConnectionLost",    //
    "DeadlineExceeded",  //
    "PoolExhausted",     //
    "CorruptMessage",    //
    "ForbiddenGlobal",   //
    "RemoteError",       // kRemote
    "InvalidArgument",   //
    "PicklingError",     // kPickling
    "UnpicklingError",   // kUnpickling
    "Refused",           //
    "Closed",            //
    "Interrupted",       //
    "Forked",            //
    "UnknownMethod",     //
    "SystemFailure",     // kSystem
    "Cancelled",         //
    "LimitExceeded",     // kLimit
};

// Texts of a status may hold bytes of paths and of peers.
nb::object Text(std::string_view text) {
  return nb::steal(
      PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "backslashreplace"));
}

nb::object Bytes(std::string_view bytes) { return nb::bytes(bytes.data(), bytes.size()); }

nb::object MakeException(const Status& status, const nb::object& errors) {
  const ErrorKind kind = KindOf(status);
  const nb::object type = errors.attr(kClasses[static_cast<size_t>(kind)]);
  const nb::object message = Text(FromAbsl(status.message()));
  if (const std::optional<RemoteFailure> failure = RemoteFailureOf(status)) {
    return errors.attr("from_failure")(type, message, Text(failure->module),
                                       Text(failure->qualname), Text(failure->message),
                                       Text(failure->traceback), Bytes(failure->exception));
  }
  if (kind == ErrorKind::kSystem && ErrnoOf(status) != 0) return type(ErrnoOf(status), message);
  return type(message);
}

}  // namespace

nb::object ExceptionOf(const Status& status) {
  const nb::object exception = MakeException(status, nb::module_::import_("pannier.errors"));
  if (const auto position = codec::PositionOf(status)) {
    exception.attr("offset") = position->offset;
    if (position->opcode) {
      exception.attr("opcode") = Text(codec::InfoOf(*position->opcode).name);
    }
  }
  if (KindOf(status) == ErrorKind::kPickling) {
    exception.attr("path") = Text(codec::PicklingPathOf(status));
  }
  if (const auto name = codec::ForbiddenNameOf(status)) {
    exception.attr("module") = Text(name->module);
    exception.attr("name") = Text(name->name);
  }
  return exception;
}

void Raise(const Status& status) {
  if (KindOf(status) == ErrorKind::kInterrupted && RestoreInterrupt()) throw nb::python_error();
  const nb::object exception = ExceptionOf(status);
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.ptr())), exception.ptr());
  throw nb::python_error();
}

}  // namespace pannier::python

// From absl::Status to Python exceptions: the only place where the two meet. The classes
// stand in pannier/errors.py; docs/python.md lists which kind becomes which.
#pragma once

#include <utility>

#include <nanobind/nanobind.h>

#include "pannier/base/status.h"

namespace pannier::python {

// Raises `status`, whose kind decides the type. REQUIRES: !status.ok(); the GIL.
// For kInterrupted it is what the signal handler raised (wait.h).
[[noreturn]] void Raise(const Status& status);

// The exception that Raise would raise. The same requirements.
nanobind::object ExceptionOf(const Status& status);

inline void RaiseIfError(const Status& status) {
  if (!status.ok()) Raise(status);
}

// The value, or its error raised. REQUIRES: the GIL.
template <typename T>
T ValueOrRaise(StatusOr<T> value) {
  if (!value.ok()) Raise(value.status());
  return *std::move(value);
}

}  // namespace pannier::python

// Python objects that the library calls, and may drop, on any thread.
#pragma once

#include <functional>

#include <nanobind/nanobind.h>

namespace pannier::python {

// A reference that any thread may drop, with the GIL or without. After the interpreter's end it is
// left to the end of the process.
class Reference {
 public:
  explicit Reference(nanobind::object object) : object_(object.release().ptr()) {}
  ~Reference();
  Reference(const Reference&) = delete;
  Reference& operator=(const Reference&) = delete;
  nanobind::handle get() const { return object_; }

 private:
  PyObject* object_;
};

// Calls `function` with the GIL, which its caller must not hold. What it raises is printed as
// unraisable; at the end of the interpreter it is not called.
std::function<void()> CallbackOf(nanobind::callable function);
// The same for what ends a future, which Ctrl-C must not cut short: see InterruptsLater.
std::function<void()> UndisturbedCallbackOf(nanobind::callable function);

}  // namespace pannier::python

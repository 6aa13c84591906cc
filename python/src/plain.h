// Whether an object is small and made of nothing but what CPython's pickler writes by itself: most
// messages that are no arrays. Python code that looks at each object would cost more than
// pickling them.
#pragma once

#include <nanobind/nanobind.h>

namespace pannier::python {

// True if it has at most 64 objects, exact builtins all, and no long bytes: no reducer and no
// buffer can matter to its pickle, and pickling it runs no Python code. False says nothing.
// REQUIRES: the GIL.
bool IsPlain(nanobind::handle object);

}  // namespace pannier::python

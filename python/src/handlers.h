// How a server's methods are called that are Python.
#pragma once

#include <nanobind/nanobind.h>

#include "pannier/base/status.h"
#include "pannier/rpc/raw.h"

namespace pannier::python {

// What a handler answers: (stream, buffers) or a Failure. REQUIRES: the GIL.
StatusOr<RawResult> AnswerOf(nanobind::handle answer);

// Calls function(stream, buffers, keywords, context), which answers as above, or with None if it
// deferred the answer, and does not raise.
RawHandler HandlerOf(nanobind::callable function);

// Calls the function of a pannier._handlers.Handler with the call's arguments, unpickled, and
// answers with its result, pickled. What is no plain function with a result is the Handler's.
RawHandler FunctionOf(nanobind::handle handler);

}  // namespace pannier::python

// The second look at a pickle of a peer that is not trusted. The first is the unpickler's
// find_class, which refuses every name outside the safe set and the program's own list; but a
// stream can misuse names that are allowed: BUILD a class to change its attributes, call a type
// with arguments that allocate without end, or give NumPy a dtype whose fields lie outside its
// items. So the stream is decoded here first, which runs nothing, and what it would do with
// names of the safe set must look as pickles of these types do (docs/python.md, "Trust").
#pragma once

#include "pannier/base/bytes.h"
#include "pannier/base/status.h"
#include "pannier/codec/allow_list.h"
#include "pannier/codec/decoder.h"

namespace pannier::python {

struct SafeNames {
  codec::AllowList all;
  // Those that the program allowed. With what they are called is not looked at.
  codec::AllowList allowed;
};

// Decodes `stream` as `options` say and checks all that an unpickler would make of it, also what
// the result does not reach, and that this costs it no more than a pickle of that length should:
// keys are hashed and arguments copied within a bound. Errors: ForbiddenGlobal, saying what is
// done with which name, with its position; Unpickling; Limit.
Status CheckSafe(ByteSpan stream, codec::DecodeOptions options, const SafeNames& names);

}  // namespace pannier::python

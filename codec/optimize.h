// A smaller pickle of the same object: without the memo entries that nothing reads. What
// pickletools.optimize makes of it, to the byte.
#pragma once

#include <string>

#include "pannier/base/bytes.h"
#include "pannier/base/status.h"

namespace pannier::codec {

// The pickle at the start of `stream`, rewritten: unused PUT, BINPUT and MEMOIZE are left out,
// memo entries are numbered anew, frames are cut anew. Bytes after STOP are dropped. Errors:
// Unpickling (the stream is cut short; a memo entry is read before it is written; a protocol
// above 5).
StatusOr<std::string> Optimize(ByteSpan stream);

}  // namespace pannier::codec

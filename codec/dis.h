// A pickle as text, opcode by opcode: what `python -m pickletools` (3.11) prints of it, to
// the byte. Nothing is run or built.
#pragma once

#include <string>

#include "pannier/base/bytes.h"
#include "pannier/base/status.h"

namespace pannier::codec {

struct DisOptions {
  int indent = 4;  // for each mark that is open
};

// Appends the lines of one pickle to `*out`. Errors: Unpickling, where pickletools raises
// ValueError: the stream is cut short, an argument does not read, the stack or the memo is
// used wrongly. The lines before the error, and with the latter that of the error, are in
// `*out`; the summary is not. Frames are not enforced, as pickletools does not.
Status Dis(ByteSpan stream, const DisOptions& options, std::string* out);

}  // namespace pannier::codec

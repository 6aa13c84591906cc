// A pickle as text, opcode by opcode: what `python -m pickletools` (3.11) prints of it, to
// the byte. Nothing is run or built.
#pragma once

#include <span>
#include <string>

#include "pannier/base/bytes.h"
#include "pannier/base/status.h"

namespace pannier::codec {

struct DisOptions {
  int indent = 4;  // for each mark that is open
  // pickletools' argument of that name: not 0, each line ends with a note on its opcode, at this
  // column or beyond.
  int annotate = 0;
  // What is said of each opcode, by its byte; where there is none, its name is. Borrowed.
  std::span<const std::string> notes = {};
  // Limit beyond it; 0: none. The text of n marks grows with n squared.
  size_t max_bytes = 0;
};

// Appends the lines of one pickle to `*out`. Errors: Unpickling, where pickletools raises
// ValueError: the stream is cut short, an argument does not read, the stack or the memo is
// used wrongly. The lines before the error, and with the latter that of the error, are in
// `*out`; the summary is not. Frames are not enforced, as pickletools does not.
Status Dis(ByteSpan stream, const DisOptions& options, std::string* out);

}  // namespace pannier::codec

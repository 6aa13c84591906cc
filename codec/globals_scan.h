// FindGlobals() without values: a machine that knows of each value what it might be used for,
// and of a str where it stands in the stream, and nothing else. It does what pickles of protocol
// 2 and later are made of, as the decoder's machine does it, and gives up at everything that it
// cannot be sure of: other opcodes, keys whose comparison might be refused, and all errors.
#pragma once

#include "pannier/codec/globals.h"

namespace pannier::codec::internal {

// True: `*report` is what the machine would report, whose status is OK. False: ask the machine;
// `*report` is as it was. Linear in the stream. The calling thread keeps up to a MiB of memory
// for its next call.
bool ScanGlobals(ByteSpan stream, const GlobalsOptions& options, GlobalsReport* report);

// The same of every stream, from the decoder's machine.
GlobalsReport RunForGlobals(ByteSpan stream, const GlobalsOptions& options);

}  // namespace pannier::codec::internal

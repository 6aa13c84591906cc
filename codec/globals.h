// Which Python objects a pickle names: what unpickling it would import, whichever opcode does
// it. The stream is run on the pickle machine with symbols for values, so that names which
// come through the memo, or are put together on the stack, are seen as the unpickler would see
// them; nothing is imported.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "pannier/base/bytes.h"
#include "pannier/base/status.h"
#include "pannier/codec/opcodes.h"

namespace pannier::codec {

struct GlobalUse {
  std::string module;
  std::string name;             // as it is looked up: "path.join" is two lookups
  size_t offset = 0;            // of the opcode
  Opcode opcode;                // GLOBAL, INST, STACK_GLOBAL, EXT1, EXT2 or EXT4
  uint32_t extension_code = 0;  // for EXT1 to EXT4, whose module and name are empty
};

struct GlobalsReport {
  // Every use, in the order of the stream; a name twice if it is looked up twice. Names that
  // are taken from the memo are not looked up again.
  std::vector<GlobalUse> uses;
  // OK, or why the machine stopped: `uses` then ends there. An unpickler may have gone on, or
  // have done all that stands before: a stream that is not OK is not to be unpickled.
  Status status;
  size_t consumed = 0;  // bytes up to and with STOP
};

struct GlobalsOptions {
  // Names of Python 2's modules are reported as those of Python 3, as the unpickler looks
  // them up. Set it as the unpickler has it.
  bool fix_imports = true;
};

GlobalsReport FindGlobals(ByteSpan stream, const GlobalsOptions& options = {});

}  // namespace pannier::codec

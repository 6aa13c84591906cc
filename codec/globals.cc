#include "pannier/codec/globals.h"

#include "pannier/codec/machine.h"

namespace pannier::codec {

GlobalsReport FindGlobals(ByteSpan stream, const GlobalsOptions& options) {
  GlobalsReport report;
  DecodeOptions decode_options;
  decode_options.fix_imports = options.fix_imports;
  // An encoding that takes all bytes: whatever the unpickler uses, names are ASCII.
  decode_options.encoding = Str8Encoding::kLatin1;
  Document document;
  internal::MachineMemory memory;
  internal::Machine machine(stream, decode_options, &document, &memory);
  machine.ReportGlobals(&report.uses);
  report.status = machine.Run();
  report.consumed = machine.result().consumed;
  return report;
}

}  // namespace pannier::codec

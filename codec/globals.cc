#include "pannier/codec/globals.h"

#include "pannier/codec/globals_scan.h"
#include "pannier/codec/machine.h"

namespace pannier::codec {

GlobalsReport FindGlobals(ByteSpan stream, const GlobalsOptions& options) {
  GlobalsReport report;
  if (internal::ScanGlobals(stream, options, &report)) return report;
  return internal::RunForGlobals(stream, options);
}

namespace internal {

GlobalsReport RunForGlobals(ByteSpan stream, const GlobalsOptions& options) {
  GlobalsReport report;
  DecodeOptions decode_options;
  decode_options.fix_imports = options.fix_imports;
  // An encoding that takes all bytes: whatever the unpickler uses, names are ASCII.
  decode_options.encoding = Str8Encoding::kLatin1;
  Document document;
  MachineMemory memory;
  Machine machine(stream, decode_options, &document, &memory);
  machine.ReportGlobals(&report.uses);
  report.status = machine.Run();
  report.consumed = machine.result().consumed;
  return report;
}

}  // namespace internal
}  // namespace pannier::codec

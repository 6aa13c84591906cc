// Any bytes as an envelope: parsed or refused, and what was parsed can be written again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "pannier/rpc/envelope.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using pannier::rpc::EnvelopeKind;
  const pannier::ByteSpan bytes = std::as_bytes(std::span(data, size));
  const auto envelope = pannier::rpc::ParseEnvelope(bytes);
  if (!envelope.ok()) return 0;
  if (!envelope->known()) {
    (void)pannier::rpc::DescribeUnknown(*envelope);
    return 0;
  }
  (void)pannier::rpc::DeadlineOf(envelope->header, true);
  if (envelope->kind() == EnvelopeKind::kError) {
    const auto failure = pannier::rpc::ParseFailure(envelope->rest, nullptr);
    if (!failure.ok()) return 0;
    const auto again = pannier::rpc::ErrorEnvelope(envelope->header.call_id, *failure);
    if (again.span().size() > 65536 || !pannier::rpc::ParseEnvelope(again.span()).ok()) abort();
  } else if (envelope->kind() == EnvelopeKind::kRequest) {
    const auto again =
        pannier::rpc::RequestEnvelope(envelope->header.call_id, envelope->method,
                                      envelope->header.flags, pannier::Deadline::Never());
    if (pannier::rpc::ParseEnvelope(again.span())->method != envelope->method) abort();
  }
  return 0;
}

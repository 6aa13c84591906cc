#include "pannier/codec/decoder.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "pannier/codec/machine.h"
#include "pannier/codec/nesting.h"

namespace pannier::codec {
namespace {

// A guess at the arena that a stream needs, so that it grows in few steps. Memory that is
// never touched costs nothing.
size_t ExpectedArena(size_t stream_size) {
  constexpr size_t kMost = size_t{64} << 20;
  return std::min(stream_size > kMost / 4 ? kMost : 4 * stream_size + 512, kMost);
}

}  // namespace

struct Decoder::Scratch {
  internal::MachineMemory memory;
};

Decoder::Decoder() = default;
Decoder::~Decoder() = default;
Decoder::Decoder(Decoder&&) noexcept = default;
Decoder& Decoder::operator=(Decoder&&) noexcept = default;

StatusOr<DecodeResult> Decoder::Decode(ByteSpan stream, const DecodeOptions& options,
                                       Document* document) {
  document->Clear();
  ClearMemo();
  StatusOr<DecodeResult> result = Run(stream, options, nullptr, document);
  if (!result.ok()) document->Clear();
  return result;
}

StatusOr<DecodeResult> Decoder::Visit(ByteSpan stream, const DecodeOptions& options,
                                      Visitor& visitor, Document* document) {
  document->Clear();
  ClearMemo();
  StatusOr<DecodeResult> result = Run(stream, options, &visitor, document);
  if (!result.ok()) document->Clear();
  return result;
}

void Decoder::ClearMemo() {
  if (scratch_ != nullptr) scratch_->memory.memo.Clear();
}

StatusOr<DecodeResult> Decoder::DecodeNext(ByteSpan stream, const DecodeOptions& options,
                                           Document* document) {
  return Run(stream, options, nullptr, document);
}

StatusOr<DecodeResult> Decoder::Run(ByteSpan stream, const DecodeOptions& options, Visitor* visitor,
                                    Document* document) {
  if (scratch_ == nullptr) scratch_ = std::make_unique<Scratch>();
  if (visitor == nullptr) document->arena_.Expect(ExpectedArena(stream.size()));
  document->set_root(Value::None());
  const bool unchecked_before = document->has_unchecked_text_;
  internal::Machine machine(stream, options, document, &scratch_->memory);
  if (visitor != nullptr) machine.VisitWith(visitor);
  PANNIER_RETURN_IF_ERROR(machine.Run());
  // The machine checks what it takes; hooks may have made more.
  const bool hooks = options.persistent_load || options.classes != nullptr || visitor != nullptr;
  if (!hooks) document->has_unchecked_text_ = unchecked_before;
  if (options.limits.depth != 0 &&
      internal::NestingExceeds(document->root(), document->id_limit(), options.limits.depth)) {
    document->set_root(Value::None());
    return MakeError(ErrorKind::kLimit,
                     absl::StrCat("pickle nested deeper than ", options.limits.depth));
  }
  return machine.result();
}

StatusOr<Document> Decode(ByteSpan stream, const DecodeOptions& options) {
  Document document;
  Decoder decoder;
  PANNIER_RETURN_IF_ERROR(decoder.Decode(stream, options, &document).status());
  return document;
}

}  // namespace pannier::codec

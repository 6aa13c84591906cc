#include "pannier/codec/encoder.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "pannier/codec/pickler.h"

namespace pannier::codec {

struct Encoder::Scratch {
  internal::PicklerMemory memory;
};

Encoder::Encoder() = default;
Encoder::~Encoder() = default;
Encoder::Encoder(Encoder&&) noexcept = default;
Encoder& Encoder::operator=(Encoder&&) noexcept = default;

StatusOr<BufferPlace> OutOfBand(const Buffer&) { return BufferPlace::kOutOfBand; }

Status Encoder::Encode(const Document& document, const Value& value, const EncodeOptions& options,
                       Encoded* out) {
  out->stream.clear();
  out->buffers.clear();
  if (scratch_ != nullptr) {
    scratch_->memory.memo.Clear();
    scratch_->memory.extra.Clear();
    scratch_->memory.extra.next_id_ = internal::PicklerMemo::kExtra + 1;
  }
  return EncodeNext(document, value, options, out);
}

Status Encoder::EncodeNext(const Document& document, const Value& value,
                           const EncodeOptions& options, Encoded* out) {
  if (options.protocol < 0 || options.protocol > kHighestProtocol) {
    return MakeError(ErrorKind::kInvalidArgument,
                     absl::StrCat("pickle protocol ", options.protocol, " is not one of 0 to ",
                                  kHighestProtocol));
  }
  if (options.place_buffer && options.protocol < 5) {
    return MakeError(ErrorKind::kInvalidArgument, "place_buffer needs protocol 5");
  }
  if (document.id_limit() >= internal::PicklerMemo::kExtra) {
    return MakeError(ErrorKind::kLimit, "a document of more than 2^31 objects cannot be pickled");
  }
  if (scratch_ == nullptr) {
    scratch_ = std::make_unique<Scratch>();
    scratch_->memory.extra.next_id_ = internal::PicklerMemo::kExtra + 1;
  }
  internal::Pickler pickler(document, options, &scratch_->memory, out);
  return pickler.Dump(value);
}

StatusOr<Encoded> Encode(const Document& document, const Value& value,
                         const EncodeOptions& options) {
  Encoded encoded;
  Encoder encoder;
  PANNIER_RETURN_IF_ERROR(encoder.Encode(document, value, options, &encoded));
  return encoded;
}

StatusOr<Encoded> Encode(const Document& document, const EncodeOptions& options) {
  return Encode(document, document.root(), options);
}

}  // namespace pannier::codec

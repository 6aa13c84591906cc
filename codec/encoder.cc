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
  ClearMemo();
  return EncodeNext(document, value, options, out);
}

void Encoder::ClearMemo() {
  if (scratch_ == nullptr) return;
  scratch_->memory.memo.Clear();
  scratch_->memory.extra.Clear();
  scratch_->memory.extra.next_id_ = internal::PicklerMemo::kExtra + 1;
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

Value NewReduction(Document& made, const Reduction& reduction) {
  const Value& callee = reduction.callee;
  const std::span<const Value> args =
      reduction.args.is(Kind::kTuple) ? reduction.args.items() : std::span<const Value>();
  Value object;
  if (callee.IsGlobal("copyreg", "__newobj__") && !args.empty()) {
    object = made.NewObject(args[0], made.NewTuple(args.subspan(1)));
  } else if (callee.IsGlobal("copyreg", "__newobj_ex__") && args.size() == 3) {
    object = made.NewObjectEx(args[0], args[1], args[2]);
  } else {
    object = made.NewReduce(callee, reduction.args);
  }
  made.AddAppends(object, reduction.items);
  for (const DictEntry& entry : reduction.entries) {
    const Value pair[2] = {entry.key, entry.value};
    made.AddSetItems(object, pair);
  }
  if (reduction.state && reduction.setter) {
    made.AddSetter(object, *reduction.setter, *reduction.state);
  } else if (reduction.state) {
    made.AddState(object, *reduction.state);
  }
  return object;
}

StatusOr<Encoded> EncodeValue(const Document& document, const Value& value,
                              const EncodeOptions& options) {
  Encoded encoded;
  Encoder encoder;
  PANNIER_RETURN_IF_ERROR(encoder.Encode(document, value, options, &encoded));
  return encoded;
}

StatusOr<Encoded> Encode(const Document& document, const EncodeOptions& options) {
  return EncodeValue(document, document.root(), options);
}

}  // namespace pannier::codec

#include "pannier/codec/dumps.h"

namespace pannier::codec {

StatusOr<BufferPlace> InBand(const Buffer&) { return BufferPlace::kInBand; }

namespace internal {

StatusOr<Encoded> EncodeBuilt(const Document& document, const Builder& builder, const Value& value,
                              const EncodeOptions& options) {
  PANNIER_RETURN_IF_ERROR(builder.status());
  if (options.place_buffer || options.protocol < 5) return Encode(document, value, options);
  EncodeOptions out_of_band = options;
  out_of_band.place_buffer = OutOfBand;
  return Encode(document, value, out_of_band);
}

}  // namespace internal
}  // namespace pannier::codec

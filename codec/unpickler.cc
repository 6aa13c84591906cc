#include "pannier/codec/unpickler.h"

#include "absl/strings/str_cat.h"

namespace pannier::codec {

StatusOr<Value> Unpickler::Load() {
  if (!status_.ok()) return status_;
  if (at_end()) {
    return MakeError(ErrorKind::kUnpickling,
                     absl::StrCat("no pickle is left after byte ", offset_));
  }
  DecodeOptions options = options_;
  if (options.buffers) options.buffers = options.buffers->subspan(buffers_used_);
  StatusOr<DecodeResult> result =
      decoder_.DecodeNext(stream_.subspan(offset_), options, &document_);
  if (!result.ok()) {
    status_ = offset_ == 0 ? result.status()
                           : Annotate(result.status(),
                                      absl::StrCat("in the pickle that begins at byte ", offset_));
    return status_;
  }
  offset_ += result->consumed;
  buffers_used_ += result->buffers_used;
  options_.stream_owner = Buffer();  // the Document holds it since the first
  return document_.root();
}

}  // namespace pannier::codec

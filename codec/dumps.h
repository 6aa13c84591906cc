// From C++ values to a stream and its buffers: pickle.dumps for typed values.
//
// Arrays and Buffers go out of band, whatever their size, unless the options place them
// otherwise: Encoded::buffers share their memory, so leave it unchanged until the buffers are
// sent. What maps to what is said at the head of convert_scalar.h, convert_container.h,
// convert_time.h, convert_array.h, convert_class.h, convert_dict.h and convert_value.h. Errors:
// Pickling (what Python or the protocol has no value for), InvalidArgument (options, unhashable
// keys), Limit.
#pragma once

#include <tuple>
#include <utility>

#include "pannier/codec/convert.h"
#include "pannier/codec/convert_array.h"
#include "pannier/codec/convert_class.h"
#include "pannier/codec/convert_collections.h"
#include "pannier/codec/convert_container.h"
#include "pannier/codec/convert_dict.h"
#include "pannier/codec/convert_dtype.h"
#include "pannier/codec/convert_library.h"
#include "pannier/codec/convert_numpy.h"
#include "pannier/codec/convert_scalar.h"
#include "pannier/codec/convert_time.h"
#include "pannier/codec/convert_value.h"
#include "pannier/codec/direct_writer.h"
#include "pannier/codec/document.h"
#include "pannier/codec/encoder.h"

namespace pannier::codec {

// For EncodeOptions::place_buffer: everything in the stream.
StatusOr<BufferPlace> InBand(const Buffer& buffer);

namespace internal {
StatusOr<Encoded> EncodeBuilt(const Document& document, const Builder& builder, const Value& value,
                              const EncodeOptions& options);
// The options ask for nothing that DirectWriter does not do. Where a buffer goes is nothing to it.
inline bool AllowsDirect(const EncodeOptions& options) {
  return options.protocol == kHighestProtocol && !options.fast && options.max_stream_bytes == 0 &&
         !options.persistent_id && !options.reducer_override && !options.sink;
}
}  // namespace internal

template <class T>
StatusOr<Encoded> Dumps(const T& object, const EncodeOptions& options = {}) {
  if constexpr (kWritesDirectly<T>) {
    DirectWriter out;
    if (internal::AllowsDirect(options) && internal::DirectWriting<T>::Write(out, object)) {
      return Encoded{out.Finish(), {}};
    }
  }
  Document document;
  Builder builder(document, options.protocol);
  const Value value = To(object, builder);
  return internal::EncodeBuilt(document, builder, value, options);
}

// Several values as one tuple: the arguments of a call.
template <class... A>
StatusOr<Encoded> DumpsArguments(const EncodeOptions& options, const A&... arguments) {
  return Dumps(std::tuple<const A&...>(arguments...), options);
}

}  // namespace pannier::codec

// From a stream, or a decoded Document, to C++ values: pickle.loads with a type.
//
//   StatusOr<std::map<std::string, ArrayView<const float>>> frames =
//       codec::Loads<std::map<std::string, ArrayView<const float>>>(stream, buffers);
//
// What maps to what is said at the head of convert_scalar.h, convert_container.h,
// convert_time.h, convert_array.h, convert_class.h, convert_dict.h and convert_value.h. Errors:
// Unpickling, with the way to the culprit ("value["frames"][3]: expected float32 array, found int
// 5"); Limit. Arrays and Buffers of out-of-band buffers hold them; nothing else is left of the
// message.
#pragma once

#include <optional>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>

#include "pannier/codec/convert.h"
#include "pannier/codec/convert_array.h"
#include "pannier/codec/convert_class.h"
#include "pannier/codec/convert_collections.h"
#include "pannier/codec/convert_container.h"
#include "pannier/codec/convert_dict.h"
#include "pannier/codec/convert_direct.h"
#include "pannier/codec/convert_dtype.h"
#include "pannier/codec/convert_library.h"
#include "pannier/codec/convert_numpy.h"
#include "pannier/codec/convert_scalar.h"
#include "pannier/codec/convert_time.h"
#include "pannier/codec/convert_value.h"
#include "pannier/codec/decoder.h"
#include "pannier/codec/document.h"

namespace pannier::codec {

// `value`, which stands in `document`, as a T. A T that looks into the Document (string_view,
// ByteSpan, Value) is good as long as that and its stream live.
template <class T>
StatusOr<T> As(const Document& document, const Value& value, const ConvertOptions& options = {}) {
  Conversion conversion(document, options);
  return From<T>(value, Place(conversion, "value"));
}
template <class T>
StatusOr<T> As(const Document& document, const ConvertOptions& options = {}) {
  return As<T>(document, document.root(), options);
}

namespace internal {
Status CheckArgumentCount(const Document& document, size_t count);

template <class Tuple, size_t... I>
StatusOr<Tuple> ArgumentsFrom(const Document& document, [[maybe_unused]] Conversion& conversion,
                              std::index_sequence<I...>) {
  [[maybe_unused]] const auto items = document.root().items();
  std::tuple<StatusOr<std::tuple_element_t<I, Tuple>>...> parts{
      From<std::tuple_element_t<I, Tuple>>(items[I], Place::Argument(conversion, I))...};
  Status status;
  (..., (status = status.ok() ? std::get<I>(parts).status() : status));
  if (!status.ok()) return status;
  return Tuple(*std::move(std::get<I>(parts))...);
}

// The value, if the direct way leads to one (convert_direct.h).
template <class T>
std::optional<T> LoadDirect(ByteSpan stream, const DecodeOptions& options) {
  if (!DirectReader::Allows(stream, options)) return std::nullopt;
  DirectReader in(stream);
  std::optional<T> object(std::in_place);
  if (!in.Begin() || !Convert<T>::ReadDirect(in, &*object) || !in.End()) return std::nullopt;
  return object;
}
}  // namespace internal

// A call's arguments: the Document's root is a tuple, and `Tuple` a std::tuple of as many
// types. Errors are InvalidArgument: "expected 2 arguments, found 3", "argument 0["frames"]:
// expected ...".
template <class Tuple>
StatusOr<Tuple> ArgumentsAs(const Document& document, const ConvertOptions& options = {}) {
  constexpr size_t kCount = std::tuple_size_v<Tuple>;
  PANNIER_RETURN_IF_ERROR(internal::CheckArgumentCount(document, kCount));
  Conversion conversion(document, options, ErrorKind::kInvalidArgument);
  return internal::ArgumentsFrom<Tuple>(document, conversion, std::make_index_sequence<kCount>());
}

// The same of their stream, where they can be read with no Document in between; else Decode it.
template <class Tuple>
std::optional<Tuple> ArgumentsDirectly([[maybe_unused]] ByteSpan stream) {
  if constexpr (kReadsDirectly<Tuple>) return internal::LoadDirect<Tuple>(stream, DecodeOptions());
  return std::nullopt;
}

// The value that `stream` describes. A Document holds a copy of the stream. `buffers` are
// those of the message, unless the options name others; what is left of them is not looked at.
template <class T>
StatusOr<T> Loads(ByteSpan stream, std::span<const Buffer> buffers = {},
                  const DecodeOptions& options = {}) {
  DecodeOptions decode = options;
  if (!decode.buffers) decode.buffers = buffers;
  if constexpr (std::is_same_v<T, Document>) {
    if (decode.stream_owner.data() == nullptr) {
      decode.stream_owner = Buffer::CopyOf(stream);
      stream = decode.stream_owner.span();
    }
    return Decode(stream, decode);
  } else {
    static_assert(!kBorrowsDocument<T>,
                  "this type looks into the Document, which ends with Loads: Decode() the stream "
                  "and use As<T>(document), or take an owning type (std::string, Document)");
    if constexpr (kReadsDirectly<T>) {
      std::optional<T> object = internal::LoadDirect<T>(stream, decode);
      if (object) return *std::move(object);
    }
    PANNIER_ASSIGN_OR_RETURN(const Document document, Decode(stream, decode));
    ConvertOptions convert;
    convert.message_bytes = stream.size();
    return As<T>(document, convert);
  }
}

}  // namespace pannier::codec

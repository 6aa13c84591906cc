// The parts of the typed level that are no templates.
#include <utility>

#include "absl/strings/str_cat.h"
#include "pannier/rpc/client.h"
#include "pannier/rpc/method.h"

namespace pannier {
namespace rpc {

StatusOr<codec::Document> DecodeArguments(RawCall& call) {
  if (call.keywords) {
    return MakeError(ErrorKind::kInvalidArgument,
                     "this method is C++ and takes no keyword arguments; pass them by position");
  }
  const std::vector<Buffer> buffers = std::exchange(call.buffers, {});
  const Buffer stream = std::exchange(call.stream, {});
  codec::DecodeOptions options;
  options.buffers = buffers;
  options.stream_owner = stream;
  return codec::Decode(stream.span(), options);
}

Status ArgumentError(std::string_view method, const Status& status) {
  return Annotate(status, absl::StrCat(ToAbsl(method), "()"));
}

StatusOr<RawResult> ResultOf(StatusOr<codec::Encoded> encoded) {
  if (!encoded.ok()) return Annotate(encoded.status(), "the result");
  return RawResult{BufferOf(std::move(encoded->stream)), std::move(encoded->buffers)};
}

RawHandler HandlerOfDynamic(DynamicHandler handler) {
  return [handler = std::move(handler)](RawCall& call) -> StatusOr<RawResult> {
    StatusOr<codec::Document> document = DecodeArguments(call);
    if (!document.ok()) return ArgumentError(call.method, document.status());
    PANNIER_ASSIGN_OR_RETURN(const codec::Value result, handler(*document));
    codec::EncodeOptions options;
    options.place_buffer = codec::OutOfBand;
    return ResultOf(codec::Encode(*document, result, options));
  };
}

}  // namespace rpc

StatusOr<RawResult> Client::CallEncoded(const CallOptions& options, std::string_view method,
                                        const StatusOr<codec::Encoded>& arguments) {
  if (!arguments.ok()) {
    return Annotate(arguments.status(), absl::StrCat("arguments of '", ToAbsl(method), "'"));
  }
  return CallRaw(method, {.stream = AsBytes(arguments->stream), .buffers = arguments->buffers},
                 options);
}

Status Client::ResultError(std::string_view method, const Status& status) const {
  return Annotate(status, absl::StrCat("result of '", ToAbsl(method), "' at ", info().endpoint));
}

StatusOr<codec::Document> Client::CallDynamic(const CallOptions& options, std::string_view method,
                                              const codec::Document& arguments) {
  if (!arguments.root().is(codec::Kind::kTuple)) {
    return MakeError(ErrorKind::kInvalidArgument,
                     absl::StrCat("arguments of '", ToAbsl(method), "': the document's root is a ",
                                  ToAbsl(codec::KindName(arguments.root().kind())),
                                  ", and has to be the tuple of arguments"));
  }
  codec::EncodeOptions encode;
  encode.place_buffer = codec::OutOfBand;
  PANNIER_ASSIGN_OR_RETURN(const RawResult result,
                           CallEncoded(options, method, codec::Encode(arguments, encode)));
  return Decode<codec::Document>(method, result);
}

}  // namespace pannier

// From a C++ callable to a RawHandler: arguments are unpickled as the types in its signature,
// and what it returns is pickled. Used through Server::Method.
//
// Parameters are taken by value or by const reference, of any type that codec/convert.h maps.
// ArrayView, string_view and ByteSpan are fine as parameters: what they look into lives until
// the result is pickled, and an ArrayView may be kept longer, as it holds its buffer. Results
// are a T, StatusOr<T>, Status or void; the last two become None.
#pragma once

#include <functional>
#include <memory>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

#include "pannier/base/status.h"
#include "pannier/codec/dumps.h"
#include "pannier/codec/loads.h"
#include "pannier/rpc/raw.h"

namespace pannier::rpc {

// The arguments of `call`, from which it takes stream and buffers. Errors: InvalidArgument
// (keyword arguments), Unpickling, Limit.
StatusOr<codec::Document> DecodeArguments(RawCall& call);
// Error of the method's arguments, for its caller: "scale(): argument 1: expected ...".
Status ArgumentError(std::string_view method, const Status& status);
StatusOr<RawResult> ResultOf(StatusOr<codec::Encoded> encoded);

template <class T>
inline constexpr bool kIsStatusOr = false;
template <class T>
inline constexpr bool kIsStatusOr<StatusOr<T>> = true;

// What a parameter of type A is unpickled as.
template <class A>
struct ParameterOf {
  static_assert(!std::is_lvalue_reference_v<A> || std::is_const_v<std::remove_reference_t<A>>,
                "a method takes its parameters by value or by const reference");
  using Type = std::remove_cvref_t<A>;
};

template <class R>
StatusOr<RawResult> EncodeResult(const R& result) {
  if constexpr (std::is_same_v<R, Status>) {
    if (!result.ok()) return result;
    return EncodeResult(nullptr);
  } else if constexpr (kIsStatusOr<R>) {
    if (!result.ok()) return result.status();
    return EncodeResult(*result);
  } else {
    return ResultOf(codec::Dumps(result));
  }
}

template <class F, class R, class... A>
RawHandler MakeHandler(std::shared_ptr<F> function, const std::function<R(A...)>*) {
  return [function = std::move(function)](RawCall& call) -> StatusOr<RawResult> {
    using Arguments = std::tuple<typename ParameterOf<A>::Type...>;
    StatusOr<codec::Document> document = DecodeArguments(call);
    if (!document.ok()) return ArgumentError(call.method, document.status());
    StatusOr<Arguments> arguments = codec::ArgumentsAs<Arguments>(*document);
    if (!arguments.ok()) return ArgumentError(call.method, arguments.status());
    if constexpr (std::is_void_v<R>) {
      std::apply(*function, *std::move(arguments));
      return EncodeResult(nullptr);
    } else {
      return EncodeResult<std::remove_cvref_t<R>>(std::apply(*function, *std::move(arguments)));
    }
  };
}

// A method whose types are known at run time only: given the Document whose root is the tuple
// of arguments, it returns a Value of that Document, into which it may put new ones.
using DynamicHandler = std::function<StatusOr<codec::Value>(codec::Document& arguments)>;
RawHandler HandlerOfDynamic(DynamicHandler handler);

template <class F>
concept HasOneSignature = requires(F function) {
  std::function{std::move(function)};
};

template <class F>
RawHandler HandlerOf(F function) {
  static_assert(HasOneSignature<F>,
                "a method's parameters are read from its signature: give a function or a function "
                "object with one operator() that is no template (no `auto` parameters)");
  using Signature = decltype(std::function{std::declval<F>()});
  return MakeHandler(std::make_shared<F>(std::move(function)),
                     static_cast<const Signature*>(nullptr));
}

}  // namespace pannier::rpc

// From a C++ callable to a RawHandler: arguments are unpickled as the types in its signature, and
// what it returns is pickled. Used through Server::Method.
//
// Parameters are taken by value or by const reference, of any type that codec/convert.h maps.
// ArrayView, string_view and ByteSpan are fine as parameters: what they look into lives until the
// result is pickled, and an ArrayView may be kept longer, as it holds its buffer. Results are a T,
// StatusOr<T>, Status or void; the last two become None. A first parameter CallContext& is not the
// caller's: it is the call.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

#include "pannier/base/status.h"
#include "pannier/codec/dumps.h"
#include "pannier/codec/loads.h"
#include "pannier/rpc/call_context.h"
#include "pannier/rpc/raw.h"

namespace pannier::rpc {

// The arguments of `call`, from which it takes stream and buffers. Errors: InvalidArgument (keyword
// arguments), Unpickling, Limit.
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

// Calls `function` with the caller's arguments, as the types A, behind those of `context`.
template <class R, class... A, class F, class... C>
StatusOr<RawResult> Apply(F& function, RawCall& call, C&... context) {
  using Arguments = std::tuple<typename ParameterOf<A>::Type...>;
  const auto run = [&](auto&&... argument) -> R {
    return function(context..., std::forward<decltype(argument)>(argument)...);
  };
  const auto answer = [&](Arguments&& arguments) -> StatusOr<RawResult> {
    if constexpr (std::is_void_v<R>) {
      std::apply(run, std::move(arguments));
      return EncodeResult(nullptr);
    } else {
      return EncodeResult<std::remove_cvref_t<R>>(std::apply(run, std::move(arguments)));
    }
  };
  if (!call.keywords) {
    std::optional<Arguments> arguments = codec::ArgumentsDirectly<Arguments>(call.stream.span());
    if (arguments) return answer(*std::move(arguments));
  }
  StatusOr<codec::Document> document = DecodeArguments(call);
  if (!document.ok()) return ArgumentError(call.method, document.status());
  StatusOr<Arguments> arguments = codec::ArgumentsAs<Arguments>(*document);
  if (!arguments.ok()) return ArgumentError(call.method, arguments.status());
  return answer(*std::move(arguments));
}

template <class T>
std::string NameOfResult() {
  if constexpr (std::is_void_v<T> || std::is_same_v<T, Status>) {
    return "None";
  } else if constexpr (kIsStatusOr<T>) {
    return NameOfResult<typename T::value_type>();
  } else {
    return codec::NameOf<T>();
  }
}
// "(float32, str) -> None"
template <class R, class... A>
std::string TextOf() {
  std::string text = "(";
  (text.append(text.size() > 1 ? ", " : "").append(codec::NameOf<typename ParameterOf<A>::Type>()),
   ...);
  return text + ") -> " + NameOfResult<std::remove_cvref_t<R>>();
}

// A callable's signature, and what introspection says of it.
template <class Function>
struct Signature;
template <class R, class... A>
struct Signature<std::function<R(A...)>> {
  template <class F>
  static StatusOr<RawResult> Call(F& function, RawCall& call) {
    return Apply<R, A...>(function, call);
  }
  static std::string Text() { return TextOf<R, A...>(); }
};
template <class R, class... A>
struct Signature<std::function<R(CallContext&, A...)>> {
  template <class F>
  static StatusOr<RawResult> Call(F& function, RawCall& call) {
    const std::shared_ptr<CallContext> context = call.context;
    return Apply<R, A...>(function, call, *context);
  }
  static std::string Text() { return TextOf<R, A...>(); }
};

// A method whose types are known at run time only: given the Document whose root is the tuple of
// arguments, it returns a Value of that Document, into which it may put new ones.
using DynamicHandler = std::function<StatusOr<codec::Value>(codec::Document& arguments)>;
RawHandler HandlerOfDynamic(DynamicHandler handler);

template <class F>
concept HasOneSignature = requires(F function) {
  std::function{std::move(function)};
};

template <class F>
RawHandler HandlerOf(F function) {
  static_assert(HasOneSignature<F>,
                "a method's parameters are read from its signature: give a function or a "
                "function "
                "object with one operator() that is no template (no `auto` parameters)");
  return [function = std::make_shared<F>(std::move(function))](RawCall& call) {
    return Signature<decltype(std::function{std::declval<F>()})>::Call(*function, call);
  };
}

template <class F>
std::string SignatureOf() {
  if constexpr (HasOneSignature<F>) {
    return Signature<decltype(std::function{std::declval<F>()})>::Text();
  } else {
    return {};  // HandlerOf says why it does not compile
  }
}

}  // namespace pannier::rpc

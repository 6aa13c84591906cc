#include "pannier/rpc/invoke.h"

#include <cxxabi.h>

#include <cstdlib>
#include <exception>
#include <memory>
#include <string>
#include <typeinfo>

#include "pannier/rpc/remote_error.h"

namespace pannier::rpc {
namespace {

std::string NameOf(const std::type_info& type) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> name(
      abi::__cxa_demangle(type.name(), nullptr, nullptr, &status), &std::free);
  return status == 0 ? name.get() : type.name();
}

}  // namespace

StatusOr<RawResult> Invoke(const RawHandler& handler, RawCall& call) {
  try {
    return handler(call);
  } catch (const std::exception& thrown) {
    return MakeRemoteError({.qualname = NameOf(typeid(thrown)), .message = thrown.what()});
  } catch (abi::__forced_unwind&) {
    throw;  // the thread is being cancelled
  } catch (...) {
    const std::type_info* type = abi::__cxa_current_exception_type();
    return MakeRemoteError({.qualname = type != nullptr ? NameOf(*type) : "unknown exception",
                            .message = "no std::exception, so it says no more"});
  }
}

}  // namespace pannier::rpc

#include "pannier/codec/instance_call.h"

#include "absl/strings/str_cat.h"
#include "pannier/base/status.h"

namespace pannier::codec::internal {
namespace {

// The name of a Global; also of an attribute of one, as protocols 0 to 3 write dotted names:
// getattr(Outer, "Inner").
bool NameOf(Value callee, InstanceCall* call) {
  constexpr int kMostDots = 16;
  std::string attributes;
  for (int dots = 0; callee.is(Kind::kReduce) && dots < kMostDots; ++dots) {
    const Value args = callee.args();
    if (!callee.callee().IsGlobal("builtins", "getattr") || !args.is(Kind::kTuple) ||
        args.size() != 2 || !args.items()[1].is(Kind::kStr)) {
      return false;
    }
    attributes = absl::StrCat(".", ToAbsl(args.items()[1].text()), attributes);
    callee = args.items()[0];
  }
  if (!callee.is(Kind::kGlobal)) return false;
  call->module = callee.module_name();
  call->name = absl::StrCat(ToAbsl(callee.global_name()), attributes);
  return true;
}

}  // namespace

std::optional<InstanceCall> InstanceCallOf(const Value& object) {
  if (object.kind() < Kind::kReduce || object.kind() > Kind::kInstance) return std::nullopt;
  if (!object.args().is(Kind::kTuple)) return std::nullopt;
  Value callee = object.callee();
  InstanceCall call;
  call.args = object.args().items();
  if (object.is(Kind::kNewObjEx)) call.kwargs = object.kwargs();
  if (object.is(Kind::kReduce) && callee.is(Kind::kGlobal) && !call.args.empty()) {
    const std::span<const Value> args = call.args;
    if (callee.IsGlobal("copyreg", "__newobj__")) {
      callee = args[0];
      call.args = args.subspan(1);
    } else if (callee.IsGlobal("copyreg", "__newobj_ex__") && args.size() == 3 &&
               args[1].is(Kind::kTuple)) {
      callee = args[0];
      call.args = args[1].items();
      call.kwargs = args[2];
    } else if (callee.IsGlobal("copyreg", "_reconstructor") && args.size() == 3) {
      // (class, object, None), or (class, base, what the base is made of)
      callee = args[0];
      call.args = args[2].is_none() ? std::span<const Value>() : args.subspan(2);
    }
  }
  if (!NameOf(callee, &call)) return std::nullopt;
  return call;
}

}  // namespace pannier::codec::internal

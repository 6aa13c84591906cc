// What the caller of an encoder may hang into it, and the way to what cannot be pickled.
#include <string>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "pannier/codec/instance_call.h"
#include "pannier/codec/pickler.h"
#include "pannier/codec/repr.h"

namespace pannier::codec {
namespace {

constexpr char kPathPayload[] = "pannier/pickling_path";

}  // namespace

std::string PicklingPathOf(const Status& status) {
  const auto payload = status.GetPayload(kPathPayload);
  return payload ? std::string(*payload) : std::string();
}

namespace internal {
namespace {

// Reduced objects inside one another, after which a reducer is taken to make new ones for ever.
constexpr size_t kDeepestReduction = size_t{1} << 17;

// Steps of a path that are shown at either end of it.
constexpr size_t kShownSteps = 12;

std::string Key(const Value& key) {
  return absl::StrCat("[", Repr(key, {.max_bytes = 60, .max_depth = 3}), "]");
}

// The field of a call that is being written: callee, arguments, keyword arguments.
const char* CallStep(Opcode opcode, size_t field) {
  constexpr const char* kReduce[] = {".__reduce__()[0]", ".__reduce__()[1]", ""};
  constexpr const char* kNewObj[] = {".__class__", ".__getnewargs__()", ""};
  constexpr const char* kNewObjEx[] = {".__class__", ".__getnewargs_ex__()[0]",
                                       ".__getnewargs_ex__()[1]"};
  if (opcode == Opcode::kNewObj) return kNewObj[field];
  return opcode == Opcode::kNewObjEx ? kNewObjEx[field] : kReduce[field];
}

std::string StepOf(const PickleTask& task) {
  const auto done = static_cast<size_t>(task.next - task.begin);  // the last one is being written
  switch (task.kind) {
    case PickleTask::Kind::kItems:
      if (done == 0) return "";
      if (task.stride == 1) return absl::StrCat("[", done - 1, "]");
      // A key, or the value of one.
      return done % 2 == 1 ? absl::StrCat(".keys()[", done / 2, "]") : Key(task.next[-2]);
    case PickleTask::Kind::kTuple:
    case PickleTask::Kind::kFrozenSet:
      return done == 0 ? "" : absl::StrCat("[", done - 1, "]");
    case PickleTask::Kind::kCall:
      return done == 0 ? "" : CallStep(task.opcode, done - 1);
    case PickleTask::Kind::kInstance:
      return done == 0 ? ".__class__" : absl::StrCat(".__getinitargs__()[", done - 1, "]");
    case PickleTask::Kind::kPersistent:
      return ".persistent_id";
    case PickleTask::Kind::kParts:
      if (task.step != 2) return "";
      return task.state_is_dict ? ".__dict__" : ".__getstate__()";
    case PickleTask::Kind::kSetter:
      return task.step == 1 ? ".__reduce__()[5]" : task.step == 3 ? ".__reduce__()[2]" : "";
  }
  return "";
}

}  // namespace

std::string Pickler::Path() const {
  std::string path = "value";
  for (size_t i = 0; i < tasks_.size(); ++i) {
    if (i == kShownSteps && tasks_.size() > 2 * kShownSteps) {
      path += "...";
      i = tasks_.size() - kShownSteps;
    }
    path += StepOf(tasks_[i]);
  }
  return path;
}

bool Pickler::FailWith(const Status& status) {
  const std::string path = Path();
  status_ = Status(status.code(), absl::StrCat(status.message(), ", in ", path));
  status.ForEachPayload(
      [&](absl::string_view url, const absl::Cord& payload) { status_.SetPayload(url, payload); });
  status_.SetPayload(kPathPayload, absl::Cord(path));
  return false;
}

bool Pickler::AskForId(const Value& value, bool* done) {
  const StatusOr<std::optional<Value>> id = options_.persistent_id(value, extra_);
  if (!id.ok()) return FailWith(id.status());
  if (!id->has_value()) return true;
  *done = true;
  output_.Boundary();
  return SavePersistent(extra_.NewPersistent(**id));
}

bool Pickler::AskToReduce(const Value& value, bool* done) {
  if (value.is(Kind::kPersistent) || value.is(Kind::kExtension)) return true;
  StatusOr<std::optional<Value>> content = std::optional<Value>();
  if (options_.reducer_override) content = options_.reducer_override(value, extra_);
  if (content.ok() && !content->has_value() && options_.dispatch != nullptr) {
    const std::optional<InstanceCall> call = InstanceCallOf(value);
    const auto found =
        call ? options_.dispatch->find(std::pair(std::string(call->module), call->name))
             : options_.dispatch->end();
    if (found != options_.dispatch->end()) content = found->second(value, extra_);
  }
  if (!content.ok()) return FailWith(content.status());
  if (!content->has_value() || Is(**content, value)) return true;
  *done = true;
  return SaveReduced(value, **content);
}

bool Pickler::SaveReduced(const Value& value, const Value& content) {
  if (open_reductions_ == kDeepestReduction) {
    return Fail(absl::StrCat("reducers' results ", kDeepestReduction, " deep inside one another"));
  }
  switch (content.kind()) {
    case Kind::kGlobal: {
      // Written and memoised as itself, without being asked about again.
      if (!memo_.Knows(content.id())) return Fail("a value of another document");
      if (!InMemo(content)) return SaveGlobal(content);
      MemoGet(content);
      return true;
    }
    case Kind::kReduce:
      PushCall(value, ValueAccess::Node<ObjectNode>(content)->fields, 2, Opcode::kReduce, content);
      break;
    case Kind::kNewObj:
    case Kind::kNewObjEx:
      if (!SaveNewObject(value, content)) return false;
      break;
    default:
      return Fail(absl::StrCat("a reducer returned a value of kind ",
                               ToAbsl(KindName(content.kind())),
                               ", and not a reduction or a global"));
  }
  tasks_.back().reduced = true;
  ++open_reductions_;
  return true;
}

Value Pickler::OneStr(const Value& text) const {
  if ((text.id() & PicklerMemo::kExtra) == 0) return text;
  const Value* same = document_.FindStr(text.text());
  return same != nullptr ? *same : text;
}

// 0: it is written by name. What is done to a global cannot be done to a code.
uint32_t Pickler::ExtensionCode(const Value& global) const {
  if (options_.extensions == nullptr || protocol_ < 2 || !global.parts().empty()) return 0;
  return options_.extensions->CodeOf(global.module_name(), global.global_name());
}

}  // namespace internal
}  // namespace pannier::codec

#include "safe_stream.h"

#include <span>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "key_cost.h"
#include "pannier/codec/document.h"
#include "pannier/codec/globals.h"
#include "pannier/codec/position.h"
#include "safe_dtype.h"
#include "safe_rules.h"

namespace pannier::python {
namespace {

using codec::Document;
using codec::Kind;
using codec::Part;
using codec::PartKind;
using codec::Value;

// Bytes that a call may copy of an argument or a state, roughly.
uint64_t Weight(const Value& value, int depth = 0) {
  switch (value.kind()) {
    case Kind::kStr:
    case Kind::kBytes:
    case Kind::kByteArray:
    case Kind::kStr8:
    case Kind::kBigInt:
      return value.text().size();
    case Kind::kTuple: {
      uint64_t sum = 16 * value.size();
      if (depth < 2) {
        for (const Value& item : value.items()) sum += Weight(item, depth + 1);
      }
      return sum;
    }
    case Kind::kList:
    case Kind::kDict:
    case Kind::kSet:
    case Kind::kFrozenSet:
      return 16 * value.size();
    default:
      return 16;
  }
}

// Looks at everything that an unpickler would make of a stream, each object once.
class Checker {
 public:
  Checker(const SafeNames& names, size_t stream_bytes, uint64_t buffer_bytes)
      : names_(names),
        key_costs_(KeyCosts::AllowedFor(stream_bytes)),
        copies_left_((uint64_t{16} << 20) + 64 * stream_bytes + buffer_bytes) {}

  Status Check(const Document& document, std::span<const Value> made, std::span<const Value> keys) {
    document_ = &document;
    for (const Value& key : keys) PANNIER_RETURN_IF_ERROR(key_costs_.Spend(key));
    Visit(document.root());
    VisitAll(made);
    while (!pending_.empty()) {
      const Value value = pending_.back();
      pending_.pop_back();
      PANNIER_RETURN_IF_ERROR(CheckOne(value));
    }
    return absl::OkStatus();
  }

 private:
  // To be looked at, if it was not and if it can hold anything.
  void Visit(const Value& value) {
    const bool holds = value.is_object() || value.is(Kind::kTuple) || value.is(Kind::kList) ||
                       value.is(Kind::kDict) || value.is(Kind::kSet) || value.is(Kind::kFrozenSet);
    if (holds && (value.id() == 0 || seen_.insert(value.id()).second)) pending_.push_back(value);
  }
  void VisitAll(std::span<const Value> values) {
    for (const Value& value : values) Visit(value);
  }

  Status CheckOne(const Value& value) {
    if (value.is(Kind::kDict)) {
      for (const codec::DictEntry& entry : value.entries()) {
        Visit(entry.key);
        Visit(entry.value);
      }
      return absl::OkStatus();
    }
    if (!value.is_object()) {
      VisitAll(value.items());
      return absl::OkStatus();
    }
    for (const Part part : value.parts()) VisitAll(part.values());
    switch (value.kind()) {
      case Kind::kGlobal:
        return absl::OkStatus();  // its name is on the list
      case Kind::kPersistent:
        return MakeError(ErrorKind::kUnpickling, "the pickle refers to a persistent id");
      default:
        return CheckCall(value);
    }
  }

  // An object made by calling something.
  Status CheckCall(const Value& object) {
    const Value callee = object.callee();
    Visit(callee);
    Visit(object.args());
    if (object.is(Kind::kNewObjEx)) Visit(object.kwargs());
    if (Allowed(callee)) return absl::OkStatus();
    const SafeRule* const rule = SafeRuleFor(callee);
    if (rule == nullptr) return Forbidden(callee, "may be a value and not be called");
    const Value args = object.args();
    if (object.is(Kind::kNewObjEx) || !args.is(Kind::kTuple) || !FitsRule(*rule, args.items())) {
      return Forbidden(callee, "is called with arguments that its pickles do not have");
    }
    for (const Part part : object.parts()) {
      const bool state = part.kind() == PartKind::kState;
      if (part.kind() == PartKind::kSetter && Allowed(part.values()[0])) continue;
      if (part.kind() == PartKind::kSetter || (state && !rule->state)) {
        return Forbidden(callee, "is given a state that its pickles do not have");
      }
    }
    PANNIER_RETURN_IF_ERROR(CheckCosts(callee, args.items(), object));
    return CheckMore(callee, args.items(), object);
  }

  Status CheckMore(const Value& callee, std::span<const Value> args, const Value& object) {
    if (callee.IsGlobal("numpy", "dtype")) return dtypes_.Check(object);
    if (callee.global_name() == "_reconstruct" && !args[0].IsGlobal("numpy", "ndarray") &&
        !Allowed(args[0])) {
      return Forbidden(args[0], "is no array");
    }
    if (callee.IsGlobal("_codecs", "encode") && args[1].text() != "latin1") {
      return Forbidden(callee, "is called for an encoding that its pickles do not have");
    }
    return absl::OkStatus();
  }

  // What the call copies, and the keys that it hashes: an argument that many calls share would
  // be copied by each.
  Status CheckCosts(const Value& callee, std::span<const Value> args, const Value& object) {
    uint64_t copied = 0;
    for (const Value& arg : args) {
      copied += Weight(arg);
      // bytes and bytearray; all others make views.
      if (arg.is(Kind::kBuffer) && callee.module_name() == "builtins") {
        copied += document_->buffer(arg).size();
      }
    }
    for (const Part part : object.parts()) {
      for (const Value& value : part.values()) copied += Weight(value);
    }
    if (copied > copies_left_) {
      return MakeError(ErrorKind::kLimit,
                       absl::StrCat("the calls of ", ToAbsl(callee.global_name()),
                                    " and others copy more than a pickle of its length should"));
    }
    copies_left_ -= copied;
    for (const Value& arg : args) {
      if (arg.is(Kind::kList)) PANNIER_RETURN_IF_ERROR(SpendOnItems(arg));
      if (!arg.is(Kind::kDict)) continue;
      for (const codec::DictEntry& entry : arg.entries()) {
        PANNIER_RETURN_IF_ERROR(key_costs_.Spend(entry.key));
      }
    }
    return absl::OkStatus();
  }

  // A list that becomes a set, or the [key, value] pairs of an OrderedDict.
  Status SpendOnItems(const Value& list) {
    for (const Value& item : list.items()) {
      PANNIER_RETURN_IF_ERROR(key_costs_.Spend(item));
      if (item.is(Kind::kList) && item.size() != 0) {
        PANNIER_RETURN_IF_ERROR(key_costs_.Spend(item.items()[0]));
      }
    }
    return absl::OkStatus();
  }

  bool Allowed(const Value& value) const {
    return value.is(Kind::kGlobal) &&
           names_.allowed.Allows(value.module_name(), value.global_name());
  }

  static Status Forbidden(const Value& global, std::string_view why) {
    return codec::internal::ForbiddenNameError(global.module_name(), global.global_name(), why);
  }

  const SafeNames& names_;
  const Document* document_ = nullptr;  // that of Check
  std::vector<Value> pending_;
  absl::flat_hash_set<uint32_t> seen_;
  DTypeChecker dtypes_;
  KeyCosts key_costs_;
  uint64_t copies_left_;
};

// `status` with the place where the name that it carries is looked up.
Status AtItsLookUp(Status status, ByteSpan stream, bool fix_imports) {
  const auto name = codec::ForbiddenNameOf(status);
  if (!name) return status;
  for (const codec::GlobalUse& use : codec::FindGlobals(stream, {fix_imports}).uses) {
    if (use.module == name->module && use.name == name->name) {
      return codec::WithPosition(std::move(status), {use.offset, static_cast<uint8_t>(use.opcode)});
    }
  }
  return status;
}

// What the decoder says of a name that is not on the list, with what to do about it.
Status WithAdvice(const Status& status, const codec::AllowList& list) {
  const auto name = codec::ForbiddenNameOf(status);
  const auto position = codec::PositionOf(status);
  if (!name || !position || list.Allows(name->module, name->name)) return status;
  return codec::WithPosition(
      codec::internal::ForbiddenNameError(
          name->module, name->name,
          absl::StrCat("is outside the safe set (pickle, byte ", position->offset,
                       "); to accept it, pass allow=[('", name->module, "', '", name->name, "')]")),
      *position);
}

}  // namespace

Status CheckSafe(ByteSpan stream, codec::DecodeOptions options, const SafeNames& names) {
  std::vector<Value> made;
  std::vector<Value> keys;
  options.allow = &names.all;
  options.made = &made;
  options.keys = &keys;
  options.refuse_overwriting = true;
  const StatusOr<Document> document = codec::Decode(stream, options);
  if (!document.ok()) return WithAdvice(document.status(), names.all);
  uint64_t buffer_bytes = 0;
  if (options.buffers) {
    for (const Buffer& buffer : *options.buffers) buffer_bytes += buffer.size();
  }
  const Status status = Checker(names, stream.size(), buffer_bytes).Check(*document, made, keys);
  if (status.ok()) return status;
  return AtItsLookUp(status, stream, options.fix_imports);
}

}  // namespace pannier::python

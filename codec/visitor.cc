#include "pannier/codec/visitor.h"

#include "absl/strings/str_cat.h"
#include "pannier/codec/machine.h"

namespace pannier::codec {
namespace {

Status NotTaken(const char* what) {
  return MakeError(ErrorKind::kUnpickling, absl::StrCat("the visitor does not take ", what));
}

}  // namespace

StatusOr<Value> Visitor::Tuple(std::span<const Value> items) { return document().NewTuple(items); }
StatusOr<Value> Visitor::List() { return document().NewList(); }
StatusOr<Value> Visitor::Dict() { return document().NewDict(); }
StatusOr<Value> Visitor::Set() { return document().NewSet(); }
StatusOr<Value> Visitor::FrozenSet(std::span<const Value> items) {
  return machine_->NewFrozenSet(items);
}

StatusOr<Value> Visitor::Call(const VisitedCall& call) {
  // Objects of the Document have callees and arguments that it can hold.
  switch (call.kind) {
    case Kind::kReduce:
      return document().NewReduce(call.callee, call.args);
    case Kind::kNewObj:
      return document().NewObject(call.callee, call.args);
    case Kind::kNewObjEx:
      return document().NewObjectEx(call.callee, call.args, call.kwargs);
    default:
      return document().NewInstance(call.callee, call.args);
  }
}

Status Visitor::Append(const Value&, std::span<const Value>) { return NotTaken("appended items"); }
Status Visitor::SetItems(const Value&, std::span<const DictEntry>) {
  return NotTaken("keys with values");
}
Status Visitor::AddItems(const Value&, std::span<const Value>) { return NotTaken("items of sets"); }
Status Visitor::SetState(const Value&, const Value&) { return NotTaken("the state of an object"); }

}  // namespace pannier::codec

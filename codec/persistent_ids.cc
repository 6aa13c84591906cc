#include "pannier/codec/persistent_ids.h"

#include "pannier/codec/machine.h"
#include "pannier/codec/visitor.h"

namespace pannier::codec {
namespace {

// Makes nothing but tuples.
class Passing final : public Visitor {
 public:
  StatusOr<Value> List() override { return Value::Handle(0); }
  StatusOr<Value> Dict() override { return Value::Handle(0); }
  StatusOr<Value> Set() override { return Value::Handle(0); }
  StatusOr<Value> FrozenSet(std::span<const Value>) override { return Value::Handle(0); }
  StatusOr<Value> Call(const VisitedCall&) override { return Value::Handle(0); }
  Status Append(const Value&, std::span<const Value>) override { return absl::OkStatus(); }
  Status SetItems(const Value&, std::span<const DictEntry>) override { return absl::OkStatus(); }
  Status AddItems(const Value&, std::span<const Value>) override { return absl::OkStatus(); }
  Status SetState(const Value&, const Value&) override { return absl::OkStatus(); }
};

}  // namespace

StatusOr<PersistentIds> FindPersistentIds(ByteSpan stream, const DecodeOptions& options) {
  PersistentIds found;
  DecodeOptions passing = options;
  passing.classes = nullptr;
  passing.made = nullptr;
  passing.persistent_load = [&](const Value& id, Document&) -> StatusOr<Value> {
    found.ids.push_back(id);
    return Value::Handle(0);
  };
  internal::MachineMemory memory;
  internal::Machine machine(stream, passing, &found.document, &memory);
  Passing visitor;
  machine.VisitWith(&visitor);
  machine.MakeUpBuffers();
  PANNIER_RETURN_IF_ERROR(machine.Run());
  found.consumed = machine.result().consumed;
  return found;
}

}  // namespace pannier::codec

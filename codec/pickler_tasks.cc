// The tasks of the pickler: objects that are begun, item by item, and how they end.
#include <string>

#include "absl/strings/str_cat.h"
#include "pannier/codec/pickler.h"
#include "pannier/codec/utf8.h"

namespace pannier::codec::internal {
namespace {

constexpr uint32_t kBatchSize = 1000;

}  // namespace

void Pickler::Enter(const Task& task) {
  if (options_.fast && task.value.id() != 0 && task.value.id() < open_.size()) {
    open_[task.value.id()] = true;
  }
  tasks_.push_back(task);
}

void Pickler::Leave() {
  const Value& value = tasks_.back().value;
  if (tasks_.back().reduced) --open_reductions_;
  if (options_.fast && value.id() < open_.size()) open_[value.id()] = false;
  tasks_.pop_back();
}

bool Pickler::Step() {
  Task& task = tasks_.back();
  switch (task.kind) {
    case Task::Kind::kItems:
      return StepItems(task);
    case Task::Kind::kTuple:
      return StepTuple(task);
    case Task::Kind::kFrozenSet:
      return StepFrozenSet(task);
    case Task::Kind::kCall:
      return StepCall(task);
    case Task::Kind::kInstance:
      return StepInstance(task);
    case Task::Kind::kPersistent:
      return StepPersistent(task);
    case Task::Kind::kParts:
      return StepParts(task);
    case Task::Kind::kSetter:
      return StepSetter(task);
  }
  return Fail("a task of no known kind");
}

bool Pickler::SaveRange(Task& task, bool* done) {
  const size_t depth = tasks_.size();
  while (task.next != task.end) {
    if (!Save(*task.next++)) return false;
    if (tasks_.size() != depth) {  // `task` may have moved
      *done = false;
      return true;
    }
  }
  *done = true;
  return true;
}

bool Pickler::StepItems(Task& task) {
  const size_t depth = tasks_.size();
  const uint32_t full = task.stride * (task.batch == Task::Batch::kOneByOne ? 1 : kBatchSize);
  while (true) {
    if (!task.begun) {
      const bool last = static_cast<size_t>(task.end - task.next) == task.stride;
      const bool may_stand_alone = task.batch == Task::Batch::kIterated || task.first;
      const bool one = task.batch == Task::Batch::kOneByOne ||
                       (last && may_stand_alone && task.one_opcode != Opcode::kStop);
      task.begun = true;
      task.first = false;
      task.marked = !one;
      if (task.marked) output_.Op(Opcode::kMark);
    }
    while (task.next != task.end && task.in_batch != full) {
      ++task.in_batch;
      if (!Save(*task.next++)) return false;
      if (tasks_.size() != depth) return true;  // and `task` may have moved
    }
    output_.Op(task.marked ? task.opcode : task.one_opcode);
    const bool another = task.batch == Task::Batch::kKeyed && task.marked && task.in_batch == full;
    task.in_batch = 0;
    task.begun = false;
    if (task.next == task.end && !another) {
      Leave();
      return true;
    }
  }
}

bool Pickler::StepTuple(Task& task) {
  bool done = false;
  if (!SaveRange(task, &done) || !done) return done || status_.ok();
  const Value value = task.value;
  const size_t size = value.items().size();
  Leave();
  const bool counted = size <= 3 && protocol_ >= 2;
  // The arguments of a call that was made meanwhile by what is in them: __reduce__ returns a
  // new tuple each time it is asked, so this is not the one in the memo.
  const bool again = InMemo(value) && !tasks_.empty() && tasks_.back().kind == Task::Kind::kCall &&
                     tasks_.back().next == tasks_.back().end && InMemo(tasks_.back().value);
  if (!InMemo(value) || again) {
    constexpr Opcode kCounted[] = {Opcode::kTuple1, Opcode::kTuple2, Opcode::kTuple3};
    output_.Op(counted ? kCounted[size - 1] : Opcode::kTuple);
    return MemoPut(again ? Value() : value);
  }
  // An item held the tuple itself, which is in the memo since: drop this one.
  if (counted || !binary()) {
    for (size_t i = 0; i < size + (counted ? 0 : 1); ++i) output_.Op(Opcode::kPop);
  } else {
    output_.Op(Opcode::kPopMark);
  }
  MemoGet(value);
  return true;
}

bool Pickler::StepFrozenSet(Task& task) {
  bool done = false;
  if (!SaveRange(task, &done) || !done) return done || status_.ok();
  const Value value = task.value;
  Leave();
  if (InMemo(value)) {
    output_.Op(Opcode::kPopMark);
    MemoGet(value);
    return true;
  }
  output_.Op(Opcode::kFrozenSet);
  return MemoPut(value);
}

bool Pickler::StepCall(Task& task) {
  bool done = false;
  if (!SaveRange(task, &done) || !done) return done || status_.ok();
  output_.Op(task.opcode);
  if (InMemo(task.value)) {  // made meanwhile by its own arguments
    output_.Op(Opcode::kPop);
    MemoGet(task.value);
    Leave();
    return true;
  }
  if (!MemoPut(task.value)) return false;
  if (task.part == nullptr) {
    Leave();
  } else {
    task.kind = Task::Kind::kParts;
  }
  return true;
}

bool Pickler::StepInstance(Task& task) {
  bool done = false;
  if (task.step == 0) {
    task.step = 1;
    if (binary()) {
      const size_t depth = tasks_.size();
      if (!Save(task.value.callee())) return false;
      if (tasks_.size() != depth) return true;
    }
  }
  if (!SaveRange(task, &done) || !done) return done || status_.ok();
  const Value value = task.value;
  if (InMemo(value)) {
    // As for tuples: what stands above the mark is dropped.
    if (binary()) {
      output_.Op(Opcode::kPopMark);
    } else {
      for (size_t i = 0; i < value.args().size() + 1; ++i) output_.Op(Opcode::kPop);
    }
    MemoGet(value);
    Leave();
    return true;
  }
  if (binary()) {
    output_.Op(Opcode::kObj);
  } else {
    output_.Op(Opcode::kInst);
    if (!SaveGlobalLines(value.callee())) return false;
  }
  if (!MemoPut(value)) return false;
  task.kind = Task::Kind::kParts;
  task.part = ValueAccess::Node<ObjectNode>(value)->first_part;
  return true;
}

bool Pickler::StepPersistent(Task& task) {
  const Value value = task.value;
  if (task.step == 0 && binary()) {
    task.step = 1;
    return SaveValue(value.persistent_id());
  }
  if (binary()) {
    output_.Op(Opcode::kBinPersId);
  } else {
    const Value id = value.persistent_id();
    std::string line;
    if (id.is(Kind::kStr)) {
      line = id.text();
    } else if (id.is(Kind::kInt)) {
      line = absl::StrCat(id.int_value());
    } else {
      return Fail("a persistent id that is neither str nor int, in protocol 0");
    }
    if (!IsAscii(line) || line.find('\n') != std::string::npos) {
      return Fail("a persistent id that is not one line of ASCII, in protocol 0");
    }
    output_.Bytes(absl::StrCat("P", line, "\n"));
  }
  if (!NeedsMemo(value)) {
    Leave();
    return true;
  }
  task.kind = Task::Kind::kParts;
  return MemoPut(value);
}

bool Pickler::StepParts(Task& task) {
  if (task.step == 2) {  // a state was saved
    output_.Op(Opcode::kBuild);
    task.step = 1;
  }
  task.step = 1;
  if (task.part == nullptr) {
    Leave();
    return true;
  }
  const PartNode& part = *task.part;
  task.part = part.next;
  switch (part.kind) {
    case PartKind::kState:
      task.step = 2;
      task.state_is_dict = part.values[0].is(Kind::kDict);
      return Save(part.values[0]);
    case PartKind::kAppend:
      PushItems(Value(), part.values, part.size, 1, Iterated(), Opcode::kAppends, Opcode::kAppend);
      return true;
    case PartKind::kSetItem:
      PushItems(Value(), part.values, part.size / 2, 2, Iterated(), Opcode::kSetItems,
                Opcode::kSetItem);
      return true;
    case PartKind::kAdd:
      if (protocol_ < 4) return Fail("items added to an object need protocol 4");
      PushItems(Value(), part.values, part.size, 1, Task::Batch::kKeyed, Opcode::kAddItems,
                Opcode::kStop);
      return true;
    case PartKind::kSetter: {
      Task setter;
      setter.value = task.value;
      setter.kind = Task::Kind::kSetter;
      setter.begin = setter.next = part.values;
      setter.end = part.values + 2;
      tasks_.push_back(setter);  // not Enter(): the object itself is open already
      return true;
    }
  }
  return Fail("a part of no known kind");
}

// setter(object, state), result dropped.
bool Pickler::StepSetter(Task& task) {
  switch (task.step++) {
    case 0:
      return Save(task.next[0]);
    case 1:
      return Save(task.value);
    case 2:
      return Save(task.next[1]);
    default:
      output_.Op(Opcode::kTuple2);
      output_.Op(Opcode::kReduce);
      output_.Op(Opcode::kPop);
      tasks_.pop_back();
      return true;
  }
}

}  // namespace pannier::codec::internal

// The pickler: writes the graph below one Value. Inside the encoder only. It keeps its own
// stack of tasks, one for each object that is begun and not ended, so that nesting costs no
// C++ stack. The order of what it writes follows _pickle's save functions.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "pannier/codec/encoder.h"
#include "pannier/codec/extension_registry.h"
#include "pannier/codec/output.h"
#include "pannier/codec/value_access.h"

namespace pannier::codec::internal {

// The memo: for each Value::id(), the memo index plus one; 0 if it has none.
class PicklerMemo {
 public:
  void Clear() {
    indices_.clear();
    extra_indices_.clear();
    count_ = 0;
  }
  void Reserve(uint32_t id_limit) {
    if (indices_.size() < id_limit) indices_.resize(id_limit, 0);
  }
  uint32_t Get(uint32_t id) const {
    if ((id & kExtra) == 0) return id < indices_.size() ? indices_[id] : 0;
    return (id ^ kExtra) < extra_indices_.size() ? extra_indices_[id ^ kExtra] : 0;
  }
  // REQUIRES: Knows(id).
  void Set(uint32_t id, uint32_t index_plus_one) {
    if ((id & kExtra) == 0) {
      indices_[id] = index_plus_one;
      return;
    }
    if ((id ^ kExtra) >= extra_indices_.size()) extra_indices_.resize((id ^ kExtra) + 1, 0);
    extra_indices_[id ^ kExtra] = index_plus_one;
  }
  bool Knows(uint32_t id) const { return (id & kExtra) != 0 || id < indices_.size(); }
  // Entries so far, those without an id too: the next index.
  uint64_t count() const { return count_; }
  void Count() { ++count_; }

  // Marks the ids of objects that the pickler makes itself.
  static constexpr uint32_t kExtra = uint32_t{1} << 31;

 private:
  std::vector<uint32_t> indices_;
  std::vector<uint32_t> extra_indices_;
  uint64_t count_ = 0;
};

// An object that is begun and not ended.
struct PickleTask {
  enum class Kind : uint8_t {
    kItems,  // the items of `next`, in batches
    kTuple,
    kFrozenSet,
    kCall,  // the fields at `next`, then `opcode`
    kInstance,
    kPersistent,
    kParts,
    kSetter,
  };
  // How items are batched: _pickle has three ways.
  enum class Batch : uint8_t {
    kList,      // MARK items APPENDS; a list of one: APPEND
    kKeyed,     // the same; a full batch is followed by another, if empty
    kIterated,  // the same; a batch of one: APPEND
    kOneByOne,  // protocol 0
  };
  Value value;
  const Value* begin = nullptr;
  const Value* next = nullptr;
  const Value* end = nullptr;
  const PartNode* part = nullptr;
  uint32_t in_batch = 0;  // of single values
  Kind kind = Kind::kItems;
  Batch batch = Batch::kList;
  uint8_t stride = 1;
  uint8_t step = 0;
  bool first = true;                    // kItems: no batch was written yet
  bool begun = false;                   // kItems: inside a batch
  bool marked = false;                  // kItems: which has a MARK
  bool reduced = false;                 // kCall: by a hook
  bool state_is_dict = false;           // kParts: the state that is being written
  Opcode opcode = Opcode::kAppends;     // for many; or ends a kCall
  Opcode one_opcode = Opcode::kAppend;  // for one
};

// What outlives a pickle and is used again.
struct PicklerMemory {
  std::vector<PickleTask> tasks;
  Output output;
  PicklerMemo memo;
  // What _pickle makes on the way: the arguments of set(...), and the like.
  Document extra;
};

class Pickler {
 public:
  Pickler(const Document& document, const EncodeOptions& options, PicklerMemory* memory,
          Encoded* out);

  // Writes one pickle of `value`, from PROTO to STOP.
  Status Dump(const Value& value);

 private:
  using Task = PickleTask;

  // All that return bool: false after setting status_.
  bool Fail(std::string_view what);
  bool FailWith(const Status& status);  // adds the path
  // How to get from the root to what is being written.
  std::string Path() const;
  bool Run();

  // Writes `value`, or begins it by pushing a task.
  bool Save(const Value& value);
  bool SaveValue(const Value& value);   // without asking for a persistent id
  bool SaveObject(const Value& value);  // neither scalar nor in the memo
  // What hooks do, in pickler_hooks.cc. `*done` if `value` was written, or begun.
  bool AskForId(const Value& value, bool* done);
  bool AskToReduce(const Value& value, bool* done);
  // `content` as `value`: what others refer to is `value`.
  bool SaveReduced(const Value& value, const Value& content);
  uint32_t ExtensionCode(const Value& global) const;
  bool SaveStr(const Value& value);
  void SaveInt(int64_t value);
  bool SaveBigInt(const Value& value);
  void SaveFloat(double value);
  bool SaveStr8(const Value& value);
  bool SaveBytes(const Value& value);
  bool SaveByteArray(const Value& value);
  bool SaveBytesData(const Value& value, std::string_view bytes);
  bool SaveByteArrayData(const Value& value, std::string_view bytes);
  bool SaveBuffer(const Value& value);
  bool SaveTuple(const Value& value);
  bool SaveList(const Value& value);
  bool SaveDict(const Value& value);
  bool SaveSet(const Value& value);
  bool SaveFrozenSet(const Value& value);
  bool SaveGlobal(const Value& value);
  bool SaveGlobalLines(const Value& value);
  bool SaveNewObject(const Value& value, const Value& content);
  bool SaveInstance(const Value& value);
  bool SavePersistent(const Value& value);
  bool SaveExtension(const Value& value);
  bool WriteExtension(uint32_t code);
  // callee(*args) as `value`, where both are of `extra`.
  bool SaveCall(const Value& value, const Value& callee, std::initializer_list<Value> args);
  // `parts` of `content`, or none.
  void PushCall(const Value& value, const Value* fields, size_t count, Opcode opcode,
                const Value& content);

  // The next step of the topmost task; pops it when it is done.
  bool Step();
  bool StepItems(Task& task);
  bool StepTuple(Task& task);
  bool StepFrozenSet(Task& task);
  bool StepCall(Task& task);
  bool StepInstance(Task& task);
  bool StepPersistent(Task& task);
  bool StepParts(Task& task);
  bool StepSetter(Task& task);
  // `value`: the container, or None for what is done to an object.
  void PushItems(const Value& value, const Value* items, size_t count, size_t stride,
                 Task::Batch batch, Opcode many, Opcode one);
  // Saves task.next .. task.end; true with *done false when a task was pushed meanwhile.
  bool SaveRange(Task& task, bool* done);
  void Enter(const Task& task);  // pushes
  void Leave();                  // pops

  bool InMemo(const Value& value) const { return value.id() != 0 && memo_.Get(value.id()) != 0; }
  bool MemoPut(const Value& value);
  void MemoGet(const Value& value);
  // A counted text or bytes, in a frame or not.
  bool Counted(std::string_view header, std::string_view bytes);
  // A text of `extra`, or that of the document which is the same object to Python.
  Value OneStr(const Value& text) const;
  // The Global of this name, which is one object with that of the document.
  Value Named(std::string_view module, std::string_view name);
  bool binary() const { return protocol_ > 0; }
  Task::Batch Iterated() const {
    return binary() ? Task::Batch::kIterated : Task::Batch::kOneByOne;
  }

  const Document& document_;
  const EncodeOptions& options_;
  const int protocol_;
  const bool asks_for_ids_;
  const bool reduces_;
  std::vector<Task>& tasks_;
  Output& output_;
  PicklerMemo& memo_;
  Document& extra_;
  Encoded* const out_;
  size_t open_reductions_ = 0;  // tasks that are `reduced`
  std::vector<bool> open_;      // by id, in fast mode: begun and not ended
  Status status_;
};

}  // namespace pannier::codec::internal

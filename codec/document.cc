#include "pannier/codec/document.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "pannier/codec/key_index.h"
#include "pannier/codec/numerals.h"
#include "pannier/codec/value_access.h"

namespace pannier::codec {

using internal::KeyedNode;
using internal::KeyResult;
using internal::ListNode;
using internal::LongText;
using internal::ObjectNode;
using internal::PartNode;
using internal::TupleNode;

// Interned texts, and Globals by the ids of their two texts. Keys are views of the arena.
struct Document::InternTable {
  absl::flat_hash_map<absl::string_view, Value> texts;
  absl::flat_hash_map<std::pair<uint32_t, uint32_t>, Value> globals;
};

// By Value::id().
struct Document::AttachTable {
  struct Object {
    std::shared_ptr<void> object;
    const std::type_info* type;
  };
  absl::flat_hash_map<uint32_t, Object> objects;
};

Document::Document() = default;
Document::~Document() = default;
Document::Document(Document&&) noexcept = default;
Document& Document::operator=(Document&&) noexcept = default;

Buffer Document::buffer(const Value& value) const {
  const Buffer& buffer = buffers_[value.buffer_index()];
  return value.buffer_readonly_view() ? buffer.AsReadonly() : buffer;
}

void Document::Clear() {
  attached_.reset();  // first: these may look into what follows
  arena_.Reset();
  root_ = Value();
  buffers_.clear();
  held_.clear();
  interned_.reset();
  next_id_ = 1;
  has_unchecked_text_ = false;
}

void Document::Release() {
  Clear();
  arena_.Release();
}

uint32_t Document::NextId() {
  if (next_id_ == std::numeric_limits<uint32_t>::max()) throw std::bad_alloc();
  return next_id_++;
}

std::string_view Document::CopyText(std::string_view text) {
  if (text.empty()) return {};
  char* copy = static_cast<char*>(arena_.Allocate(text.size()));
  std::memcpy(copy, text.data(), text.size());
  return {copy, text.size()};
}

Value Document::Text(Kind kind, std::string_view text, uint32_t id) {
  if (text.size() < ValueAccess::kLongText) {
    return ValueAccess::OfText(kind, text.data(), text.size(), id);
  }
  auto* node = arena_.AllocateArray<LongText>(1);
  *node = {text.data(), text.size()};
  return ValueAccess::OfLongText(kind, node, id);
}

Value Document::NewStr(std::string_view utf8) { return NewStrView(CopyText(utf8)); }
Value Document::NewStrView(std::string_view utf8) {
  has_unchecked_text_ = true;
  return Text(Kind::kStr, utf8, NextId());
}
Value Document::NewBytes(ByteSpan bytes) {
  return Text(Kind::kBytes, CopyText(AsText(bytes)), NextId());
}
Value Document::NewBytesView(ByteSpan bytes) { return Text(Kind::kBytes, AsText(bytes), NextId()); }
Value Document::NewByteArray(ByteSpan bytes) {
  return Text(Kind::kByteArray, CopyText(AsText(bytes)), NextId());
}
Value Document::NewByteArrayView(ByteSpan bytes) {
  return Text(Kind::kByteArray, AsText(bytes), NextId());
}
Value Document::NewStr8(std::string_view bytes) {
  return Text(Kind::kStr8, CopyText(bytes), NextId());
}

Document::InternTable& Document::interned() {
  if (interned_ == nullptr) interned_ = std::make_unique<InternTable>();
  return *interned_;
}

Value Document::InternStr(std::string_view utf8) {
  InternTable& table = interned();
  if (const auto found = table.texts.find(ToAbsl(utf8)); found != table.texts.end()) {
    return found->second;
  }
  const Value value = NewStr(utf8);
  table.texts.emplace(ToAbsl(value.text()), value);
  return value;
}

Value Document::NewInteger(ByteSpan little_endian) {
  int64_t small = 0;
  size_t length = 0;
  const std::string_view bytes = AsText(little_endian);
  if (internal::FitsInt64(bytes, &small, &length)) return Value::Int(small);
  return Text(Kind::kBigInt, CopyText(bytes.substr(0, length)), 0);
}

Value Document::NewUnsigned(uint64_t value) {
  if (value <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return Value::Int(static_cast<int64_t>(value));
  }
  char bytes[9] = {};
  std::memcpy(bytes, &value, sizeof(value));
  return NewInteger(AsBytes(std::string_view(bytes, sizeof(bytes))));
}

Value Document::NewTuple(std::span<const Value> items) {
  if (items.empty()) return ValueAccess::OfNode(Kind::kTuple, nullptr, 0);
  auto* node =
      static_cast<TupleNode*>(arena_.Allocate(sizeof(TupleNode) + items.size() * sizeof(Value)));
  node->size = items.size();
  node->hash = 0;
  std::memcpy(node->items(), items.data(), items.size_bytes());
  return ValueAccess::OfNode(Kind::kTuple, node, NextId());
}

Value Document::NewList(std::span<const Value> items) {
  auto* node = arena_.AllocateArray<ListNode>(1);
  *node = ListNode{};
  const Value list = ValueAccess::OfNode(Kind::kList, node, NextId());
  Extend(list, items);
  return list;
}

Value Document::Keyed(Kind kind) {
  auto* node = arena_.AllocateArray<KeyedNode>(1);
  *node = KeyedNode{};
  return ValueAccess::OfNode(kind, node, NextId());
}

Value Document::NewDict() { return Keyed(Kind::kDict); }
Value Document::NewSet() { return Keyed(Kind::kSet); }

StatusOr<Value> Document::NewFrozenSet(std::span<const Value> items) {
  const Value set = Keyed(Kind::kFrozenSet);
  PANNIER_RETURN_IF_ERROR(PutKeys(set, 1, items));
  return set;
}

Value Document::NewGlobal(std::string_view module, std::string_view qualified_name) {
  return InternGlobal(InternStr(module), InternStr(qualified_name));
}

// The Global of these two texts. If it is new it keeps the two handles, so that whoever
// shares them still does, unless they have no identity yet.
Value Document::InternGlobal(const Value& module, const Value& name) {
  InternTable& table = interned();
  const auto canonical = [&](const Value& text) {
    const auto [found, is_new] = table.texts.try_emplace(ToAbsl(text.text()), text);
    if (is_new && text.id() == 0) ValueAccess::SetId(&found->second, NextId());
    return found->second;
  };
  const Value own_module = canonical(module);
  const Value own_name = canonical(name);
  const auto [found, is_new] = table.globals.try_emplace({own_module.id(), own_name.id()});
  if (is_new) {
    found->second = Object(Kind::kGlobal, module.id() != 0 ? module : own_module,
                           name.id() != 0 ? name : own_name, Value());
  }
  return found->second;
}

const Value* Document::FindStr(std::string_view utf8) const {
  if (interned_ == nullptr) return nullptr;
  const auto found = interned_->texts.find(ToAbsl(utf8));
  return found == interned_->texts.end() ? nullptr : &found->second;
}

const Value* Document::FindGlobal(std::string_view module, std::string_view qualified_name) const {
  if (interned_ == nullptr) return nullptr;
  const auto& texts = interned_->texts;
  const auto module_text = texts.find(ToAbsl(module));
  const auto name_text = texts.find(ToAbsl(qualified_name));
  if (module_text == texts.end() || name_text == texts.end()) return nullptr;
  const auto found = interned_->globals.find({module_text->second.id(), name_text->second.id()});
  return found == interned_->globals.end() ? nullptr : &found->second;
}

Value Document::Object(Kind kind, const Value& first, const Value& second, const Value& third) {
  auto* node = arena_.AllocateArray<ObjectNode>(1);
  node->fields[0] = first;
  node->fields[1] = second;
  node->fields[2] = third;
  node->first_part = nullptr;
  node->last_part = nullptr;
  return ValueAccess::OfNode(kind, node, NextId());
}

Value Document::NewReduce(const Value& callee, const Value& args) {
  return Object(Kind::kReduce, callee, args, Value());
}
Value Document::NewObject(const Value& cls, const Value& args) {
  return Object(Kind::kNewObj, cls, args, Value());
}
Value Document::NewObjectEx(const Value& cls, const Value& args, const Value& kwargs) {
  return Object(Kind::kNewObjEx, cls, args, kwargs);
}
Value Document::NewInstance(const Value& cls, const Value& args) {
  return Object(Kind::kInstance, cls, args, Value());
}
Value Document::NewPersistent(const Value& id) {
  return Object(Kind::kPersistent, id, Value(), Value());
}
Value Document::NewExtension(uint32_t code) {
  return Object(Kind::kExtension, Value::Int(code), Value(), Value());
}

Value Document::NewBuffer(Buffer buffer) {
  buffers_.push_back(std::move(buffer));
  return ValueAccess::OfBuffer(buffers_.size() - 1, false, NextId());
}

void Document::AttachObject(const Value& value, std::shared_ptr<void> object,
                            const std::type_info& type) {
  if (attached_ == nullptr) attached_ = std::make_unique<AttachTable>();
  attached_->objects[value.id()] = {std::move(object), &type};
}

std::shared_ptr<void> Document::AttachedObject(const Value& value,
                                               const std::type_info& type) const {
  if (attached_ == nullptr || value.id() == 0) return nullptr;
  const auto found = attached_->objects.find(value.id());
  if (found == attached_->objects.end() || *found->second.type != type) return nullptr;
  return found->second.object;
}

// Room for `count` more Values behind `*items`, which are `size` and have `*capacity`.
void Document::MakeRoom(Value** items, uint64_t size, uint64_t* capacity, size_t count) {
  const uint64_t total = size + count;
  if (total <= *capacity) return;
  if (*capacity != 0 && arena_.Extend(*items, *capacity * sizeof(Value), total * sizeof(Value))) {
    *capacity = total;
    return;
  }
  const uint64_t wanted = std::max<uint64_t>(total, *capacity * 2);
  Value* moved = arena_.AllocateArray<Value>(wanted);
  if (size != 0) std::memcpy(moved, *items, size * sizeof(Value));
  *items = moved;
  *capacity = wanted;
}

void Document::Append(const Value& list, const Value& item) { Extend(list, {&item, 1}); }

void Document::Extend(const Value& list, std::span<const Value> items) {
  if (items.empty()) return;
  auto* node = ValueAccess::Node<ListNode>(list);
  MakeRoom(&node->items, node->size, &node->capacity, items.size());
  std::memcpy(node->items + node->size, items.data(), items.size_bytes());
  node->size += items.size();
}

Status Document::PutKeys(const Value& container, size_t stride, std::span<const Value> entries) {
  internal::KeyWork work;
  Value culprit;
  switch (internal::PutKeys(&arena_, ValueAccess::Node<KeyedNode>(container), stride,
                            entries.data(), entries.size() / stride, &work, &culprit)) {
    case KeyResult::kOk:
      return absl::OkStatus();
    case KeyResult::kUnhashable:
      return MakeError(
          ErrorKind::kInvalidArgument,
          absl::StrCat("unhashable type: ", ToAbsl(KindName(culprit.kind())),
                       ", as key or element of a ", ToAbsl(KindName(container.kind()))));
    default:
      return MakeError(ErrorKind::kLimit, absl::StrCat("a ", ToAbsl(KindName(container.kind())),
                                                       " of more than 2^31 entries"));
  }
}

Status Document::SetItem(const Value& dict, const Value& key, const Value& value) {
  const Value entry[2] = {key, value};
  return PutKeys(dict, 2, entry);
}

void Document::SetItem(const Value& dict, std::string_view key, const Value& value) {
  const Value entry[2] = {InternStr(key), value};
  // A str is hashable; what is left is a dict of 2^31 entries, which is a lack of memory.
  if (!PutKeys(dict, 2, entry).ok()) throw std::bad_alloc();
}

Status Document::AddItem(const Value& set, const Value& item) {
  return PutKeys(set, 1, {&item, 1});
}

void Document::AddPart(const Value& object, PartKind kind, std::span<const Value> values) {
  auto* node = ValueAccess::Node<ObjectNode>(object);
  PartNode* last = node->last_part;
  const bool grows =
      kind == PartKind::kAppend || kind == PartKind::kSetItem || kind == PartKind::kAdd;
  if (grows && values.empty()) return;
  if (last == nullptr || last->kind != kind || !grows) {
    auto* part = arena_.AllocateArray<PartNode>(1);
    *part = PartNode{nullptr, 0, 0, nullptr, kind};
    if (last == nullptr) {
      node->first_part = part;
    } else {
      last->next = part;
    }
    node->last_part = last = part;
  }
  MakeRoom(&last->values, last->size, &last->capacity, values.size());
  std::memcpy(last->values + last->size, values.data(), values.size_bytes());
  last->size += values.size();
}

void Document::AddState(const Value& object, const Value& state) {
  AddPart(object, PartKind::kState, {&state, 1});
}
void Document::AddSetter(const Value& object, const Value& setter, const Value& state) {
  const Value pair[2] = {setter, state};
  AddPart(object, PartKind::kSetter, pair);
}
void Document::AddAppends(const Value& object, std::span<const Value> items) {
  AddPart(object, PartKind::kAppend, items);
}
void Document::AddSetItems(const Value& object, std::span<const Value> pairs) {
  AddPart(object, PartKind::kSetItem, pairs);
}
void Document::AddAdds(const Value& object, std::span<const Value> items) {
  AddPart(object, PartKind::kAdd, items);
}

}  // namespace pannier::codec

#include "pannier/codec/key_index.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <chrono>
#include <cmath>
#include <vector>

#include "pannier/codec/hash.h"
#include "pannier/codec/key_classes.h"
#include "pannier/codec/numerals.h"

namespace pannier::codec::internal {

const HashSeed kHashSeed = [] {
  HashSeed seed;
  if (getentropy(&seed, sizeof(seed)) != 0) {
    // Without entropy there is the clock and where the loader put us.
    seed.a = static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
    seed.b = reinterpret_cast<uintptr_t>(&kHashSeed) * kMix;
  }
  return seed;
}();

namespace {

constexpr uint32_t kSmall = 16;
constexpr uint64_t kMostEntries = uint64_t{1} << 31;
constexpr uint64_t kStrSalt = 4;

uint64_t HashNumber(const Value& value) {
  double real = 0;
  switch (value.kind()) {
    case Kind::kBool:
    case Kind::kInt:
      return HashWord(static_cast<uint64_t>(value.int_value()), 1);
    case Kind::kBigInt:
      // A float equals a big integer only if it is exact, and then it has these bits.
      if (const auto exact = ExactDouble(value.text())) {
        real = *exact;
        break;
      }
      return HashText(value.text(), 2);
    default:
      real = value.float_value();
      if (real >= -9223372036854775808.0 && real < 9223372036854775808.0 &&
          std::floor(real) == real) {
        return HashWord(static_cast<uint64_t>(static_cast<int64_t>(real)), 1);
      }
  }
  return HashWord(std::bit_cast<uint64_t>(real), 3);
}

// What is neither tuple nor frozenset. False if unhashable.
bool HashLeaf(const Value& value, uint64_t* hash) {
  switch (value.kind()) {
    case Kind::kStr:
      *hash = HashText(value.text(), kStrSalt);
      return true;
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kBigInt:
    case Kind::kFloat:
      *hash = HashNumber(value);
      return true;
    case Kind::kBytes:
    case Kind::kStr8:
      *hash = HashText(value.text(), static_cast<uint64_t>(value.kind()));
      return true;
    case Kind::kByteArray:
    case Kind::kList:
    case Kind::kDict:
    case Kind::kSet:
      return false;
    case Kind::kGlobal:
      *hash = HashText(value.module_name(), 5) ^ HashText(value.global_name(), 6);
      return true;
    case Kind::kExtension:
      *hash = HashWord(value.extension_code(), 7);
      return true;
    default:
      *hash = HashWord(ValueAccess::Payload(value), static_cast<uint64_t>(value.kind()));
      return true;
  }
}

constexpr bool IsComposite(Kind kind) { return kind == Kind::kTuple || kind == Kind::kFrozenSet; }

// The cached hash of a tuple or frozenset. Relaxed: readers of one Document may race to store
// the same number, and nothing else is published by it.
uint64_t CachedHash(const Value& value) {
  if (value.is(Kind::kFrozenSet)) {
    return std::atomic_ref(ValueAccess::Node<KeyedNode>(value)->hash)
        .load(std::memory_order_relaxed);
  }
  auto* node = ValueAccess::Node<TupleNode>(value);
  if (node == nullptr) return HashWord(0, 8);  // the empty tuple
  return std::atomic_ref(node->hash).load(std::memory_order_relaxed);
}

void CacheHash(const Value& value, uint64_t hash) {
  uint64_t& cell = value.is(Kind::kFrozenSet) ? ValueAccess::Node<KeyedNode>(value)->hash
                                              : ValueAccess::Node<TupleNode>(value)->hash;
  std::atomic_ref(cell).store(hash, std::memory_order_relaxed);
}

struct HashFrame {
  Value value;
  size_t next;
  uint64_t sum;
};

void AddToSum(HashFrame* frame, uint64_t hash) {
  frame->sum = frame->value.is(Kind::kTuple) ? Fold(frame->sum ^ hash, kMix ^ kHashSeed.a)
                                             : frame->sum + Fold(hash, kMix);
}

bool HashComposite(const Value& key, uint64_t* hash, Value* culprit) {
  *hash = CachedHash(key);
  if (*hash != 0) return true;
  std::vector<HashFrame> frames;
  frames.push_back({key, 0, kMix});
  while (true) {
    HashFrame& frame = frames.back();
    const std::span<const Value> items = frame.value.items();
    if (frame.next == items.size()) {
      const uint64_t own = HashWord(frame.sum, static_cast<uint64_t>(frame.value.kind())) | 1;
      CacheHash(frame.value, own);
      frames.pop_back();
      if (frames.empty()) {
        *hash = own;
        return true;
      }
      AddToSum(&frames.back(), own);
      continue;
    }
    const Value& item = items[frame.next++];
    uint64_t item_hash = 0;
    if (IsComposite(item.kind())) {
      item_hash = CachedHash(item);
      if (item_hash == 0) {
        frames.push_back({item, 0, kMix});
        continue;
      }
    } else if (!HashLeaf(item, &item_hash)) {
      if (culprit != nullptr) *culprit = item;
      return false;
    }
    AddToSum(&frame, item_hash);
  }
}

bool NumbersEqual(const Value& a, const Value& b) {
  if (a.is(Kind::kBigInt) && b.is(Kind::kBigInt)) return a.text() == b.text();
  if (a.is(Kind::kFloat) && b.is(Kind::kFloat)) return a.float_value() == b.float_value();
  if (b.is(Kind::kFloat)) return NumbersEqual(b, a);
  if (!a.is(Kind::kFloat)) {
    return !a.is(Kind::kBigInt) && !b.is(Kind::kBigInt) && a.int_value() == b.int_value();
  }
  const double real = a.float_value();
  if (b.is(Kind::kBigInt)) return ExactDouble(b.text()) == real;
  return real >= -9223372036854775808.0 && real < 9223372036854775808.0 &&
         std::floor(real) == real && static_cast<int64_t>(real) == b.int_value();
}

inline const Value& KeyAt(const KeyedNode& node, size_t stride, size_t entry) {
  return node.values[entry * stride];
}

uint64_t SlotOf(uint64_t hash, size_t entry) {
  return (hash & 0xffffffff00000000u) | (static_cast<uint64_t>(entry) + 1);
}

// Slots hold the upper half of the hash, which also says where they belong, so that a larger
// table is filled without looking at the keys.
void BuildSlots(Arena* arena, KeyedNode* node, size_t stride, size_t entries) {
  const uint64_t slot_count = std::bit_ceil(entries + entries / 2 + 1);
  auto* slots = arena->AllocateArray<uint64_t>(slot_count);
  std::memset(slots, 0, slot_count * sizeof(uint64_t));
  const uint64_t mask = slot_count - 1;
  const auto put = [&](uint64_t slot) {
    uint64_t at = slot >> 32 & mask;
    while (slots[at] != 0) at = (at + 1) & mask;
    slots[at] = slot;
  };
  if (node->slots != nullptr) {
    for (uint64_t i = 0; i <= node->slot_mask; ++i) {
      if (node->slots[i] != 0) put(node->slots[i]);
    }
  } else {
    for (size_t entry = 0; entry < node->size; ++entry) {
      uint64_t hash = 0;
      HashKey(KeyAt(*node, stride, entry), &hash);
      put(SlotOf(hash, entry));
    }
  }
  node->slots = slots;
  node->slot_mask = mask;
}

inline bool SameKey(const Value& a, const Value& b, KeyWork* work) {
  if (a.is(Kind::kStr) && b.is(Kind::kStr)) {
    const std::string_view text = a.text();
    return text.size() == b.text().size() &&
           (Is(a, b) || (work->Spend(1 + text.size() / 64) && text == b.text()));
  }
  return KeyEqual(a, b, work);
}

// The entry, or kNotFound; then *free_slot, if there is a table, is where it would go.
inline size_t Locate(const KeyedNode& node, size_t stride, const Value& key, uint64_t hash,
                     uint64_t* free_slot, KeyWork* work) {
  if (node.slots == nullptr) {
    if ((node.seen >> (hash >> 58) & 1) == 0) return kNotFound;
    for (size_t entry = 0; entry < node.size; ++entry) {
      if (SameKey(KeyAt(node, stride, entry), key, work)) return entry;
    }
    return kNotFound;
  }
  uint64_t at = hash >> 32 & node.slot_mask;
  while (node.slots[at] != 0) {
    if ((node.slots[at] ^ hash) >> 32 == 0) {
      const size_t entry = static_cast<uint32_t>(node.slots[at]) - 1;
      if (SameKey(KeyAt(node, stride, entry), key, work)) return entry;
    }
    at = (at + 1) & node.slot_mask;
  }
  *free_slot = at;
  return kNotFound;
}

void GrowValues(Arena* arena, KeyedNode* node, size_t stride, size_t entries) {
  const size_t entry_size = stride * sizeof(Value);
  if (node->capacity != 0 &&
      arena->Extend(node->values, node->capacity * entry_size, entries * entry_size)) {
    node->capacity = static_cast<uint32_t>(entries);
    return;
  }
  const size_t capacity = std::max(entries, size_t{2} * node->capacity);
  Value* values = arena->AllocateArray<Value>(capacity * stride);
  if (node->size != 0) std::memcpy(values, node->values, node->size * entry_size);
  node->values = values;
  node->capacity = static_cast<uint32_t>(capacity);
}

}  // namespace

bool HashKey(const Value& key, uint64_t* hash, Value* culprit) {
  if (IsComposite(key.kind())) return HashComposite(key, hash, culprit);
  if (HashLeaf(key, hash)) return true;
  if (culprit != nullptr) *culprit = key;
  return false;
}

bool LeafKeysEqual(const Value& a, const Value& b) {
  if (IsNumber(a) && IsNumber(b)) return NumbersEqual(a, b);
  if (Is(a, b)) return true;
  if (a.kind() != b.kind()) return false;
  if (IsText(a.kind())) return a.text() == b.text();
  if (a.is(Kind::kGlobal)) {
    return a.module_name() == b.module_name() && a.global_name() == b.global_name();
  }
  return a.is(Kind::kExtension) && a.extension_code() == b.extension_code();
}

bool KeyEqual(const Value& a, const Value& b, KeyWork* work) {
  if (!IsComposite(a.kind()) || a.kind() != b.kind()) {
    const bool text = IsText(a.kind()) && a.kind() == b.kind();
    if (!work->Spend(text ? 1 + a.text().size() / 64 : 1)) return false;
    return LeafKeysEqual(a, b);
  }
  if (Is(a, b)) return true;
  const std::span<const Value> left = a.items();
  const std::span<const Value> right = b.items();
  if (left.size() != right.size()) return false;
  uint64_t left_hash = 0;
  uint64_t right_hash = 0;
  if (!HashKey(a, &left_hash) || !HashKey(b, &right_hash) || left_hash != right_hash) return false;
  if (!work->Spend(left.size())) return false;
  if (a.is(Kind::kTuple)) {  // most are flat
    size_t i = 0;
    for (; i < left.size(); ++i) {
      if (IsComposite(left[i].kind()) || IsComposite(right[i].kind())) break;
      if (!KeyEqual(left[i], right[i], work)) return false;
    }
    if (i == left.size()) return true;
  }
  return ClassesEqual(a, b, work);
}

KeyResult PutKeys(Arena* arena, KeyedNode* node, size_t stride, const Value* entries, size_t count,
                  KeyWork* work, Value* culprit) {
  if (count == 0) return KeyResult::kOk;
  const uint64_t total = uint64_t{node->size} + count;
  if (total > kMostEntries) return KeyResult::kTooMany;
  if (total > node->capacity) GrowValues(arena, node, stride, total);
  if (total > kSmall && (node->slots == nullptr || total > (node->slot_mask + 1) / 3 * 2)) {
    BuildSlots(arena, node, stride, std::max<uint64_t>(total, size_t{2} * node->size));
  }
  for (const Value *entry = entries, *end = entries + count * stride; entry != end;
       entry += stride) {
    uint64_t hash = 0;
    if (entry->is(Kind::kStr)) {
      hash = HashText(entry->text(), kStrSalt);
    } else if (!HashKey(*entry, &hash, culprit)) {
      return KeyResult::kUnhashable;
    }
    uint64_t free_slot = 0;
    const size_t found = Locate(*node, stride, *entry, hash, &free_slot, work);
    if (work->left == 0) return KeyResult::kTooMuchWork;
    if (found != kNotFound) {
      if (stride == 2) node->values[found * 2 + 1] = entry[1];
      continue;
    }
    Value* place = node->values + node->size * stride;
    place[0] = entry[0];
    if (stride == 2) place[1] = entry[1];
    if (node->slots == nullptr) {
      node->seen |= uint64_t{1} << (hash >> 58);
    } else {
      node->slots[free_slot] = SlotOf(hash, node->size);
    }
    ++node->size;
  }
  return KeyResult::kOk;
}

void RebuildIndex(Arena* arena, KeyedNode* node, size_t stride) {
  node->slots = nullptr;
  node->slot_mask = 0;
  node->seen = 0;
  if (node->size > kSmall) {
    BuildSlots(arena, node, stride, node->size);
    return;
  }
  for (size_t entry = 0; entry < node->size; ++entry) {
    uint64_t hash = 0;
    HashKey(KeyAt(*node, stride, entry), &hash);
    node->seen |= uint64_t{1} << (hash >> 58);
  }
}

size_t FindKey(const KeyedNode& node, size_t stride, const Value& key) {
  uint64_t hash = 0;
  if (!HashKey(key, &hash)) return kNotFound;
  uint64_t free_slot = 0;
  KeyWork work;
  return Locate(node, stride, key, hash, &free_slot, &work);
}

}  // namespace pannier::codec::internal

// Dict keys and set elements: hash and equality as Python has them, and the index that keeps
// them distinct. The entries themselves lie in insertion order in KeyedNode::values. Up to
// kSmall entries need no table: one bit per hash class (KeyedNode::seen) says of most keys
// that they are new, and the rest are compared one by one. Beyond, KeyedNode::slots is an
// open-addressed table.
//
// Hashes are seeded once per process with random bits, so that a stream cannot be made to
// collide.
#pragma once

#include <cstdint>
#include <limits>

#include "pannier/codec/arena.h"
#include "pannier/codec/value_access.h"

namespace pannier::codec::internal {

enum class KeyResult : uint8_t {
  kOk,
  kUnhashable,   // *culprit is the offending value
  kTooMany,      // more than 2^31 entries
  kTooMuchWork,  // comparisons used up the allowance
};

// What comparisons may cost: one for each element and each 64 bytes of text looked at.
struct KeyWork {
  uint64_t left = std::numeric_limits<uint64_t>::max();
  // False if it is used up.
  bool Spend(uint64_t amount) {
    if (amount > left) {
      left = 0;
      return false;
    }
    left -= amount;
    return true;
  }
};

// False if `key` is unhashable; then *culprit, if given, is it or what makes it so. Iterative;
// linear in the number of distinct tuples and frozensets inside, whose hashes are cached.
bool HashKey(const Value& key, uint64_t* hash, Value* culprit = nullptr);

// Python's ==, for hashable values. Iterative, nearly linear. False also when work runs out.
bool KeyEqual(const Value& a, const Value& b, KeyWork* work);

// Puts `count` entries of `stride` Values (1: elements, 2: key and value) into `node`, in
// order. An equal key stays where and as it is; its value is replaced. On an error the
// entries before the culprit are in.
KeyResult PutKeys(Arena* arena, KeyedNode* node, size_t stride, const Value* entries, size_t count,
                  KeyWork* work, Value* culprit);

// Makes the index of `node` anew, after its keys were replaced by equal ones.
void RebuildIndex(Arena* arena, KeyedNode* node, size_t stride);

inline constexpr size_t kNotFound = ~size_t{0};
// The entry with a key equal to `key`, or kNotFound, also if `key` is unhashable.
size_t FindKey(const KeyedNode& node, size_t stride, const Value& key);

}  // namespace pannier::codec::internal

// Equality of tuples and frozensets that hold others: each distinct value gets a number, from
// the inside out, and two are equal if their numbers are. So shared parts are looked at once,
// frozensets need no order, and nothing recurses.
#pragma once

#include "pannier/codec/key_index.h"

namespace pannier::codec::internal {

// Python's == for two hashable values that are neither tuple nor frozenset.
bool LeafKeysEqual(const Value& a, const Value& b);

// Python's == for two tuples or frozensets. False also when work runs out.
bool ClassesEqual(const Value& a, const Value& b, KeyWork* work);

}  // namespace pannier::codec::internal

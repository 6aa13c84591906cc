// Equality of Values. Iterative; terminates on graphs that contain themselves, in time
// that is nearly linear in their size.
#pragma once

#include <cstdint>

#include "pannier/codec/document.h"
#include "pannier/codec/value.h"

namespace pannier::codec {

// True if both describe the same structure: same kinds and contents, dicts and sets in the
// same order, floats by their bits, and Buffers of equal bytes and read-only bit. How far
// objects are shared is not compared: see Isomorphic.
bool Equal(const Document& a_document, const Value& a, const Document& b_document, const Value& b);
inline bool Equal(const Document& a, const Document& b) { return Equal(a, a.root(), b, b.root()); }

// Equal, and the same objects are shared in both: mutable containers, tuples and symbolic
// objects that are one object here are one object there.
bool Isomorphic(const Document& a, const Document& b);

// Python's `a == b`, for two values of one Document that may be dict keys: 1 == 1.0 == True,
// in tuples and frozensets too; NaN equals nothing but itself in the same handle's place;
// symbolic values are equal if they are the same object, and Globals by name.
bool KeyEqual(const Value& a, const Value& b);

}  // namespace pannier::codec

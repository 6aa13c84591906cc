// NumPy believes what a pickle says of a dtype: where fields lie, how large items are, whether
// they are pointers. These checks let only dtypes pass that NumPy itself could have pickled, so
// that no access through one leaves its array.
#pragma once

#include <cstdint>

#include "absl/container/flat_hash_map.h"
#include "pannier/base/status.h"
#include "pannier/codec/value.h"

namespace pannier::python {

class DTypeChecker {
 public:
  // `value` is an object whose callee is numpy.dtype. Errors: ForbiddenGlobal.
  Status Check(const codec::Value& value) { return ItemSize(value, 0).status(); }

 private:
  // Bytes of an item of a dtype that passes. `depth` is how far it lies inside another.
  StatusOr<uint64_t> ItemSize(const codec::Value& value, int depth);
  StatusOr<uint64_t> Measure(const codec::Value& value, int depth);
  Status CheckState(const codec::Value& state, char letter, uint64_t size, int depth);
  Status CheckFields(const codec::Value& names, const codec::Value& fields, uint64_t size,
                     int depth);
  Status CheckSubarray(const codec::Value& subarray, uint64_t size, int depth);

  absl::flat_hash_map<uint32_t, uint64_t> known_;  // by Value::id, so that work is linear
};

}  // namespace pannier::python

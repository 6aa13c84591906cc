// What Python pays for the keys of a document. CPython's tuples do not remember their hash, and
// compute it by recursion: so a short stream can ask for a key whose hash takes 2^40 steps (a
// tuple of one tuple twice, and so on) or one so deep that the C stack ends. The codec itself
// minds neither; whoever gives its values to Python dicts and sets asks here first.
#pragma once

#include <cstdint>
#include <vector>

#include "pannier/base/status.h"
#include "pannier/codec/document.h"

namespace pannier::python {

class KeyCosts {
 public:
  // `allowed`: steps for all keys together.
  explicit KeyCosts(uint64_t allowed) : left_(allowed) {}

  // Accounts for hashing and comparing `key` once. Errors: Limit, if it is nested deeper than
  // 500 or the allowance is spent. Each tuple and frozenset is looked into once.
  Status Spend(const codec::Value& key);

  // A fair allowance for a stream of that many bytes.
  static uint64_t AllowedFor(uint64_t stream_bytes);

 private:
  struct Cost {
    uint64_t steps = 0;  // saturating; 0: not known yet
    uint32_t depth = 0;
  };
  Cost CostOf(const codec::Value& key);
  const Cost* Known(const codec::Value& value) const;

  uint64_t left_;
  std::vector<Cost> costs_;  // by Value::id
};

}  // namespace pannier::python

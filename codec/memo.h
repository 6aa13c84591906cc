// The decoder's memo. A stream may write to any index up to 2^63: indices that stay near the
// number of entries lie in an array, wild ones in a hash map, so that memory follows what was
// stored and not the numbers named.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "pannier/codec/value_access.h"

namespace pannier::codec::internal {

class Memo {
 public:
  void Clear() {
    dense_.clear();
    sparse_.clear();
    count_ = 0;
  }

  // The entry, or null if there is none. Valid until the next Put.
  const Value* Get(uint64_t index) const {
    if (index < dense_.size() && dense_[index].kind() != ValueAccess::kHole) return &dense_[index];
    if (sparse_.empty()) return nullptr;
    const auto found = sparse_.find(index);
    return found == sparse_.end() ? nullptr : &found->second;
  }

  // Overwrites an entry that is there.
  void Put(uint64_t index, const Value& value) {
    if (index == dense_.size() && sparse_.empty()) {
      dense_.push_back(value);
      ++count_;
    } else {
      PutSlow(index, value);
    }
  }

  // Distinct indices written so far: where MEMOIZE stores next.
  uint64_t count() const { return count_; }

 private:
  void PutSlow(uint64_t index, const Value& value);

  std::vector<Value> dense_;  // holes are ValueAccess::Hole(); at most 2 * count_ + kSlack
  absl::flat_hash_map<uint64_t, Value> sparse_;
  uint64_t count_ = 0;
};

}  // namespace pannier::codec::internal

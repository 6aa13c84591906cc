#include "key_cost.h"

#include <algorithm>
#include <limits>

namespace pannier::python {
namespace {

using codec::Kind;
using codec::Value;

constexpr uint32_t kDeepest = 500;
constexpr uint64_t kMost = std::numeric_limits<uint64_t>::max() / 2;

// What Python hashes by looking inside.
bool IsNested(const Value& value) {
  return (value.is(Kind::kTuple) || value.is(Kind::kFrozenSet)) && value.size() != 0;
}

}  // namespace

uint64_t KeyCosts::AllowedFor(uint64_t stream_bytes) {
  return (uint64_t{1} << 20) + 64 * stream_bytes;
}

const KeyCosts::Cost* KeyCosts::Known(const Value& value) const {
  static constexpr Cost kLeaf{1, 0};
  if (!IsNested(value)) return &kLeaf;
  if (value.id() >= costs_.size() || costs_[value.id()].steps == 0) return nullptr;
  return &costs_[value.id()];
}

// Tuples and frozensets cannot contain themselves but through objects, which hash by identity:
// so this ends.
KeyCosts::Cost KeyCosts::CostOf(const Value& key) {
  std::vector<Value> pending{key};
  while (!pending.empty()) {
    const Value value = pending.back();
    if (Known(value) != nullptr) {
      pending.pop_back();
      continue;
    }
    const size_t before = pending.size();
    Cost cost{1, 0};
    for (const Value& item : value.items()) {
      if (const Cost* known = Known(item)) {
        cost.steps = std::min(kMost, cost.steps + known->steps);
        cost.depth = std::max(cost.depth, known->depth);
      } else {
        pending.push_back(item);
      }
    }
    if (pending.size() != before) continue;
    ++cost.depth;
    if (value.id() >= costs_.size()) costs_.resize(std::max<size_t>(64, 2 * value.id()));
    costs_[value.id()] = cost;
    pending.pop_back();
  }
  return *Known(key);
}

Status KeyCosts::Spend(const Value& key) {
  const Cost cost = CostOf(key);
  if (cost.depth > kDeepest) {
    return MakeError(ErrorKind::kLimit, "a key is nested deeper than 500 tuples");
  }
  if (cost.steps > left_) {
    return MakeError(ErrorKind::kLimit, "keys of dicts and sets cost Python too much to hash");
  }
  left_ -= cost.steps;
  return absl::OkStatus();
}

}  // namespace pannier::python

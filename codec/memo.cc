#include "pannier/codec/memo.h"

namespace pannier::codec::internal {
namespace {

constexpr uint64_t kSlack = 256;

}  // namespace

void Memo::PutSlow(uint64_t index, const Value& value) {
  if (index >= dense_.size() && index <= 2 * count_ + kSlack) {
    dense_.resize(index + 1, ValueAccess::Hole());
  }
  if (index < dense_.size()) {
    // A wild index of before may have come within reach.
    const bool was_sparse = !sparse_.empty() && sparse_.erase(index) != 0;
    if (dense_[index].kind() == ValueAccess::kHole && !was_sparse) ++count_;
    dense_[index] = value;
    return;
  }
  if (sparse_.insert_or_assign(index, value).second) ++count_;
}

}  // namespace pannier::codec::internal

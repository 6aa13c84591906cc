#include "pannier/codec/nesting.h"

#include <vector>

#include "pannier/codec/value_access.h"

namespace pannier::codec::internal {

bool NestingExceeds(const Value& root, uint32_t id_limit, uint64_t limit) {
  if (IsLeaf(root)) return false;
  std::vector<bool> seen(id_limit);
  std::vector<Children> open;
  open.emplace_back(root);
  seen[root.id()] = true;
  while (!open.empty()) {
    if (open.size() > limit) return true;
    const Value* child = open.back().Next();
    if (child == nullptr) {
      open.pop_back();
    } else if (!IsLeaf(*child) && (child->id() == 0 || !seen[child->id()])) {
      seen[child->id()] = child->id() != 0;
      open.emplace_back(*child);
    }
  }
  return false;
}

}  // namespace pannier::codec::internal

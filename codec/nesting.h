// How deep values lie inside values.
#pragma once

#include <cstdint>

#include "pannier/codec/value.h"

namespace pannier::codec::internal {

// True if a walk from `root`, depth first and into each object once, gets deeper than `limit`
// objects; a scalar alone is of depth 0, an empty list of depth 1. Ids are below `id_limit`.
bool NestingExceeds(const Value& root, uint32_t id_limit, uint64_t limit);

}  // namespace pannier::codec::internal

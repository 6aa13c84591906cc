// How much memory a pool may hold, and how large its next segment is.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "pannier/base/status.h"

namespace pannier {

// Bytes: a number with an optional suffix K, M or G (powers of 1024). Nothing if it is
// not one, is 0, or is past 64 bits.
std::optional<uint64_t> ParseByteCount(std::string_view text);

// PANNIER_POOL_QUOTA where it is set, else half of UsableMemory(). Errors: InvalidArgument (the
// variable is no byte count).
StatusOr<uint64_t> DefaultQuota();

// The size of a new segment for a request of `need` bytes (whole pages) in a pool that
// holds `held` bytes and may hold `quota`: docs/shm_layout.md, "Segment". 0 if there is no
// room for it. A multiple of `page_bytes`.
uint64_t NextSegmentBytes(uint64_t need, uint64_t held, uint64_t quota, uint64_t page_bytes);

}  // namespace pannier

// Copies of payloads into blocks.
#pragma once

#include <cstddef>

namespace pannier {

// As memcpy. From 16 MiB up it writes past the caches: so long a copy would only push
// out of them what it needs next, its own source first.
void CopyPayload(std::byte* to, const std::byte* from, size_t size);

}  // namespace pannier

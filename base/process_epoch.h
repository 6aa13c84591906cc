// Tells a process from the children it forked. A child inherits every object of its
// parent's memory but owns none of it: it must not hand back leases, send, or free
// blocks. Each resource remembers the epoch it was made in and compares on use; the
// comparison is one relaxed load.
#pragma once

#include <cstdint>

namespace pannier {

// 0 in the process that loaded the library; one more in each child of fork(2).
// Any thread.
uint32_t ProcessEpoch();

// True in a forked child, for an object made at `epoch`.
inline bool Forked(uint32_t epoch) { return ProcessEpoch() != epoch; }

}  // namespace pannier

// How much memory the machine has for this process, as far as /proc and the memory
// cgroups tell. fallocate(2) on a full machine does not fail: the kernel kills processes
// first, and not always the one that asked. So it is asked here before.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace pannier {

// The machine's memory, or the least limit of this process's cgroups (version 2 and 1)
// where that is less.
uint64_t UsableMemory();

// What can be taken of it now with nobody being killed: free, or caches of files, on the
// machine and under every limit of the cgroups, less 1/64 of each to spare. The largest
// number if nothing can be learned. Costs some file reads, about 50 us.
uint64_t AvailableMemory();

// The number after `key` at the start of a line of `text`, as in /proc/meminfo and in a
// cgroup's memory.stat; for tests too.
std::optional<uint64_t> NumberAfter(std::string_view text, std::string_view key);

}  // namespace pannier

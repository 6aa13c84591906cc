// Memory files: anonymous, sized, backed by real pages from the start, and sealed
// (docs/shm_layout.md). The seals make a descriptor safe to map for whoever receives it.
#pragma once

#include <cstdint>
#include <string>

#include "pannier/base/status.h"
#include "pannier/base/unique_fd.h"

namespace pannier {

// The system's page size.
uint64_t PageBytes();

// A memfd of `size` bytes, all backed: a machine without memory is an error here, neither
// a SIGBUS later nor a kill by the kernel now. `name` shows in /proc, no more. Errors:
// kSystem (ENOMEM also when AvailableMemory() says so).
StatusOr<UniqueFd> CreateMemfd(const std::string& name, uint64_t size);

// To be called once the owner has mapped the file: it cannot change in size, nor be
// mapped both shared and writable, nor written to, any more. Errors: kSystem.
Status SealSegment(int fd);
// For files that both sides write: it cannot change in size.
Status SealSize(int fd);

// The size of a received file that cannot change any more. Errors: CorruptMessage (not a
// sealed memory file, or empty). `what` is for the message.
StatusOr<uint64_t> CheckSealed(int fd, const std::string& what);

}  // namespace pannier

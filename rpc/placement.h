// Buffers that wait to be sent. Internal to rpc/.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "pannier/base/buffer.h"
#include "pannier/base/deadline.h"
#include "pannier/base/status.h"
#include "pannier/transport/connection.h"

namespace pannier::rpc {

// `buffers`, with those copied into the pool that each attempt to send on `connection` would
// copy there anew. Errors: those of Pool::Copy.
StatusOr<std::vector<Buffer>> PlaceInPool(const Connection& connection,
                                          std::span<const Buffer> buffers,
                                          uint64_t inline_threshold, Deadline deadline);

// False if one of them is larger than the pool of `connection`: to wait for room is in vain.
bool MayFit(const Connection& connection, std::span<const Buffer> buffers);

}  // namespace pannier::rpc

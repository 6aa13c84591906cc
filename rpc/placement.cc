#include "pannier/rpc/placement.h"

#include <algorithm>
#include <utility>

namespace pannier::rpc {

StatusOr<std::vector<Buffer>> PlaceInPool(const Connection& connection,
                                          std::span<const Buffer> buffers,
                                          uint64_t inline_threshold, Deadline deadline) {
  std::vector<Buffer> placed(buffers.begin(), buffers.end());
  if (!connection.info().link) return placed;
  Pool& pool = *connection.pool();
  for (Buffer& buffer : placed) {
    if (buffer.size() == 0 || buffer.size() < inline_threshold ||
        pool.Contains(buffer.data(), buffer.size())) {
      continue;
    }
    PANNIER_ASSIGN_OR_RETURN(Buffer copy, pool.Copy(buffer.span(), deadline));
    buffer = buffer.readonly() ? copy.AsReadonly() : std::move(copy);
  }
  return placed;
}

bool MayFit(const Connection& connection, std::span<const Buffer> buffers) {
  const uint64_t quota = connection.pool()->Stats().quota;
  return std::ranges::all_of(buffers, [&](const Buffer& each) { return each.size() <= quota; });
}

}  // namespace pannier::rpc

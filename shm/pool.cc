#include "pannier/shm/pool.h"

#include <atomic>
#include <bit>
#include <cstdlib>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "pannier/base/process_epoch.h"
#include "pannier/shm/pool_core.h"
#include "pannier/shm/return_ring.h"
#include "pannier/shm/sizing.h"

namespace pannier {
namespace {

// The default pool of one process, and of those it was forked from: these stay reachable,
// as Buffers of theirs may be.
struct DefaultPool {
  uint32_t epoch;
  std::shared_ptr<Pool> pool;
  const DefaultPool* parents;
};

std::atomic<const DefaultPool*> g_default{nullptr};

bool DebugIsAsked() {
  const char* const variable = std::getenv("PANNIER_DEBUG");
  return variable != nullptr && std::string_view(variable) == "1";
}

// What users hold: when the last of them lets go, nobody drains the pool any more.
std::shared_ptr<Pool> HandleTo(std::shared_ptr<PoolCore> core) {
  PoolCore* pool = core.get();
  return {pool, [core = std::move(core)](PoolCore*) { core->Abandon(); }};
}

}  // namespace

StatusOr<std::shared_ptr<Pool>> Pool::Create(const PoolOptions& options) {
  if (options.leases_per_peer == 0 || options.leases_per_peer > ReturnRingHeader::kMaxCapacity) {
    return MakeError(ErrorKind::kInvalidArgument,
                     absl::StrCat("leases_per_peer is ", options.leases_per_peer,
                                  ": it must be 1 to ", ReturnRingHeader::kMaxCapacity));
  }
  PoolOptions checked = options;
  checked.leases_per_peer = std::bit_ceil(options.leases_per_peer);
  if (checked.quota == 0) {
    PANNIER_ASSIGN_OR_RETURN(checked.quota, DefaultQuota());
  }
  if (checked.warm > checked.quota) {
    return MakeError(ErrorKind::kInvalidArgument,
                     absl::StrCat("warm is ", checked.warm, " bytes, more than the quota of ",
                                  checked.quota, "; lower it, or raise the quota"));
  }
  checked.guard = checked.guard || DebugIsAsked();
  auto core = std::make_shared<PoolCore>(checked, checked.quota, absl::OkStatus());
  PANNIER_RETURN_IF_ERROR(core->Warm());
  return HandleTo(std::move(core));
}

std::shared_ptr<Pool> Pool::Default() {
  // Acquire pairs with the release below: the pool is complete. No lock, as a fork may
  // copy one that a thread holds which the child does not have.
  const DefaultPool* current = g_default.load(std::memory_order_acquire);
  while (current == nullptr || Forked(current->epoch)) {
    auto made = Pool::Create();
    // Without a usable setting the pool exists, and says why it does not work.
    std::shared_ptr<Pool> pool =
        made.ok() ? *std::move(made)
                  : std::make_shared<PoolCore>(PoolOptions{}, 0, std::move(made).status());
    auto next =
        std::make_unique<DefaultPool>(DefaultPool{ProcessEpoch(), std::move(pool), current});
    if (g_default.compare_exchange_strong(current, next.get(), std::memory_order_release,
                                          std::memory_order_acquire)) {
      current = next.release();
    }
  }
  return current->pool;
}

}  // namespace pannier

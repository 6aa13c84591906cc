#include "pannier/base/process_epoch.h"

#include <pthread.h>

#include <atomic>

namespace pannier {
namespace {

std::atomic<uint32_t> g_epoch{0};

// Relaxed suffices: the child has one thread, and it runs this before anything else.
void CountFork() {
  g_epoch.store(g_epoch.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

[[maybe_unused]] const int g_registered = pthread_atfork(nullptr, nullptr, CountFork);

}  // namespace

uint32_t ProcessEpoch() { return g_epoch.load(std::memory_order_relaxed); }

}  // namespace pannier

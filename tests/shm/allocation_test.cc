// The warm paths of pool and import allocate nothing: a program of its own, as it counts
// every operator new.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "harness.h"

namespace {
std::atomic<long> g_allocations{0};
}  // namespace

// Not inlined: the compiler would see malloc and operator delete, and call it a mismatch.
[[gnu::noinline]] void* operator new(size_t size) {
  g_allocations.fetch_add(1);
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace pannier {
namespace {

TEST(HeapAllocations, NoneForAWarmRoundTrip) {
  auto pool = MakePool(64 << 20);
  Pair pair(pool);
  const auto round_trip = [&](size_t size) {
    auto block = pool->Allocate(size);
    const auto lease = pair.row->Grant(block->data(), size, true, Deadline::Now());
    if (!pair.import->HasSegment(lease->segment)) {
      pair.row->Revoke(*lease);
      ASSERT_OK(pair.Carry(*block, false));
      return;
    }
    auto view = pair.import->Open(*lease, false);
    ASSERT_TRUE(view.ok());
    *block = Buffer();
    *view = Buffer();
    ASSERT_EQ(*pair.row->Drain(), 1u);
  };
  for (int i = 0; i < 100; ++i) round_trip(1000 + i * 500);
  const long before = g_allocations.load();
  for (int i = 0; i < 1000; ++i) round_trip(1000 + (i * 37 % 100) * 500);
  EXPECT_EQ(g_allocations.load() - before, 0);
}

}  // namespace
}  // namespace pannier

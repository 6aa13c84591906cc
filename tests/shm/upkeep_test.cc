// What a pool does about its memory over time: warm and idle segments, its end, who is told,
// what is counted; and a pool with very many peers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "harness.h"

namespace pannier {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

std::shared_ptr<Pool> PoolWith(uint64_t warm, absl::Duration idle_time,
                               uint64_t quota = 64 * kMiB) {
  PoolOptions options;
  options.quota = quota;
  options.leases_per_peer = 64;
  options.name = "test";
  options.warm = warm;
  options.idle_time = idle_time;
  return Pool::Create(options).value();
}

// Calls Maintain when it says so, until `done` or for 20 seconds.
template <typename Done>
bool MaintainUntil(Pool* pool, Done done) {
  const Deadline end = Deadline::After(absl::Seconds(20));
  while (!done()) {
    if (end.Passed()) return false;
    const Deadline next = pool->Maintain();
    const absl::Duration nap = std::min(next.Remaining(), absl::Milliseconds(20));
    std::this_thread::sleep_for(absl::ToChronoNanoseconds(nap) + std::chrono::milliseconds(1));
  }
  return true;
}

TEST(Upkeep, AWarmPoolAllocatesWithoutTheSystem) {
  auto pool = PoolWith(10 * kMiB + 1, absl::Seconds(10));
  EXPECT_EQ(pool->Stats().segment_bytes, 10 * kMiB + 4096);
  const auto block = pool->Allocate(10 * kMiB);
  ASSERT_OK(block);
  EXPECT_EQ(pool->Stats().segments, 1u);
  EXPECT_OK(pool->Audit());

  PoolOptions options;
  options.quota = kMiB;
  options.warm = 2 * kMiB;
  EXPECT_EQ(KindOf(Pool::Create(options).status()), ErrorKind::kInvalidArgument);
}

TEST(Upkeep, IdleSegmentsGoBackToTheSystemButTheWarmOnes) {
  auto pool = PoolWith(4 * kMiB, absl::Milliseconds(50));
  EXPECT_TRUE(pool->Maintain().never()) << "nothing but the warm memory";
  Buffer large = *pool->Allocate(20 * kMiB);
  EXPECT_EQ(pool->Stats().segments, 2u);
  EXPECT_FALSE(pool->Maintain().never());
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  pool->Maintain();
  pool->Maintain();
  EXPECT_EQ(pool->Stats().segments, 2u) << "it is used";
  large = Buffer();
  EXPECT_EQ(pool->Stats().segments, 2u) << "not at once";
  EXPECT_TRUE(MaintainUntil(pool.get(), [&] { return pool->Stats().segments == 1; }));
  EXPECT_EQ(pool->Stats().segment_bytes, 4 * kMiB);
  EXPECT_TRUE(pool->Maintain().never());
  EXPECT_OK(pool->Audit());
}

TEST(Upkeep, ASegmentInUseNowAndThenIsKept) {
  auto pool = PoolWith(0, absl::Seconds(5));
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(100);
  ASSERT_OK(pool->Allocate(100));
  while (std::chrono::steady_clock::now() < end) {
    pool->Maintain();
    ASSERT_OK(pool->Allocate(100));
  }
  EXPECT_OK(pool->Segment(1));
}

TEST(Upkeep, AllocationGivesIdleSegmentsBackOnItsWay) {
  auto pool = PoolWith(0, absl::Milliseconds(40));
  const Buffer kept = *pool->Allocate(100);
  ASSERT_OK(pool->Allocate(20 * kMiB));
  const Deadline end = Deadline::After(absl::Seconds(20));
  while (pool->Stats().segments > 1 && !end.Passed()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    ASSERT_OK(pool->Allocate(100));
  }
  EXPECT_EQ(pool->Stats().segments, 1u);
}

TEST(Upkeep, LeasesOfAnIdleOwnerComeHome) {
  auto pool = PoolWith(0, absl::Milliseconds(20));
  Pair pair(pool);
  Buffer view = *pair.Carry(*pool->Allocate(100), false);
  EXPECT_FALSE(pool->Maintain().never());
  view = Buffer();
  EXPECT_TRUE(MaintainUntil(pool.get(), [&] { return pool->Stats().segments == 0; }));
  EXPECT_TRUE(pool->Maintain().never());
}

TEST(Upkeep, NeverIsNever) {
  auto pool = PoolWith(0, absl::InfiniteDuration());
  ASSERT_OK(pool->Allocate(100));
  EXPECT_TRUE(pool->Maintain().never());
  EXPECT_EQ(pool->Stats().segments, 1u);
}

TEST(Upkeep, AClosedPoolGivesBackWhatEnds) {
  const int mappings = MappingsOf("pannier:test");
  auto pool = PoolWith(0, absl::Seconds(10));
  Pair pair(pool);
  Buffer own = *pool->Allocate(100);
  Buffer sent = *pool->Allocate(20 * kMiB);
  Fill(own.mutable_span(), 1);
  Buffer view = *pair.Carry(sent, false);
  ASSERT_OK(pool->Allocate(30 * kMiB));
  EXPECT_EQ(pool->Stats().segments, 3u);
  pool->Close();
  pool->Close();
  EXPECT_EQ(pool->Stats().segments, 2u) << "what was free";
  EXPECT_EQ(KindOf(pool->Allocate(1, Deadline::Never()).status()), ErrorKind::kClosed);
  EXPECT_EQ(KindOf(pool->Copy(own.span()).status()), ErrorKind::kClosed);
  EXPECT_EQ(KindOf(pool->OpenRow("late", nullptr).status()), ErrorKind::kClosed);
  EXPECT_TRUE(Holds(own.span(), 1));
  EXPECT_OK(pair.Carry(own, false)) << "what is there may still be sent";
  sent = Buffer();
  EXPECT_EQ(pool->Stats().segments, 2u);
  view = Buffer();
  pool->DrainReturns();
  EXPECT_EQ(pool->Stats().segments, 1u);
  own = Buffer();
  EXPECT_EQ(pool->Stats().segments, 0u);
  EXPECT_OK(pool->Audit());
  pair.import.reset();
  EXPECT_EQ(MappingsOf("pannier:test"), mappings);
}

TEST(Upkeep, WhenHomeIsToldOnce) {
  auto pool = PoolWith(0, absl::Seconds(10));
  Pair pair(pool);
  const Buffer block = *pool->Allocate(100);
  int told = 0;
  EXPECT_OK(pool->WhenHome(block.data(), [&] {
    pool->Stats();  // would wait for ever under the pool's lock
    ++told;
  }));
  EXPECT_EQ(told, 1) << "it is home";
  Buffer first = *pair.Carry(block, false);
  Buffer second = *pair.Carry(block, true);
  EXPECT_OK(pool->WhenHome(block.data() + 50, [&] { told += 10; }));
  EXPECT_OK(pool->WhenHome(block.data(), [&] { told += 100; }));
  first = Buffer();
  pool->DrainReturns();
  EXPECT_EQ(told, 1);
  second = Buffer();
  EXPECT_EQ(told, 1) << "nobody looked yet";
  pool->DrainReturns();
  EXPECT_EQ(told, 111);
  ASSERT_OK(pair.Carry(block, false));
  pool->DrainReturns();
  EXPECT_EQ(told, 111);
  // The end of a peer is an end of its leases too.
  ASSERT_OK(pair.Grant(block, true));
  EXPECT_OK(pool->WhenHome(block.data(), [&] { told = 0; }));
  pair.row->Close();
  EXPECT_EQ(told, 0);
  int local = 0;
  EXPECT_EQ(KindOf(pool->WhenHome(reinterpret_cast<std::byte*>(&local), [] {})),
            ErrorKind::kInvalidArgument);
}

TEST(Upkeep, StatisticsTellAgesAndFragmentation) {
  auto pool = PoolWith(8 * kMiB, absl::Seconds(10), 8 * kMiB);
  EXPECT_EQ(pool->Stats().largest_free_bytes, 8 * kMiB);
  Pair pair(pool, "old");
  Pair idle(pool, "idle");
  std::vector<Buffer> blocks;
  for (int i = 0; i < 8; ++i) blocks.push_back(*pool->Allocate(kMiB));
  EXPECT_EQ(pool->Stats().largest_free_bytes, 0u);
  for (int i = 0; i < 8; i += 2) blocks[i] = Buffer();
  auto stats = pool->Stats();
  EXPECT_EQ(stats.free_bytes, 4 * kMiB);
  EXPECT_EQ(stats.largest_free_bytes, kMiB);
  EXPECT_FALSE(pool->Allocate(2 * kMiB).ok());

  const Buffer first = *pair.Carry(blocks[1], false);
  std::this_thread::sleep_for(std::chrono::milliseconds(60));
  Buffer second = *pair.Carry(blocks[3], false);
  stats = pool->Stats();
  ASSERT_EQ(stats.peers.size(), 2u);
  EXPECT_EQ(stats.peers[0].peer, "old");
  EXPECT_GE(stats.peers[0].oldest, absl::Milliseconds(50)) << "of the oldest, not of the newest";
  EXPECT_LT(stats.peers[0].oldest, absl::Minutes(5));
  EXPECT_EQ(stats.peers[1].oldest, absl::ZeroDuration());
}

TEST(Upkeep, VeryManyPeersOfOnePool) {
  constexpr int kPeers = 128;
  const int descriptors = OpenDescriptors();
  {
    auto pool = PoolWith(0, absl::Seconds(10));
    const Buffer block = *pool->Allocate(10000);
    Fill(block.mutable_span(), 5);
    std::vector<std::unique_ptr<Pair>> pairs;
    std::vector<Buffer> views;
    for (int i = 0; i < kPeers; ++i) {
      pairs.push_back(std::make_unique<Pair>(pool, "peer " + std::to_string(i)));
      views.push_back(*pairs.back()->Carry(block, i % 2 == 0));
    }
    EXPECT_EQ(*pool->Leases(block.data()), 128u);
    views[6].mutable_data()[0] = std::byte{77};
    for (int i = 0; i < kPeers; ++i) {
      if (i != 6) {
        ASSERT_TRUE(Holds(views[i].span(), 5)) << i;
      }
    }
    // Half of them hand back, a quarter dies.
    for (int i = 0; i < kPeers; i += 2) views[i] = Buffer();
    for (int i = 1; i < kPeers; i += 4) pairs[i]->row->Close();
    EXPECT_EQ(*pool->Leases(block.data()), 32u);
    EXPECT_EQ(pool->Stats().peers.size(), 96u);
    EXPECT_OK(pool->Audit());
    views.clear();
    EXPECT_EQ(*pool->Leases(block.data()), 0u);
  }
  EXPECT_EQ(OpenDescriptors(), descriptors);
}

}  // namespace
}  // namespace pannier

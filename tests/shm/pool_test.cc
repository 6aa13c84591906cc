#include "pannier/shm/pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <random>
#include <thread>

#include "harness.h"
#include "pannier/shm/lease.h"
#include "pannier/shm/mapping.h"
#include "pannier/shm/return_ring.h"

namespace pannier {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kMiB = uint64_t{1} << 20;

Deadline Soon() { return Deadline::After(absl::Seconds(20)); }

TEST(Pool, BlocksAreWritableAndPageAligned) {
  auto pool = MakePool(64 * kMiB);
  for (const size_t size : {size_t{0}, size_t{1}, size_t{4096}, size_t{4097}, size_t{5} << 20}) {
    const auto buffer = pool->Allocate(size);
    ASSERT_OK(buffer);
    EXPECT_EQ(buffer->size(), size);
    EXPECT_FALSE(buffer->readonly());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % 4096, 0u);
    Fill(buffer->mutable_span(), size);
    EXPECT_TRUE(Holds(buffer->span(), size));
    EXPECT_TRUE(pool->Contains(buffer->data(), size));
    EXPECT_OK(pool->Audit());
  }
  EXPECT_EQ(pool->Stats().blocks, 0u);
  EXPECT_EQ(pool->Stats().allocations, 5u);
}

TEST(Pool, ContainsMeansOneBlock) {
  auto pool = MakePool(64 * kMiB);
  const Buffer a = *pool->Allocate(8192);
  const Buffer b = *pool->Allocate(8192);
  const Buffer& low = a.data() < b.data() ? a : b;
  EXPECT_TRUE(pool->Contains(low.data() + 100, 8092));
  EXPECT_FALSE(pool->Contains(low.data() + 100, 8093)) << "into the next block";
  EXPECT_FALSE(pool->Contains(low.data(), ~size_t{0}));
  EXPECT_TRUE(pool->Contains(low.data() + 8192, 0));
  int local = 0;
  EXPECT_FALSE(pool->Contains(reinterpret_cast<std::byte*>(&local), 1));
  EXPECT_FALSE(pool->Contains(nullptr, 0));
}

TEST(Pool, LastFreedIsUsedFirst) {
  auto pool = MakePool(64 * kMiB);
  Buffer a = *pool->Allocate(20000);
  const Buffer b = *pool->Allocate(20000);
  const std::byte* const address = a.data();
  a = Buffer();
  EXPECT_EQ(pool->Allocate(20000)->data(), address);
  EXPECT_EQ(pool->Allocate(17000)->data(), address) << "as many pages";
}

TEST(Pool, BuffersOutliveThePool) {
  Buffer copy;
  const int descriptors = OpenDescriptors();
  const int mappings = MappingsOf("pannier:test");
  {
    auto pool = MakePool(64 * kMiB);
    Buffer buffer = *pool->Allocate(1000);
    Fill(buffer.mutable_span(), 3);
    copy = buffer.Slice(0, 1000);
  }
  EXPECT_TRUE(Holds(copy.span(), 3));
  EXPECT_EQ(MappingsOf("pannier:test"), mappings + 1);
  copy = Buffer();
  EXPECT_EQ(MappingsOf("pannier:test"), mappings);
  EXPECT_EQ(OpenDescriptors(), descriptors);
}

TEST(Pool, CopyCopiesAndCounts) {
  auto pool = MakePool(256 * kMiB);
  for (const size_t size : {size_t{0}, size_t{10}, size_t{20} << 20}) {
    Buffer from = Buffer::OfHeap(size);
    Fill(from.mutable_span(), size);
    const auto copy = pool->Copy(from.span());
    ASSERT_OK(copy);
    EXPECT_TRUE(Holds(copy->span(), size));
  }
  EXPECT_EQ(pool->Stats().copied_bytes, 10 + (size_t{20} << 20));
}

TEST(Pool, TheQuotaHoldsAndTheErrorNamesTheHolders) {
  auto pool = MakePool(8 * kMiB);
  auto row = *pool->OpenRow("worker-7", nullptr);
  Buffer leased = *pool->Allocate(5 * kMiB);
  ASSERT_OK(row->Grant(leased.data(), leased.size(), true, Deadline::Now()));
  leased = Buffer();
  const auto refused = pool->Allocate(4 * kMiB);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(KindOf(refused.status()), ErrorKind::kPoolExhausted);
  const std::string message(FromAbsl(refused.status().message()));
  EXPECT_THAT(message, HasSubstr("worker-7 (1 leases, 5242880 bytes)"));
  EXPECT_THAT(message, HasSubstr("4194304 bytes"));
  EXPECT_THAT(message, HasSubstr("8388608"));
  EXPECT_LE(pool->Stats().segment_bytes, 8 * kMiB);
  EXPECT_OK(pool->Allocate(2 * kMiB)) << "what fits still fits";

  const auto never = pool->Allocate(9 * kMiB, Deadline::Never());
  EXPECT_EQ(KindOf(never.status()), ErrorKind::kPoolExhausted) << "does not wait for a miracle";
  EXPECT_EQ(KindOf(pool->Allocate(~size_t{0}, Deadline::Never()).status()),
            ErrorKind::kPoolExhausted);
  EXPECT_OK(pool->Audit());
}

TEST(Pool, FreeSegmentsMakeRoomForALargerOne) {
  auto pool = MakePool(12 * kMiB);
  {
    const auto a = pool->Allocate(4 * kMiB);
    const auto b = pool->Allocate(4 * kMiB);
    ASSERT_OK(a);
    ASSERT_OK(b);
  }
  EXPECT_EQ(pool->Stats().segments, 2u);
  const auto large = pool->Allocate(10 * kMiB);
  ASSERT_OK(large);
  EXPECT_EQ(pool->Stats().segments, 1u);
  EXPECT_OK(pool->Audit());
}

TEST(Pool, AllocateWaitsForALeaseToComeHome) {
  auto pool = MakePool(4 * kMiB);
  Pair pair(pool);
  Buffer sent = *pool->Allocate(3 * kMiB);
  Buffer received = *pair.Carry(sent, false);
  sent = Buffer();
  EXPECT_EQ(KindOf(pool->Allocate(3 * kMiB).status()), ErrorKind::kPoolExhausted);
  std::thread peer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    received = Buffer();
  });
  EXPECT_OK(pool->Allocate(3 * kMiB, Soon()));
  peer.join();
  EXPECT_OK(pool->Audit());
}

TEST(Pool, WaitingEndsAtTheDeadline) {
  auto pool = MakePool(4 * kMiB);
  const Buffer all = *pool->Allocate(4 * kMiB);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(KindOf(pool->Allocate(1, Deadline::After(absl::Milliseconds(40))).status()),
            ErrorKind::kPoolExhausted);
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(40));
}

TEST(Pool, TheRowsOfDeadPeersAreClosed) {
  auto pool = MakePool(4 * kMiB);
  auto alive = std::make_shared<std::atomic<bool>>(true);
  auto row = *pool->OpenRow("worker", [alive] { return alive->load(); });
  Buffer sent = *pool->Allocate(3 * kMiB);
  ASSERT_OK(row->Grant(sent.data(), sent.size(), true, Deadline::Now()));
  const Buffer kept = *pool->Allocate(10);
  sent = Buffer();
  EXPECT_FALSE(pool->Allocate(3 * kMiB).ok());
  EXPECT_EQ(pool->Stats().peers.size(), 1u);
  std::thread killer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    alive->store(false);
  });
  EXPECT_OK(pool->Allocate(3 * kMiB, Soon()));
  killer.join();
  EXPECT_TRUE(pool->Stats().peers.empty());
  EXPECT_EQ(KindOf(row->Grant(kept.data(), 1, true, Soon()).status()), ErrorKind::kConnectionLost);
  EXPECT_EQ(row->leases(), 0u);
}

TEST(Pool, StatsDropDeadPeers) {
  auto pool = MakePool(4 * kMiB);
  auto row = *pool->OpenRow("dead", [] { return false; });
  const Buffer sent = *pool->Allocate(10);
  ASSERT_OK(row->Grant(sent.data(), 10, true, Deadline::Now()));
  EXPECT_TRUE(pool->Stats().peers.empty());
  EXPECT_OK(pool->Audit());
}

TEST(Pool, GrantWantsABlockOfThePool) {
  auto pool = MakePool(8 * kMiB);
  auto row = *pool->OpenRow("peer", nullptr);
  const Buffer heap = Buffer::OfHeap(100);
  EXPECT_EQ(KindOf(row->Grant(heap.data(), 100, true, Soon()).status()),
            ErrorKind::kInvalidArgument);
  const Buffer block = *pool->Allocate(4096);
  EXPECT_EQ(KindOf(row->Grant(block.data() + 1, 4096, true, Soon()).status()),
            ErrorKind::kInvalidArgument);
  EXPECT_EQ(KindOf(row->Grant(block.data(), ~size_t{0}, true, Soon()).status()),
            ErrorKind::kInvalidArgument);
  const auto lease = row->Grant(block.data() + 7, 100, false, Soon());
  ASSERT_OK(lease);
  EXPECT_EQ(lease->offset % 4096, 7u);
  EXPECT_EQ(lease->length, 100u);
  EXPECT_NE(lease->generation, 0u);
  EXPECT_FALSE(lease->readonly);
  EXPECT_OK(pool->Segment(lease->segment));
  EXPECT_EQ(KindOf(pool->Segment(lease->segment + 1).status()), ErrorKind::kInvalidArgument);
}

TEST(Pool, NoBytesAreLeasedAnywhereInABlock) {
  auto pool = MakePool(4 * kMiB);
  auto row = *pool->OpenRow("peer", nullptr);
  const Buffer all = *pool->Allocate(4 * kMiB);  // ends where its segment ends
  EXPECT_OK(row->Grant(all.data(), 0, true, Soon()));
  const auto end = row->Grant(all.data() + all.size(), 0, true, Soon());
  ASSERT_OK(end);
  EXPECT_EQ(end->offset, 4 * kMiB);
  EXPECT_EQ(*pool->Leases(all.data()), 2u);
  EXPECT_OK(pool->Audit());
}

TEST(Pool, CreditEndsAndComesBack) {
  auto pool = MakePool(8 * kMiB, 4);
  Pair pair(pool, "slow");
  EXPECT_EQ(pair.row->credit(), 4u);
  const Buffer block = *pool->Allocate(100);
  std::vector<Buffer> held;
  for (int i = 0; i < 4; ++i) held.push_back(*pair.Carry(block, false));
  const auto refused = pair.row->Grant(block.data(), 1, true, Deadline::Now());
  EXPECT_EQ(KindOf(refused.status()), ErrorKind::kPoolExhausted);
  EXPECT_THAT(std::string(FromAbsl(refused.status().message())), HasSubstr("slow holds 4 leases"));
  held.pop_back();
  EXPECT_OK(pair.row->Grant(block.data(), 1, true, Deadline::Now())) << "drains by itself";
  std::thread peer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    held.pop_back();
  });
  EXPECT_OK(pair.row->Grant(block.data(), 1, true, Soon()));
  peer.join();
  EXPECT_OK(pool->Audit());
}

TEST(Pool, CreditIsRoundedUpToAPowerOfTwo) {
  EXPECT_EQ((*MakePool(kMiB, 5)->OpenRow("peer", nullptr))->credit(), 8u);
  PoolOptions options;
  options.leases_per_peer = 0;
  EXPECT_EQ(KindOf(Pool::Create(options).status()), ErrorKind::kInvalidArgument);
  options.leases_per_peer = ReturnRingHeader::kMaxCapacity + 1;
  EXPECT_EQ(KindOf(Pool::Create(options).status()), ErrorKind::kInvalidArgument);
}

TEST(Pool, RevokeTakesBackAnUnsentLease) {
  auto pool = MakePool(8 * kMiB);
  auto row = *pool->OpenRow("peer", nullptr);
  Buffer block = *pool->Allocate(100);
  const LeaseDescriptor lease = *row->Grant(block.data(), 100, true, Soon());
  block = Buffer();
  EXPECT_EQ(pool->Stats().blocks, 1u);
  row->Revoke(lease);
  EXPECT_EQ(pool->Stats().blocks, 0u);
  row->Revoke(lease);  // a second time is nothing
  EXPECT_OK(pool->Audit());
}

TEST(Pool, CloseEndsTheLeasesOfThatRowAlone) {
  auto pool = MakePool(8 * kMiB);
  auto a = *pool->OpenRow("a", nullptr);
  auto b = *pool->OpenRow("b", nullptr);
  Buffer shared = *pool->Allocate(100);
  Buffer only_a = *pool->Allocate(100);
  const LeaseDescriptor lease = *a->Grant(shared.data(), 100, true, Soon());
  ASSERT_OK(b->Grant(shared.data(), 100, true, Soon()));
  ASSERT_OK(a->Grant(only_a.data(), 100, true, Soon()));
  shared = Buffer();
  only_a = Buffer();
  EXPECT_EQ(pool->Stats().blocks, 2u);
  a->Close();
  a->Close();
  EXPECT_EQ(pool->Stats().blocks, 1u);
  EXPECT_EQ(*a->Drain(), 0u);
  a->Revoke(lease);
  b.reset();
  EXPECT_EQ(pool->Stats().blocks, 0u);
  EXPECT_OK(pool->Audit());
}

TEST(Pool, AForgedCellIsReportedAndCostsNothingElse) {
  auto pool = MakePool(8 * kMiB, 8);
  auto row = *pool->OpenRow("liar", nullptr);
  Mapping memory = *Mapping::Create(row->ring_fd(), Access::kShared, 0, ReturnRingBytes(8));
  ReturnRingProducer ring(memory.data(), 8);
  const Buffer block = *pool->Allocate(100);
  std::vector<LeaseDescriptor> leases;
  for (int i = 0; i < 3; ++i) leases.push_back(*row->Grant(block.data(), 100, true, Soon()));
  const auto is_corrupt = [&](uint64_t cell) {
    ring.Push(cell);
    const auto drained = row->Drain();
    return KindOf(drained.status()) == ErrorKind::kCorruptMessage &&
           drained.status().message().find("liar") != absl::string_view::npos;
  };
  EXPECT_TRUE(is_corrupt(LeaseCell(leases[0].slot, leases[0].generation + 1)));
  EXPECT_TRUE(is_corrupt(LeaseCell(leases[0].slot, 0) | (leases[0].slot == 0 ? 4 : 0)));
  EXPECT_TRUE(is_corrupt(LeaseCell(7, 1))) << "a slot never used";
  EXPECT_TRUE(is_corrupt(LeaseCell(8, 1))) << "a slot past the row";
  EXPECT_TRUE(is_corrupt(~uint64_t{0}));
  EXPECT_EQ(row->leases(), 3u);
  // Between right ones, one returned twice: the right ones count.
  ring.Push(LeaseCell(leases[0].slot, leases[0].generation));
  ring.Push(LeaseCell(leases[0].slot, leases[0].generation));
  ring.Push(LeaseCell(leases[1].slot, leases[1].generation));
  EXPECT_EQ(KindOf(row->Drain().status()), ErrorKind::kCorruptMessage);
  EXPECT_EQ(row->leases(), 1u);
  EXPECT_EQ(*row->Drain(), 0u) << "reported once";
  // What another drain found is not lost.
  ring.Push(12345);
  pool->DrainReturns();
  EXPECT_EQ(KindOf(row->Drain().status()), ErrorKind::kCorruptMessage);
  ring.Push(LeaseCell(leases[2].slot, leases[2].generation));
  EXPECT_EQ(*row->Drain(), 1u);
  EXPECT_OK(pool->Audit());
}

TEST(Pool, ARingFullOfLiesIsReadOnce) {
  auto pool = MakePool(8 * kMiB, 8);
  auto row = *pool->OpenRow("liar", nullptr);
  Mapping memory = *Mapping::Create(row->ring_fd(), Access::kShared, 0, ReturnRingBytes(8));
  for (int i = 0; i < 8; ++i) ReturnRingCells(memory.data())[i].store(99);
  EXPECT_EQ(KindOf(row->Drain().status()), ErrorKind::kCorruptMessage);
  EXPECT_EQ(*row->Drain(), 0u);
  EXPECT_OK(pool->Audit());
}

TEST(Pool, TrimGivesBackWhatIsNotUsed) {
  auto pool = MakePool(64 * kMiB);
  const int mappings = MappingsOf("pannier:test");
  const int descriptors = OpenDescriptors();
  Buffer small = *pool->Allocate(100);
  Buffer large = *pool->Allocate(10 * kMiB);
  EXPECT_EQ(pool->Trim(), 0u);
  large = Buffer();
  EXPECT_EQ(pool->Trim(), 10 * kMiB);
  EXPECT_EQ(pool->Stats().segment_bytes, 4 * kMiB);
  small = Buffer();
  EXPECT_EQ(pool->Trim(), 4 * kMiB);
  EXPECT_EQ(pool->Trim(), 0u);
  EXPECT_EQ(MappingsOf("pannier:test"), mappings);
  EXPECT_EQ(OpenDescriptors(), descriptors);
  EXPECT_OK(pool->Audit());
  const Buffer again = *pool->Allocate(100);
  EXPECT_EQ(KindOf(pool->Segment(1).status()), ErrorKind::kInvalidArgument)
      << "a number is not used again";
  EXPECT_OK(pool->Segment(3));
}

TEST(Pool, LeasesAreCountedAndWaitedFor) {
  auto pool = MakePool(8 * kMiB);
  Pair pair(pool);
  const Buffer block = *pool->Allocate(10000);
  EXPECT_EQ(*pool->Leases(block.data() + 5000), 0u);
  EXPECT_OK(pool->WaitHome(block.data(), Deadline::Now()));
  Buffer view = *pair.Carry(block, false);
  EXPECT_EQ(*pool->Leases(block.data()), 1u);
  EXPECT_EQ(KindOf(pool->WaitHome(block.data(), Deadline::After(absl::Milliseconds(2)))),
            ErrorKind::kDeadlineExceeded);
  std::thread peer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    view = Buffer();
  });
  EXPECT_OK(pool->WaitHome(block.data(), Soon()));
  peer.join();
  EXPECT_EQ(*pool->Leases(block.data()), 0u);
  EXPECT_EQ(KindOf(pool->Leases(nullptr).status()), ErrorKind::kInvalidArgument);
}

TEST(Pool, AnAdoptedRowClosesWhenItsLeasesAreHome) {
  auto pool = MakePool(8 * kMiB);
  Pair pair(pool);
  Buffer view = *pair.Carry(*pool->Allocate(100), false);
  pool->Adopt(std::move(pair.row));
  pool->DrainReturns();
  EXPECT_EQ(pool->Stats().peers.size(), 1u);
  EXPECT_EQ(pool->Stats().blocks, 1u);
  view = Buffer();
  pool->DrainReturns();
  EXPECT_EQ(pool->Stats().peers.size(), 0u);
  EXPECT_EQ(pool->Stats().blocks, 0u);
  pool->Adopt(*pool->OpenRow("idle", nullptr));
  EXPECT_EQ(pool->Stats().peers.size(), 0u) << "nothing to wait for";
  pool->Adopt(nullptr);
  EXPECT_OK(pool->Audit());
}

TEST(Pool, AnAdoptedRowClosesWhenItsPeerIsGone) {
  auto pool = MakePool(8 * kMiB);
  auto alive = std::make_shared<std::atomic<bool>>(true);
  auto row = *pool->OpenRow("peer", [alive] { return alive->load(); });
  Buffer block = *pool->Allocate(100);
  ASSERT_OK(row->Grant(block.data(), 100, true, Soon()));
  block = Buffer();
  pool->Adopt(std::move(row));
  pool->DrainReturns();
  EXPECT_EQ(pool->Stats().blocks, 1u);
  alive->store(false);
  pool->DrainReturns();
  EXPECT_EQ(pool->Stats().blocks, 0u);
  EXPECT_OK(pool->Audit());
}

TEST(Pool, WhatAnAdoptedRowAsksEndsUnderNoLock) {
  auto pool = MakePool(8 * kMiB);
  bool ended = false;
  std::shared_ptr<void> socket(nullptr, [&](void*) {
    pool->Stats();  // would wait for ever if the pool's lock were held
    ended = true;
  });
  auto row = *pool->OpenRow("peer", [held = std::move(socket)] { return true; });
  auto import = *Import::Create("owner", row->ring_fd());
  Buffer block = *pool->Allocate(100);
  const LeaseDescriptor lease = *row->Grant(block.data(), 100, true, Soon());
  pool->Adopt(std::move(row));
  pool->DrainReturns();
  EXPECT_FALSE(ended);
  import->HandBack(lease);
  pool->DrainReturns();
  EXPECT_TRUE(ended);
}

TEST(Pool, DefaultIsOneAndTheSame) {
  ::setenv("PANNIER_POOL_QUOTA", "32M", 1);
  const auto pool = Pool::Default();
  ::unsetenv("PANNIER_POOL_QUOTA");
  EXPECT_EQ(pool, Pool::Default());
  EXPECT_EQ(pool->Stats().quota, 32 * kMiB);
  EXPECT_OK(pool->Allocate(10));
}

TEST(Pool, ManyThreads) {
  auto pool = MakePool(8 * kMiB, 16);
  constexpr int kThreads = 4;
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      Pair pair(pool, "peer");
      std::mt19937 random(t);
      std::vector<Buffer> views;
      for (int i = 0; i < 400; ++i) {
        const uint64_t seed = t * 1000 + i;
        auto block = pool->Allocate(1 + random() % 30000, Soon());
        if (!block.ok()) {
          ++wrong;
          continue;
        }
        Fill(block->mutable_span().first(std::min<size_t>(block->size(), 64)), seed);
        auto view = pair.Carry(*block, random() % 2 == 0);
        if (!view.ok() || !Holds(view->span().first(std::min<size_t>(view->size(), 64)), seed)) {
          ++wrong;
          continue;
        }
        views.push_back(*std::move(view));
        if (views.size() > 8) views.erase(views.begin() + random() % views.size());
        if (i % 100 == 50) pool->Trim();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong.load(), 0);
  EXPECT_OK(pool->Audit());
  EXPECT_EQ(pool->Stats().blocks, 0u);
}

}  // namespace
}  // namespace pannier

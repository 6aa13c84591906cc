#include "pannier/shm/import.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <mutex>
#include <random>
#include <set>
#include <thread>

#include "harness.h"
#include "pannier/shm/mapping.h"
#include "pannier/shm/memfd.h"
#include "pannier/shm/return_ring.h"

namespace pannier {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kPage = 4096;

class ImportTest : public ::testing::Test {
 protected:
  ImportTest() : pool_(MakePool(64 * kMiB)), pair_(pool_) {}

  Buffer Filled(size_t size, uint64_t seed) {
    Buffer block = pool_->Allocate(size).value();
    Fill(block.mutable_span(), seed);
    return block;
  }
  // How many leases came home.
  size_t Home() { return pair_.row->Drain().value(); }

  std::shared_ptr<Pool> pool_;
  Pair pair_;
};

TEST_F(ImportTest, TheReceiverReadsTheSendersBytesInPlace) {
  const Buffer sent = Filled(100000, 1);
  const LeaseDescriptor lease = *pair_.Grant(sent, true);
  Buffer view = *pair_.import->Open(lease, true);
  EXPECT_TRUE(view.readonly()) << "the sender's was";
  EXPECT_EQ(view.size(), sent.size());
  EXPECT_NE(view.data(), sent.data());
  EXPECT_TRUE(Holds(view.span(), 1));
  // The same file at the descriptor's offset holds them too.
  const SegmentHandle segment = *pool_->Segment(lease.segment);
  std::vector<std::byte> bytes(sent.size());
  ASSERT_EQ(::pread(segment.fd, bytes.data(), bytes.size(), static_cast<off_t>(lease.offset)),
            static_cast<ssize_t>(bytes.size()));
  EXPECT_TRUE(Holds(bytes, 1));
  sent.mutable_data()[7] = std::byte{77};
  EXPECT_EQ(view.data()[7], std::byte{77}) << "no copy";
  EXPECT_EQ(Home(), 0u);
  const Buffer slice = view.Slice(5, 10);
  view = Buffer();
  EXPECT_EQ(Home(), 0u) << "a slice keeps it";
  EXPECT_EQ(pair_.import->Stats().held, 1u);
}

TEST_F(ImportTest, TheLastViewHandsBack) {
  Buffer view = *pair_.Carry(Filled(10, 1), false);
  EXPECT_EQ(pool_->Stats().blocks, 1u);
  EXPECT_EQ(pair_.import->Stats().held_bytes, 10u);
  view = Buffer();
  EXPECT_EQ(pair_.import->Stats().held, 0u);
  EXPECT_EQ(Home(), 1u);
  EXPECT_EQ(pool_->Stats().blocks, 0u);
  EXPECT_OK(pool_->Audit());
}

TEST_F(ImportTest, AWritableViewIsPrivateBothWays) {
  const Buffer sent = Filled(3 * kPage, 1);
  const Buffer view = *pair_.Carry(sent, true);
  EXPECT_FALSE(view.readonly());
  view.mutable_data()[0] = std::byte{1};
  EXPECT_TRUE(Holds(sent.span(), 1)) << "the sender sees nothing";
  sent.mutable_data()[1] = std::byte{2};
  EXPECT_NE(view.data()[1], std::byte{2}) << "the page is the receiver's own";
}

TEST_F(ImportTest, WritableOnlyIfTheSendersWas) {
  const Buffer sent = Filled(100, 1);
  EXPECT_TRUE(pair_.import->Open(*pair_.Grant(sent, true), true)->readonly());
  EXPECT_TRUE(pair_.import->Open(*pair_.Grant(sent, false), false)->readonly());
  EXPECT_FALSE(pair_.import->Open(*pair_.Grant(sent, false), true)->readonly());
}

TEST_F(ImportTest, NoStalePagesInTheNextMessage) {
  const std::byte* address = nullptr;
  for (uint64_t seed = 0; seed < 4; ++seed) {
    Buffer sent = Filled(5 * kPage + 100, seed);
    if (address != nullptr) {
      ASSERT_EQ(sent.data(), address) << "the same block again";
    }
    address = sent.data();
    Buffer view = *pair_.Carry(sent, true);
    sent = Buffer();
    EXPECT_TRUE(Holds(view.span(), seed));
    std::memset(view.mutable_data(), 0xee, view.size());
    view = Buffer();
    EXPECT_EQ(Home(), 1u);
  }
}

TEST_F(ImportTest, TheSameBlockTwiceIsTwoObjects) {
  const Buffer sent = Filled(2 * kPage, 1);
  Buffer first = *pair_.Carry(sent, true);
  Buffer second = *pair_.Carry(sent, true);
  const Buffer third = *pair_.Carry(sent, false);
  EXPECT_NE(first.data(), second.data());
  first.mutable_data()[0] = std::byte{1};
  second.mutable_data()[0] = std::byte{2};
  EXPECT_EQ(first.data()[0], std::byte{1});
  EXPECT_EQ(second.data()[0], std::byte{2});
  EXPECT_TRUE(Holds(third.span(), 1));
  EXPECT_TRUE(Holds(sent.span(), 1));
  const uint64_t mapped = pair_.import->Stats().mapped_bytes;
  second = Buffer();
  EXPECT_EQ(pair_.import->Stats().mapped_bytes, mapped - 2 * kPage);
  EXPECT_EQ(first.data()[0], std::byte{1}) << "the one's end does not touch the other";
  first = Buffer();
  EXPECT_EQ(Home(), 2u);
  EXPECT_TRUE(Holds(pair_.Carry(sent, true)->span(), 1));
}

TEST_F(ImportTest, RangesThatShareAPageAreTwoObjects) {
  const Buffer sent = Filled(4 * kPage, 1);
  Buffer low = *pair_.Carry(sent.Slice(0, kPage + 100), true);
  Buffer high = *pair_.Carry(sent.Slice(kPage + 100, kPage), true);
  const Buffer apart = *pair_.Carry(sent.Slice(3 * kPage, 10), true);
  std::memset(high.mutable_data(), 0xaa, high.size());
  std::memset(low.mutable_data(), 0xbb, low.size());
  EXPECT_EQ(high.data()[0], std::byte{0xaa});
  low = Buffer();
  EXPECT_EQ(high.data()[0], std::byte{0xaa}) << "pages dropped for one are not the other's";
  EXPECT_EQ(high.data()[kPage - 1], std::byte{0xaa});
  const Buffer again = *pair_.Carry(sent.Slice(0, kPage + 100), true);
  EXPECT_TRUE(Holds(again.span(), 1));
  EXPECT_EQ(high.data()[0], std::byte{0xaa});
}

TEST_F(ImportTest, BuffersWithoutBytes) {
  const Buffer sent = Filled(100, 1);
  for (const bool writable : {false, true}) {
    LeaseDescriptor lease = *pair_.Grant(sent.Slice(0, 0), !writable);
    const Buffer view = *pair_.import->Open(lease, writable);
    EXPECT_EQ(view.size(), 0u);
    EXPECT_EQ(view.readonly(), !writable);
  }
  LeaseDescriptor lease = *pair_.Grant(sent, true);
  lease.offset = lease.length = 0;
  EXPECT_OK(pair_.import->Open(lease, false));
  EXPECT_EQ(Home(), 3u);
}

TEST_F(ImportTest, WrongDescriptorsAreRefused) {
  const Buffer sent = Filled(100, 1);
  const LeaseDescriptor good = *pair_.Grant(sent, true);
  const uint64_t size = pool_->Segment(good.segment)->size;
  const auto refused = [&](auto change) {
    LeaseDescriptor lease = good;
    change(&lease);
    const auto view = pair_.import->Open(lease, true);
    return !view.ok() && KindOf(view.status()) == ErrorKind::kCorruptMessage;
  };
  EXPECT_TRUE(refused([](LeaseDescriptor* lease) { lease->segment += 1; }));
  EXPECT_TRUE(refused([](LeaseDescriptor* lease) { lease->generation = 0; }));
  EXPECT_TRUE(refused([](LeaseDescriptor* lease) { lease->slot = 64; }));
  EXPECT_TRUE(refused([](LeaseDescriptor* lease) { lease->slot = ~0u; }));
  EXPECT_TRUE(refused([=](LeaseDescriptor* lease) { lease->offset = size - 99; }));
  EXPECT_TRUE(refused([=](LeaseDescriptor* lease) { lease->offset = size + 1; }));
  EXPECT_TRUE(refused([=](LeaseDescriptor* lease) { lease->length = size + 1; }));
  EXPECT_TRUE(refused([](LeaseDescriptor* lease) { lease->offset = ~uint64_t{0}; }));
  EXPECT_TRUE(refused([](LeaseDescriptor* lease) { lease->length = ~uint64_t{0}; }));
  EXPECT_TRUE(refused([](LeaseDescriptor* lease) {
    lease->offset = uint64_t{1} << 63;
    lease->length = uint64_t{1} << 63;
  }));
  EXPECT_EQ(Home(), 0u) << "nothing is handed back";
  const Buffer view = *pair_.import->Open(good, true);
  EXPECT_TRUE(refused([](LeaseDescriptor*) {})) << "held already";
  EXPECT_TRUE(refused([](LeaseDescriptor* lease) { lease->generation += 1; }));
  EXPECT_EQ(Home(), 0u);
}

TEST_F(ImportTest, HandBackWithoutOpening) {
  const Buffer sent = Filled(100, 1);
  const LeaseDescriptor lease = *pair_.Grant(sent, true);
  LeaseDescriptor wrong = lease;
  wrong.slot = 64;
  pair_.import->HandBack(wrong);
  wrong = lease;
  wrong.generation = 0;
  pair_.import->HandBack(wrong);
  EXPECT_EQ(Home(), 0u);
  {
    const Buffer view = *pair_.import->Open(lease, false);
    pair_.import->HandBack(lease);
    EXPECT_EQ(Home(), 0u) << "its Buffer lives";
  }
  EXPECT_EQ(Home(), 1u);
  pair_.import->HandBack(*pair_.Grant(sent, true));
  EXPECT_EQ(Home(), 1u);
}

TEST_F(ImportTest, SegmentsAreChecked) {
  const auto is_corrupt = [&](uint32_t id, int fd, uint64_t size) {
    return KindOf(pair_.import->AddSegment(id, fd, size)) == ErrorKind::kCorruptMessage;
  };
  const auto sealed = [](uint64_t size) {
    UniqueFd fd = CreateMemfd("test", size).value();
    EXPECT_OK(SealSize(fd.get()));
    return fd.Release();
  };
  const int descriptors = OpenDescriptors();
  EXPECT_TRUE(is_corrupt(1, -1, kPage));
  EXPECT_TRUE(is_corrupt(1, ::open("/dev/null", O_RDONLY | O_CLOEXEC), kPage));
  EXPECT_TRUE(is_corrupt(1, CreateMemfd("unsealed", kPage)->Release(), kPage));
  EXPECT_TRUE(is_corrupt(1, sealed(kPage), 2 * kPage));
  EXPECT_FALSE(pair_.import->HasSegment(1));
  EXPECT_EQ(OpenDescriptors(), descriptors) << "taken over and closed";
  EXPECT_OK(pair_.import->AddSegment(1, sealed(kPage), kPage));
  EXPECT_TRUE(pair_.import->HasSegment(1));
  EXPECT_TRUE(is_corrupt(1, sealed(kPage), kPage)) << "announced twice";
  EXPECT_OK(pair_.import->RemoveSegment(1));
  EXPECT_EQ(KindOf(pair_.import->RemoveSegment(1)), ErrorKind::kCorruptMessage);
  EXPECT_EQ(OpenDescriptors(), descriptors);
}

TEST_F(ImportTest, RingsAreChecked) {
  const auto is_corrupt = [](int fd) {
    return KindOf(Import::Create("owner", fd).status()) == ErrorKind::kCorruptMessage;
  };
  UniqueFd fd = *CreateMemfd("ring", kPage);
  {
    Mapping memory = *Mapping::Create(fd.get(), Access::kShared, 0, kPage);
    InitReturnRing(memory.data(), 64);
  }
  EXPECT_TRUE(is_corrupt(-1));
  EXPECT_TRUE(is_corrupt(fd.get())) << "not sealed";
  ASSERT_OK(SealSize(fd.get()));
  EXPECT_OK(Import::Create("owner", fd.get()));
  Mapping memory = *Mapping::Create(fd.get(), Access::kShared, 0, kPage);
  memory.data()[12] = std::byte{0};
  memory.data()[14] = std::byte{1};  // 65536 cells
  const auto damaged = Import::Create("owner-3", fd.get());
  EXPECT_EQ(KindOf(damaged.status()), ErrorKind::kCorruptMessage);
  EXPECT_THAT(std::string(FromAbsl(damaged.status().message())), ::testing::HasSubstr("owner-3"));
}

TEST_F(ImportTest, AFailedMappingHandsBack) {
  // More bytes than a process has addresses: a file may have them, a mapping may not.
  constexpr uint64_t kTooMany = uint64_t{1} << 60;
  UniqueFd fd(::memfd_create("huge", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(::ftruncate(fd.get(), static_cast<off_t>(kTooMany)), 0);
  ASSERT_OK(SealSize(fd.get()));
  ASSERT_OK(pair_.import->AddSegment(99, fd.Release(), kTooMany));
  const Buffer sent = Filled(100, 1);
  for (const bool writable : {false, true}) {
    LeaseDescriptor lease = *pair_.Grant(sent, false);
    lease.segment = 99;
    const auto view = pair_.import->Open(lease, writable);
    ASSERT_FALSE(view.ok());
    EXPECT_EQ(KindOf(view.status()), ErrorKind::kSystem);
    EXPECT_EQ(ErrnoOf(view.status()), ENOMEM);
    EXPECT_EQ(Home(), 1u);
  }
  EXPECT_OK(pair_.Carry(sent, true)) << "the rest goes on";
}

TEST_F(ImportTest, ViewsOutliveImportAndRow) {
  auto alive = std::make_shared<int>(1);
  const std::weak_ptr<int> watched = alive;
  Buffer view = *pair_.Carry(Filled(100, 4), true);
  pair_.import->KeepAlive(std::move(alive));
  pair_.import.reset();
  pair_.row->Close();
  EXPECT_TRUE(Holds(view.span(), 4));
  EXPECT_FALSE(watched.expired());
  view = Buffer();
  EXPECT_TRUE(watched.expired());
}

TEST_F(ImportTest, ARemovedSegmentStaysUnderItsViews) {
  const LeaseDescriptor lease = *pair_.Grant(Filled(100, 4), false);
  Buffer view = *pair_.import->Open(lease, true);
  const int mappings = MappingsOf("pannier:test");
  ASSERT_OK(pair_.import->RemoveSegment(lease.segment));
  EXPECT_FALSE(pair_.import->HasSegment(lease.segment));
  EXPECT_TRUE(Holds(view.span(), 4));
  view.mutable_data()[0] = std::byte{9};
  view = Buffer();
  EXPECT_EQ(Home(), 1u);
  EXPECT_LT(MappingsOf("pannier:test"), mappings);
}

TEST_F(ImportTest, MappingsAreMadeOnNeed) {
  const int before = MappingsOf("pannier:test");
  const Buffer sent = Filled(100, 4);
  std::optional<LeaseDescriptor> lease = *pair_.Grant(sent, false);
  EXPECT_EQ(pair_.import->Stats().mapped_bytes, 0u);
  Buffer a = *pair_.import->Open(*lease, false);
  EXPECT_EQ(pair_.import->Stats().mapped_bytes, 4 * kMiB);
  Buffer b = *pair_.import->Open(*pair_.Grant(sent, false), true);
  EXPECT_EQ(pair_.import->Stats().mapped_bytes, 8 * kMiB);
  EXPECT_EQ(pair_.import->Stats().segments, 1u);
  a = b = Buffer();
  pair_.import.reset();
  EXPECT_EQ(MappingsOf("pannier:test"), before + 1) << "the owner's";
}

// Views die on another thread while this one opens the next in the same slot: the record
// must be at rest before the lease is on its way home.
TEST(Import, ViewsDieOnOtherThreads) {
  auto pool = MakePool(4 * kMiB, 1);
  Pair pair(pool);
  const Buffer block = *pool->Allocate(kPage);
  std::mutex mutex;
  std::vector<Buffer> dying;
  bool done = false;
  std::thread other([&] {
    for (bool last = false; !last;) {
      std::vector<Buffer> mine;
      {
        const std::lock_guard lock(mutex);
        mine.swap(dying);
        last = done;
      }
      if (mine.empty()) std::this_thread::yield();
    }
  });
  const Deadline end = Deadline::After(absl::Seconds(2));  // a busy machine does fewer
  for (int i = 0; i < 20000 && !end.Passed();) {
    const auto lease = pair.Grant(block, false);
    if (!lease.ok()) {
      ASSERT_EQ(KindOf(lease.status()), ErrorKind::kPoolExhausted);
      std::this_thread::yield();
      continue;
    }
    auto view = pair.import->Open(*lease, i % 16 == 0);
    ASSERT_OK(view);
    ++i;
    const std::lock_guard lock(mutex);
    dying.push_back(*std::move(view));
  }
  {
    const std::lock_guard lock(mutex);
    done = true;
  }
  other.join();
  EXPECT_OK(pair.row->Drain());
  EXPECT_EQ(pair.row->leases(), 0u);
  EXPECT_EQ(*pool->Leases(block.data()), 0u);
}

// Random steps over one pool and several peers, against a model that knows who holds what.
class LeasesRandom : public ::testing::TestWithParam<int> {};

TEST_P(LeasesRandom, AgreeWithAModel) {
  std::mt19937 random(GetParam());
  const int descriptors = OpenDescriptors();
  const int mappings = MappingsOf("pannier:");
  {
    auto pool = MakePool(12 * kMiB, 8);
    struct Sent {
      Buffer buffer;
      uint64_t seed;
      uint64_t number;
    };
    struct View {
      Buffer buffer;
      uint64_t seed;    // of the whole block
      size_t skip;      // where the view begins in it
      uint64_t number;  // of the block
      bool spoiled;     // written by the receiver
    };
    struct Peer {
      std::unique_ptr<Pair> pair;
      std::vector<View> views;
      std::vector<std::pair<LeaseDescriptor, uint64_t>> unopened;  // and the block's number
    };
    std::vector<Sent> sent;
    std::vector<Peer> peers(3);
    uint64_t next = 1;
    const auto open = [&](Peer* peer) {
      peer->pair = std::make_unique<Pair>(pool);
      peer->views.clear();
      peer->unopened.clear();
    };
    for (Peer& peer : peers) open(&peer);
    const auto block_bytes = [](uint64_t seed) { return 1 + seed * 7919 % 40000; };
    std::vector<std::byte> expected;

    for (int step = 0; step < 1500; ++step) {
      Peer& peer = peers[random() % peers.size()];
      switch (random() % 12) {
        case 0:
        case 1: {
          const uint64_t seed = next++;
          auto block = pool->Allocate(block_bytes(seed));
          if (!block.ok()) {
            ASSERT_EQ(KindOf(block.status()), ErrorKind::kPoolExhausted);
            break;
          }
          Fill(block->mutable_span(), seed);
          sent.push_back({*std::move(block), seed, seed});
          break;
        }
        case 2:
        case 3:
        case 4:
        case 5: {
          if (sent.empty()) break;
          const Sent& from = sent[random() % sent.size()];
          const size_t skip = random() % from.buffer.size();
          const size_t size = random() % (from.buffer.size() - skip + 1);
          const bool writable = random() % 2 == 0;
          auto lease = peer.pair->Grant(from.buffer.Slice(skip, size), !writable);
          const bool full = peer.views.size() + peer.unopened.size() == 8;
          ASSERT_EQ(lease.ok(), !full) << "credit is exact";
          if (!lease.ok()) break;
          if (random() % 5 == 0) {
            peer.unopened.push_back({*lease, from.number});
            break;
          }
          auto view = peer.pair->import->Open(*lease, writable);
          ASSERT_OK(view);
          peer.views.push_back({*std::move(view), from.seed, skip, from.number, false});
          break;
        }
        case 6:
        case 7:
          if (!peer.views.empty()) {
            peer.views.erase(peer.views.begin() + random() % peer.views.size());
          } else if (!peer.unopened.empty()) {
            const auto lease = peer.unopened.back().first;
            peer.unopened.pop_back();
            if (random() % 2 == 0) {
              peer.pair->import->HandBack(lease);
            } else {
              peer.pair->row->Revoke(lease);
            }
          }
          break;
        case 8:
          if (!sent.empty()) sent.erase(sent.begin() + random() % sent.size());
          break;
        case 9:
          ASSERT_OK(peer.pair->row->Drain());
          break;
        case 10:
          if (!peer.views.empty()) {
            View& view = peer.views[random() % peer.views.size()];
            if (!view.buffer.readonly()) {
              std::memset(view.buffer.mutable_data(), 0x5a, view.buffer.size());
              view.spoiled = true;
            }
          }
          break;
        default:
          if (random() % 10 == 0) {
            // The peer dies: its views go with it, and the row closes.
            peer.views.clear();
            open(&peer);
          } else if (random() % 10 == 0) {
            pool->Trim();
          }
      }
      ASSERT_OK(pool->Audit());
      // All bytes of everything now and then, of a few things at each step.
      const bool all = step % 100 == 99;
      std::set<uint64_t> live;
      for (const Sent& block : sent) {
        live.insert(block.number);
        if (!all && random() % 32 != 0) continue;
        ASSERT_TRUE(Holds(block.buffer.span(), block.seed)) << "no receiver's write is seen";
      }
      for (const Peer& each : peers) {
        for (const View& view : each.views) {
          live.insert(view.number);
          if (!all && random() % 8 != 0) continue;
          if (view.spoiled) {
            expected.assign(view.skip + view.buffer.size(), std::byte{0x5a});
          } else {
            expected.resize(view.skip + view.buffer.size());
            Fill(expected, view.seed);
          }
          ASSERT_TRUE(std::equal(view.buffer.span().begin(), view.buffer.span().end(),
                                 expected.begin() + static_cast<ptrdiff_t>(view.skip)));
        }
        for (const auto& [lease, number] : each.unopened) live.insert(number);
      }
      ASSERT_EQ(pool->Stats().blocks, live.size());
    }
  }
  EXPECT_EQ(OpenDescriptors(), descriptors);
  EXPECT_EQ(MappingsOf("pannier:"), mappings);
}

INSTANTIATE_TEST_SUITE_P(Seeds, LeasesRandom, ::testing::Range(1, 6));

}  // namespace
}  // namespace pannier

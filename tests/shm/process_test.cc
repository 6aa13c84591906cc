// Pool and Import across processes. The child is forked first, and what it uses it makes
// itself; descriptors go over a socket, as they do on a link.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "harness.h"
#include "pannier/shm/memfd.h"

namespace pannier {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

// What an owner sends to a peer with one lease; the descriptor of a segment that the peer
// has not seen comes along.
struct LeaseMail {
  LeaseDescriptor lease;
  uint64_t segment_size = 0;  // not 0: a descriptor comes along
  uint64_t seed = 0;
};

class Owner {
 public:
  Owner(Channel channel, std::shared_ptr<Pool> pool)
      : pool_(std::move(pool)), channel_(std::move(channel)) {
    row_ = pool_->OpenRow("child", nullptr).value();
    char hello = 'r';
    channel_.Send(hello, row_->ring_fd());
  }
  Status Send(const Buffer& buffer, bool readonly, uint64_t seed) {
    LeaseMail mail;
    PANNIER_ASSIGN_OR_RETURN(mail.lease,
                             row_->Grant(buffer.data(), buffer.size(), readonly, Deadline::Now()));
    mail.seed = seed;
    int fd = -1;
    if (mail.lease.segment != announced_) {
      PANNIER_ASSIGN_OR_RETURN(const SegmentHandle segment, pool_->Segment(mail.lease.segment));
      announced_ = segment.id;
      mail.segment_size = segment.size;
      fd = segment.fd;
    }
    channel_.Send(mail, fd);
    return absl::OkStatus();
  }
  bool Answered(char* answer) { return channel_.Receive(answer); }
  LeaseRow* row() { return row_.get(); }
  Channel* channel() { return &channel_; }

 private:
  std::shared_ptr<Pool> pool_;
  Channel channel_;
  std::unique_ptr<LeaseRow> row_;
  uint32_t announced_ = 0;
};

class Peer {
 public:
  explicit Peer(Channel* channel) : channel_(channel) {
    char hello = 0;
    int ring = -1;
    if (!channel_->Receive(&hello, &ring)) std::abort();
    import_ = Import::Create("parent", ring).value();
    ::close(ring);
  }
  // Nothing at the end of the channel.
  std::optional<LeaseMail> Next() {
    LeaseMail mail;
    int fd = -1;
    if (!channel_->Receive(&mail, &fd)) return std::nullopt;
    if (mail.segment_size > 0) {
      segment_fd = UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
      if (!import_->AddSegment(mail.lease.segment, fd, mail.segment_size).ok()) std::abort();
    }
    return mail;
  }
  Import* import() { return import_.get(); }
  UniqueFd segment_fd;  // of the segment that was announced last

 private:
  Channel* channel_;
  std::shared_ptr<Import> import_;
};

TEST(Processes, AChildReadsInPlaceAndHandsBack) {
  auto [here, there] = Channel::Pair();
  Child child([&here = here, &there = there] {
    here.Close();
    Peer peer(&there);
    while (auto mail = peer.Next()) {
      auto view = peer.import()->Open(mail->lease, true);
      if (!view.ok() || !Holds(view->span(), mail->seed)) return 1;
      // The bytes are the file's: same inode at the offset that the descriptor names.
      struct stat info = {};
      if (::fstat(peer.segment_fd.get(), &info) != 0) return 2;
      std::vector<std::byte> bytes(view->size());
      if (::pread(peer.segment_fd.get(), bytes.data(), bytes.size(),
                  static_cast<off_t>(mail->lease.offset)) != static_cast<ssize_t>(bytes.size()) ||
          !Holds(bytes, mail->seed)) {
        return 3;
      }
      std::memset(view->mutable_data(), 0xff, view->size());
      *view = Buffer();
      const uint64_t inode = info.st_ino;
      if (!there.Send(inode)) return 4;
    }
    return 0;
  });
  there.Close();
  auto pool = MakePool(64 * kMiB, 4);
  {
    Owner owner(std::move(here), pool);
    for (uint64_t seed = 1; seed < 50; ++seed) {
      Buffer sent = *pool->Allocate(10000 + seed * 300);
      Fill(sent.mutable_span(), seed);
      ASSERT_OK(owner.Send(sent, false, seed));
      struct stat info = {};
      ASSERT_EQ(::fstat(pool->Segment(1)->fd, &info), 0);
      uint64_t inode = 0;
      ASSERT_TRUE(owner.channel()->Receive(&inode));
      EXPECT_EQ(inode, info.st_ino);
      EXPECT_TRUE(Holds(sent.span(), seed));
      sent = Buffer();
      ASSERT_EQ(*owner.row()->Drain(), 1u);
      ASSERT_OK(pool->Audit());
    }
    EXPECT_EQ(pool->Stats().blocks, 0u);
    EXPECT_EQ(pool->Stats().segments, 1u);
  }
  EXPECT_EQ(child.Wait(), 0);
}

TEST(Processes, KillingTheHolderReturnsEverything) {
  const int descriptors = OpenDescriptors();
  const int mappings = MappingsOf("pannier:");
  {
    auto [here, there] = Channel::Pair();
    Child child([&here = here, &there = there] {
      here.Close();
      Peer peer(&there);
      std::vector<Buffer> held;
      while (auto mail = peer.Next()) {
        // Holds some, leaves some unopened.
        if (mail->seed % 3 != 0) held.push_back(*peer.import()->Open(mail->lease, mail->seed % 2));
        if (!there.Send('k')) return 1;
      }
      return 0;
    });
    there.Close();
    auto pool = MakePool(16 * kMiB);
    Owner owner(std::move(here), pool);
    for (uint64_t seed = 0; seed < 30; ++seed) {
      const Buffer sent = *pool->Allocate(100000);
      ASSERT_OK(owner.Send(sent, false, seed));
      char answer = 0;
      ASSERT_TRUE(owner.Answered(&answer));
    }
    const Buffer never_sent = *pool->Allocate(10);
    ASSERT_OK(owner.row()->Grant(never_sent.data(), 10, true, Deadline::Now()));
    EXPECT_EQ(pool->Stats().blocks, 31u);
    child.Kill(SIGKILL);
    char answer = 0;
    EXPECT_FALSE(owner.Answered(&answer)) << "the kernel closes the socket";
    owner.row()->Close();
    EXPECT_EQ(pool->Stats().blocks, 1u);
    EXPECT_OK(pool->Audit());
    EXPECT_EQ(child.Wait(), -SIGKILL);
    EXPECT_OK(pool->Allocate(12 * kMiB));
  }
  EXPECT_EQ(OpenDescriptors(), descriptors);
  EXPECT_EQ(MappingsOf("pannier:"), mappings);
}

TEST(Processes, KillingAtAnyMomentLosesNothing) {
  // The child opens and hands back as fast as it can, on two threads; it dies somewhere.
  auto pool = MakePool(16 * kMiB, 16);
  for (int round = 0; round < 20; ++round) {
    auto [here, there] = Channel::Pair();
    Child child([&here = here, &there = there] {
      here.Close();
      Peer peer(&there);
      while (auto mail = peer.Next()) {
        auto view = peer.import()->Open(mail->lease, true);
        if (!view.ok()) return 1;
        view->mutable_data()[0] = std::byte{1};
        std::thread([last = *std::move(view)]() mutable { last = Buffer(); }).detach();
      }
      return 0;
    });
    there.Close();
    Owner owner(std::move(here), pool);
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(3 + round);
    uint64_t sent = 0;
    while (std::chrono::steady_clock::now() < end) {
      auto block = pool->Allocate(20000);
      if (!block.ok() || !owner.Send(*block, false, 1).ok()) std::this_thread::yield();
      if (++sent % 7 == 0) {
        ASSERT_OK(owner.row()->Drain());
      }
    }
    child.Kill(SIGKILL);
    EXPECT_EQ(child.Wait(), -SIGKILL);
    ASSERT_OK(owner.row()->Drain()) << "what a dying process wrote is right";
    owner.row()->Close();
    ASSERT_EQ(pool->Stats().blocks, 0u);
    ASSERT_OK(pool->Audit());
  }
}

TEST(Processes, APeerCannotWriteNorResize) {
  auto [here, there] = Channel::Pair();
  Child child([&here = here, &there = there] {
    here.Close();
    Peer peer(&there);
    auto mail = peer.Next();
    if (!mail) return 1;
    const int fd = peer.segment_fd.get();
    const size_t size = mail->segment_size;
    if (::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED ||
        errno != EPERM) {
      return 2;
    }
    void* reader = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
    if (reader == MAP_FAILED || ::mprotect(reader, size, PROT_READ | PROT_WRITE) == 0) return 3;
    if (::ftruncate(fd, 0) == 0 || errno != EPERM) return 4;
    if (::ftruncate(fd, static_cast<off_t>(2 * size)) == 0 || errno != EPERM) return 5;
    if (::pwrite(fd, "x", 1, 0) >= 0 || errno != EPERM) return 6;
    const std::string again = "/proc/self/fd/" + std::to_string(fd);
    const UniqueFd second(::open(again.c_str(), O_RDWR | O_CLOEXEC));
    if (second.valid() &&
        ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, second.get(), 0) != MAP_FAILED) {
      return 7;
    }
    return 0;
  });
  there.Close();
  auto pool = MakePool(16 * kMiB);
  Owner owner(std::move(here), pool);
  ASSERT_OK(owner.Send(*pool->Allocate(100), true, 0));
  EXPECT_EQ(child.Wait(), 0);
}

TEST(Processes, AChildOfTheOwnerOwnsNothing) {
  auto pool = MakePool(16 * kMiB);
  Pair pair(pool);
  Buffer block = *pool->Allocate(1000);
  Fill(block.mutable_span(), 6);
  Buffer view = *pair.Carry(block, true);
  Buffer reading = *pair.Carry(block, false);
  const LeaseDescriptor lease = *pair.Grant(block, false);
  const auto default_pool = Pool::Default();

  Child child([&] {
    const auto is_forked = [](const Status& status) {
      return KindOf(status) == ErrorKind::kForked;
    };
    if (!Holds(block.span(), 6) || !Holds(view.span(), 6)) return 1;
    if (!is_forked(pool->Allocate(1).status()) || !is_forked(pool->Copy({}).status()) ||
        !is_forked(pool->OpenRow("x", nullptr).status()) || !is_forked(pool->Audit()) ||
        !is_forked(pool->Segment(1).status()) || !is_forked(pool->Leases(block.data()).status())) {
      return 2;
    }
    if (!is_forked(pair.row->Grant(block.data(), 1, true, Deadline::Now()).status()) ||
        !is_forked(pair.row->Drain().status()) ||
        !is_forked(pair.import->Open(lease, true).status()) ||
        !is_forked(pair.import->RemoveSegment(1)) ||
        !is_forked(pair.import->AddSegment(9, ::dup(0), 1))) {
      return 3;
    }
    pair.import->HandBack(lease);
    pair.row->Revoke(lease);
    pool->Trim();
    pool->DrainReturns();
    pool->Stats();
    view = Buffer();
    reading = Buffer();
    block = Buffer();
    pair.row.reset();
    pair.import.reset();
    pool.reset();
    if (Pool::Default() == default_pool) return 4;
    const auto own = Pool::Default()->Allocate(5000);
    if (!own.ok()) return 5;
    Fill(own->mutable_span(), 1);
    return Holds(own->span(), 1) ? 0 : 6;
  });
  EXPECT_EQ(child.Wait(), 0);
  EXPECT_EQ(*pair.row->Drain(), 0u) << "the child handed nothing back";
  EXPECT_EQ(pair.row->leases(), 3u);
  EXPECT_TRUE(Holds(block.span(), 6));
  EXPECT_EQ(Pool::Default(), default_pool);
  view = Buffer();
  reading = Buffer();
  pair.import->HandBack(lease);
  EXPECT_EQ(*pair.row->Drain(), 3u);
  EXPECT_OK(pool->Audit());
}

TEST(Processes, ForkWhileThreadsHoldTheLocks) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizer's allocator has locks of its own, which a fork may copy locked";
#endif
  auto pool = MakePool(16 * kMiB);
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    Pair other(pool);
    while (!stop.load()) {
      auto sent = pool->Allocate(100);
      const auto received = other.Carry(*sent, true);
      Pool::Default();
    }
  });
  Pair pair(pool);
  Buffer block = *pool->Allocate(100);
  Buffer view = *pair.Carry(block, true);
  for (int i = 0; i < 30; ++i) {
    Child child([&] {
      // None of these may wait for a lock that a thread held which is not here.
      if (pool->Allocate(1).ok()) return 1;
      pool->Stats();
      block = Buffer();
      view = Buffer();
      pair.row.reset();
      return Pool::Default()->Allocate(1).ok() ? 0 : 2;
    });
    EXPECT_EQ(child.Wait(), 0);
  }
  stop.store(true);
  busy.join();
}

TEST(Processes, ADefaultPoolWithAWrongSettingSaysSo) {
  Child child([] {
    ::setenv("PANNIER_POOL_QUOTA", "lots", 1);
    const auto pool = Pool::Default();
    const auto is_said = [](const Status& status) {
      return KindOf(status) == ErrorKind::kInvalidArgument &&
             status.message().find("lots") != absl::string_view::npos;
    };
    return is_said(pool->Allocate(1).status()) && is_said(pool->OpenRow("x", nullptr).status()) &&
                   pool->Stats().blocks == 0
               ? 0
               : 1;
  });
  EXPECT_EQ(child.Wait(), 0);
}

TEST(Processes, NoDescriptorsLeft) {
  auto pool = MakePool(64 * kMiB);
  Child child([] {
    auto own = MakePool(64 * kMiB);
    const Buffer small = *own->Allocate(1);
    rlimit limit = {};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = static_cast<rlim_t>(::dup(0)) + 1;  // the next one is one too many
    ::setrlimit(RLIMIT_NOFILE, &limit);
    const auto is_emfile = [](const Status& status) {
      return KindOf(status) == ErrorKind::kSystem && ErrnoOf(status) == EMFILE;
    };
    if (!is_emfile(own->Allocate(20 * kMiB).status())) return 1;
    if (!is_emfile(own->OpenRow("x", nullptr).status())) return 2;
    if (!own->Allocate(1000).ok()) return 3;
    return own->Audit().ok() ? 0 : 4;
  });
  EXPECT_EQ(child.Wait(), 0);
}

TEST(Processes, ManyConnectionsLeaveNothingBehind) {
  auto pool = MakePool(16 * kMiB);
  const Buffer block = *pool->Allocate(10000);
  const int descriptors = OpenDescriptors();
  const int mappings = MappingsOf("pannier:");
  for (int i = 0; i < 50; ++i) {
    Pair pair(pool);
    const Buffer a = *pair.Carry(block, true);
    const Buffer b = *pair.Carry(block, true);
    const Buffer c = *pair.Carry(block, false);
  }
  EXPECT_EQ(OpenDescriptors(), descriptors);
  EXPECT_EQ(MappingsOf("pannier:"), mappings);
  EXPECT_OK(pool->Audit());
}

TEST(Processes, ABlockOfMoreThanFourGigabytes) {
  if (std::getenv("PANNIER_TEST_HUGE") == nullptr) {
    GTEST_SKIP() << "needs 5 GB of memory; set PANNIER_TEST_HUGE=1 to run it";
  }
  constexpr uint64_t kHuge = (uint64_t{4} << 30) + 4096;
  auto pool = MakePool(kHuge + (uint64_t{8} << 20));
  Pair pair(pool);
  Buffer sent = pool->Allocate(kHuge).value();
  Fill(sent.mutable_span().first(100), 1);
  Fill(sent.mutable_span().last(4096), 2);
  Buffer view = pair.Carry(sent, true).value();
  ASSERT_EQ(view.size(), kHuge);
  EXPECT_TRUE(Holds(view.span().first(100), 1));
  EXPECT_TRUE(Holds(view.span().last(4096), 2));
  view.mutable_data()[kHuge - 1] = std::byte{9};
  EXPECT_TRUE(Holds(sent.span().last(4096), 2));
  view = pair.Carry(sent.Slice(kHuge - 4096, 4096), false).value();
  EXPECT_TRUE(Holds(view.span(), 2));
  sent = Buffer();
  view = Buffer();
  EXPECT_EQ(pool->Stats().blocks, 0u);
  EXPECT_OK(pool->Audit());
}

}  // namespace
}  // namespace pannier

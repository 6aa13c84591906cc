// Ways in which processes and machines fail that the tests of single folders do not reach; the
// whole list, and which test is whose, is in docs/failures.md.
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "../transport/support.h"
#include "absl/strings/str_cat.h"
#include "pannier/shm/return_ring.h"

namespace pannier {
namespace {

class FailureModes : public testing::Test {
 protected:
  FailureModes() {
    options_.pool = pool_ = *Pool::Create({.quota = 128 << 20, .name = "test"});
    listener_ = *Listener::Listen(dir_.Endpoint("s"), options_);
  }
  std::shared_ptr<Connection> Accept() {
    auto connection = listener_->Accept(In(20));
    EXPECT_TRUE(connection.ok()) << connection.status();
    return *connection;
  }
  // Runs `body` in a child that ends with this process; its result is the exit code.
  template <typename Body>
  pid_t Child(Body body) {
    const pid_t child = fork();
    if (child == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      _exit(body());
    }
    return child;
  }
  // -1 if it does not end by itself: it is killed then.
  static int CodeOf(pid_t child) {
    int status = -1;
    const bool ended =
        Eventually([&] { return waitpid(child, &status, WNOHANG) == child; }, absl::Seconds(30));
    if (!ended) kill(child, SIGKILL), waitpid(child, &status, 0);
    return ended && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  // A receiver of ours that tells what became of one message.
  std::function<int()> Receiver(TransportOptions options = {}) {
    return [this, options]() mutable {
      options.pool = *Pool::Create({});
      auto connection = Connection::Connect(listener_->endpoint(), options, In(10));
      if (!connection.ok()) return 10;
      auto message = (*connection)->Receive(In(10));
      if (!message.ok() || message->buffers.size() != 1) return 11;
      const bool same = SameBytes(message->buffers[0], Pattern(message->buffers[0].size(), 1));
      return same ? ((*connection)->info().link ? 1 : 0) : 12;
    };
  }
  TempDir dir_;
  std::shared_ptr<Pool> pool_;
  TransportOptions options_;
  std::shared_ptr<Listener> listener_;
};

constexpr int kNoLink = 0, kLink = 1;  // how a Receiver got its message

TEST_F(FailureModes, AKillWhileDescriptorsArePassed) {
  const Buffer buffer = Pattern(5 << 20, 1);
  for (int round = 0; round < 20; ++round) {
    Peer peer({"hold", listener_->endpoint()});
    const auto connection = Accept();
    Status status;
    // Each message is in a segment of its own, passed just before it.
    for (int i = 0; status.ok() && i < 100; ++i) {
      if (i == round / 4) peer.Signal(SIGKILL);
      status = connection->Send({.buffers = {&buffer, 1}}, In(5));
      pool_->Trim();
    }
    EXPECT_NE(KindOf(status), ErrorKind::kDeadlineExceeded) << status;
    EXPECT_TRUE(Eventually([&] { return Leases(*pool_) == 0; })) << Leases(*pool_);
  }
  EXPECT_TRUE(Eventually([&] { return pool_->Stats().blocks == 0; }));
  EXPECT_TRUE(pool_->Audit().ok());
}

// The receiver died after it took its place in the ring and before it wrote what comes home.
TEST_F(FailureModes, ADeathBetweenReservingAndPublishingACellOfTheRing) {
  bool lives = true;
  auto row = *pool_->OpenRow("peer", [&] { return lives; });
  const Buffer block = *pool_->Allocate(5000);
  std::vector<LeaseDescriptor> leases;
  for (int i = 0; i < 3; ++i) {
    leases.push_back(*row->Grant(block.data(), block.size(), true, Deadline::Now()));
  }
  const size_t size = ReturnRingBytes(row->credit());
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, row->ring_fd(), 0);
  ASSERT_NE(memory, MAP_FAILED);
  RingCell* cells = ReturnRingCells(static_cast<std::byte*>(memory));
  cells[0].store(LeaseCell(leases[0].slot, leases[0].generation));
  cells[2].store(LeaseCell(leases[2].slot, leases[2].generation));
  EXPECT_EQ(*row->Drain(), 1u) << "what stands behind the gap waits";
  EXPECT_EQ(row->leases(), 2u);
  lives = false;
  EXPECT_EQ(Leases(*pool_), 0u);
  EXPECT_TRUE(pool_->Audit().ok());
  munmap(memory, size);
}

TEST_F(FailureModes, AZombieHoldsNothing) {
  Peer peer({"hold", listener_->endpoint()});
  const auto connection = Accept();
  const Buffer buffer = Pattern(100'000, 1);
  ASSERT_TRUE(connection->Send({.buffers = {&buffer, 1}}, In(5)).ok());
  peer.Signal(SIGKILL);  // and not waited for
  EXPECT_EQ(KindOf(connection->Receive(In(10)).status()), ErrorKind::kConnectionLost);
  EXPECT_TRUE(Eventually([&] { return Leases(*pool_) == 0; }));
}

TEST_F(FailureModes, AProcessThatGetsADeadPeersNumberIsNotThePeer) {
  Peer peer({"hold", listener_->endpoint()});
  const auto connection = Accept();
  const Buffer buffer = Pattern(100'000, 1);
  ASSERT_TRUE(connection->Send({.buffers = {&buffer, 1}}, In(5)).ok());
  const pid_t number = peer.pid();
  peer.Kill();
  pid_t other = -1;
  for (int i = 0; i < 20 && other != number; ++i) {
    if (other > 0) kill(other, SIGKILL), waitpid(other, nullptr, 0);
    std::ofstream("/proc/sys/kernel/ns_last_pid") << number - 1;
    other = Child([] { return pause(); });
  }
  EXPECT_EQ(Leases(*pool_), 0u);
  EXPECT_EQ(KindOf(connection->Receive(In(10)).status()), ErrorKind::kConnectionLost);
  kill(other, SIGKILL), waitpid(other, nullptr, 0);
  if (other != number) GTEST_SKIP() << "numbers cannot be chosen here";
}

TEST_F(FailureModes, ALateJoinerGetsSegmentsThatOthersHaveLongMapped) {
  Peer early({"hold", listener_->endpoint()});
  const auto first = Accept();
  const Buffer buffer = Pattern(3 << 20, 1);
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(first->Send({.buffers = {&buffer, 1}}, In(5)).ok());
  EXPECT_GT(pool_->Stats().segments, 2u) << "the pool grew under load";
  const pid_t late = Child(Receiver());
  const auto second = Accept();
  ASSERT_TRUE(second->Send({.buffers = {&buffer, 1}}, In(5)).ok());
  EXPECT_EQ(CodeOf(late), kLink);
}

TEST_F(FailureModes, AHundredAndTwentyEightPeersShareOneBlock) {
  constexpr size_t kPeers = 128;
  TransportOptions options;
  options.pool = *Pool::Create({.quota = 64 << 20, .leases_per_peer = 64, .name = "far"});
  std::vector<std::shared_ptr<Connection>> far, near;
  for (size_t i = 0; i < kPeers; ++i) {
    auto connected = Connection::Connect(listener_->endpoint(), options, In(20));
    ASSERT_TRUE(connected.ok()) << i << ": " << connected.status();
    far.push_back(*connected);
    near.push_back(Accept());
    ASSERT_TRUE(near.back()->info().link);
  }
  Buffer block = *pool_->Allocate(100'000);
  const Buffer wanted = Pattern(block.size(), 1);
  std::ranges::copy(wanted.span(), block.mutable_data());
  for (const auto& connection : near) {
    ASSERT_TRUE(connection->Send({.buffers = {&block, 1}}, In(20)).ok());
  }
  EXPECT_EQ(*pool_->Leases(block.data()), kPeers);
  EXPECT_EQ(pool_->Stats().blocks, 1u);
  for (const auto& connection : far) {
    auto message = connection->Receive(In(20));
    ASSERT_TRUE(message.ok()) << message.status();
    EXPECT_TRUE(SameBytes(message->buffers[0], wanted));
    ASSERT_TRUE(connection->Send({.buffers = message->buffers}, In(20)).ok());
  }
  for (const auto& connection : near) EXPECT_TRUE(connection->Receive(In(20)).ok());
  EXPECT_TRUE(pool_->WaitHome(block.data(), In(5)).ok());
}

TEST_F(FailureModes, ThisManyMappingsAreAnErrorAndNotTheEnd) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizer needs mappings of its own, and ends the process without";
#endif
  const pid_t child = Child([this] {
    TransportOptions options;
    options.pool = *Pool::Create({});
    auto connection = Connection::Connect(listener_->endpoint(), options, In(10));
    if (!connection.ok() || !(*connection)->Poll(In(10)).value_or(false)) return 10;
    // Neighbours that differ in what is allowed cannot be joined: one mapping each.
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    constexpr size_t kPages = 300'000;
    void* area = mmap(nullptr, kPages * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (area == MAP_FAILED) return 11;
    size_t made = 0;
    auto* bytes = static_cast<std::byte*>(area);
    while (made < kPages && mprotect(bytes + made * page, page, PROT_READ) == 0) made += 2;
    if (made >= kPages) return 0;  // no limit here
    for (int protection : {PROT_READ, PROT_NONE, PROT_READ, PROT_NONE, PROT_READ, PROT_NONE}) {
      (void)mmap(nullptr, page, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
    const Status full = (*connection)->Receive(In(10)).status();
    munmap(area, kPages * page);
    if (KindOf(full) != ErrorKind::kSystem) return 12;
    return (*connection)->Receive(In(10)).ok() ? 0 : 13;
  });
  const auto connection = Accept();
  const Buffer buffer = Pattern(100'000, 1);
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(connection->Send({.buffers = {&buffer, 1}}, In(5)).ok());
  EXPECT_EQ(CodeOf(child), 0);
  EXPECT_TRUE(Eventually([&] { return Leases(*pool_) == 0; }));
}

// A limit of the kernel's that a container has, too: what is past it would end the process.
TEST_F(FailureModes, AGroupsMemoryLimitIsAnErrorAndNotTheEnd) {
  const bool second = std::filesystem::exists("/sys/fs/cgroup/memory.max");
  const std::string group =
      absl::StrCat(second ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory", "/pannier-", getpid());
  std::error_code refused;
  if (!std::filesystem::create_directory(group, refused)) {
    GTEST_SKIP() << "no group of one's own here: " << refused.message();
  }
  const auto set = [&](const char* file, uint64_t value) {
    return static_cast<bool>(std::ofstream(absl::StrCat(group, "/", file)) << value << std::flush);
  };
  constexpr size_t kLimit = 256 << 20, kBlock = 8 << 20;
  const bool limited = set(second ? "memory.max" : "memory.limit_in_bytes", kLimit);
  const pid_t child = Child([&] {
    if (!limited || !set("cgroup.procs", static_cast<uint64_t>(getpid()))) return 2;
    const auto pool = *Pool::Create({.quota = uint64_t{4} << 30});
    std::vector<Buffer> blocks;
    for (const int round : {0, 1}) {
      StatusOr<Buffer> block = pool->Allocate(kBlock);
      for (; block.ok(); block = pool->Allocate(kBlock)) {
        blocks.push_back(*std::move(block));
        if (blocks.size() * kBlock > kLimit) return 10;
      }
      if (ErrnoOf(block.status()) != ENOMEM) return 11;
      if (blocks.size() * kBlock < kLimit / 4) return 12;
      if (round == 0) blocks.resize(blocks.size() / 2);
    }
    return 0;
  });
  const int code = CodeOf(child);
  std::filesystem::remove(group);
  if (code == 2) GTEST_SKIP() << "no memory limit can be set here";
  EXPECT_EQ(code, 0);
}

TEST_F(FailureModes, AServerStartedAgainUnderItsOldClients) {
  std::string endpoint = dir_.Endpoint("server");
  const auto serve = [&] {
    auto listener = Listener::Listen(endpoint, {});
    auto connection = (*listener)->Accept(In(20));
    while ((*connection)->Receive(In(60)).ok()) continue;
    return 0;
  };
  for (int life = 0; life < 3; ++life) {
    const pid_t server = Child(serve);  // the killed one's socket file is there still
    auto client = Connection::Connect(endpoint, options_, In(20));
    ASSERT_TRUE(client.ok()) << client.status();
    const Buffer buffer = Pattern(100'000, 1);
    ASSERT_TRUE((*client)->Send({.buffers = {&buffer, 1}}, In(5)).ok());
    kill(server, SIGKILL), waitpid(server, nullptr, 0);
    const pid_t next = Child(serve);
    EXPECT_EQ(KindOf((*client)->Receive(In(10)).status()), ErrorKind::kConnectionLost)
        << "an old client is not the new server's";
    EXPECT_EQ(KindOf((*client)->Send({}, In(5))), ErrorKind::kConnectionLost);
    EXPECT_EQ(Leases(*pool_), 0u);
    kill(next, SIGKILL), waitpid(next, nullptr, 0);
  }
}

TEST_F(FailureModes, AnotherUserGetsNoFrameThroughAnIpcEndpoint) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can be another user";
  // What keeps him out must not be the permissions of files.
  ASSERT_EQ(chmod(dir_.path().c_str(), 0777), 0);
  ASSERT_EQ(chmod((dir_.path() + "/s").c_str(), 0777), 0);
  const pid_t child = Child([this] {
    if (setuid(65534) != 0) return 10;
    TransportOptions options;
    options.pool = *Pool::Create({});
    const Status status = Connection::Connect(listener_->endpoint(), options,
                                              Deadline::After(absl::Milliseconds(500)))
                              .status();
    return status.ok() ? 1 : 0;
  });
  EXPECT_FALSE(listener_->Accept(Deadline::After(absl::Seconds(1))).ok());
  EXPECT_EQ(CodeOf(child), 0);
}

TEST_F(FailureModes, AnotherUserGetsNoLink) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can be another user";
  TransportOptions options = options_;
  options.insecure = true;
  listener_ = *Listener::Listen("tcp://127.0.0.1:*", options);
  const auto receive = Receiver();
  const pid_t child = Child([&] { return setuid(65534) == 0 ? receive() : 20; });
  const auto connection = Accept();
  EXPECT_FALSE(connection->info().link);
  EXPECT_FALSE(connection->info().same_user);
  const Buffer buffer = Pattern(100'000, 1);
  ASSERT_TRUE(connection->Send({.buffers = {&buffer, 1}}, In(5)).ok());
  EXPECT_EQ(CodeOf(child), kNoLink);
}

// As from another container: the endpoint's file is seen, the link's abstract name is not.
TEST_F(FailureModes, ALinkThatCannotBeReachedIsDoneWithout) {
  const auto receive = Receiver();
  const pid_t child = Child([&] { return unshare(CLONE_NEWNET) == 0 ? receive() : 20; });
  auto connection = listener_->Accept(In(5));
  if (!connection.ok()) {
    EXPECT_EQ(CodeOf(child), 20);
    GTEST_SKIP() << "no namespace of one's own here";
  }
  EXPECT_FALSE((*connection)->info().link);
  EXPECT_FALSE((*connection)->info().no_link_reason.empty());
  const Buffer buffer = Pattern(100'000, 1);
  ASSERT_TRUE((*connection)->Send({.buffers = {&buffer, 1}}, In(5)).ok());
  EXPECT_EQ(CodeOf(child), kNoLink);
}

TEST_F(FailureModes, ABufferOfMoreThanTwoGigabytes) {
  constexpr size_t kSize = (size_t{2} << 30) + 4097;
  auto pool = *Pool::Create({.quota = size_t{3} << 30, .name = "large"});
  auto block = pool->Allocate(kSize);
  if (!block.ok()) GTEST_SKIP() << block.status();
  TransportOptions options;
  options.pool = pool;
  const Pair pair = MakePair(dir_.Endpoint("large"), options);
  block->mutable_data()[0] = std::byte{1};
  block->mutable_data()[kSize - 1] = std::byte{2};
  ASSERT_TRUE(pair.near->Send({.buffers = {&*block, 1}}, In(20)).ok());
  auto message = pair.far->Receive(In(20));
  ASSERT_TRUE(message.ok()) << message.status();
  ASSERT_EQ(message->buffers[0].size(), kSize);
  EXPECT_EQ(message->buffers[0].data()[0], std::byte{1});
  EXPECT_EQ(message->buffers[0].data()[kSize - 1], std::byte{2});
  EXPECT_EQ(pair.near->Stats().copied_bytes + pair.far->Stats().copied_bytes, 0u);
}

TEST_F(FailureModes, WhoWaitsBurnsNoProcessor) {
  Peer peer({"hold", listener_->endpoint()});
  const auto connection = Accept();
  const auto used = [] {
    timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
  };
  const double before = used();
  (void)connection->Receive(Deadline::After(absl::Seconds(2)));
  EXPECT_LT(used() - before, 0.5);
}

}  // namespace
}  // namespace pannier

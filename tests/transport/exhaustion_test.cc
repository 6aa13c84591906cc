// No descriptor is free, or signals come all the time: typed errors, no lost message, and
// all works again afterwards.
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>

#include <algorithm>
#include <thread>

#include "pannier/base/unique_fd.h"
#include "support.h"

namespace pannier {
namespace {

// No descriptor but `left`, as if the limit had been reached by opening: the gaps between
// those open now are filled, so that who closes one can open one.
class NoDescriptors {
 public:
  explicit NoDescriptors(rlim_t left = 0) {
    getrlimit(RLIMIT_NOFILE, &before_);
    // ZeroMQ's thread may still be closing what an earlier test left.
    int next = LowestFree();
    for (int before = -1; before != next; next = LowestFree()) {
      before = next;
      usleep(20'000);
    }
    int highest = next;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      highest = std::max(highest, std::stoi(entry.path().filename()));
    }
    do {
      fill_.emplace_back(dup(0));
    } while (fill_.back().get() <= highest);
    rlimit limit = before_;
    limit.rlim_cur = static_cast<rlim_t>(fill_.back().get()) + 1 + left;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
  ~NoDescriptors() { setrlimit(RLIMIT_NOFILE, &before_); }
  NoDescriptors(const NoDescriptors&) = delete;
  NoDescriptors& operator=(const NoDescriptors&) = delete;

 private:
  static int LowestFree() {
    const int fd = dup(0);
    close(fd);
    return fd;
  }
  rlimit before_;
  std::vector<UniqueFd> fill_;
};

// The listener is of another process: ZeroMQ 4.3.4 aborts one whose ipc listener finds no
// descriptor free for a peer that comes.
TEST(NoDescriptorFree, IsATypedErrorOfConnectAndListenAtEveryCount) {
  const TempDir dir;
  {  // The sanitizer of undefined behaviour looks at each type once, and takes a descriptor for it.
    const Pair pair = MakePair(dir.Endpoint("warm"));
    EXPECT_FALSE(Listener::Listen(dir.Endpoint("no/such/folder"), {}).ok());
  }
  const pid_t other = fork();
  if (other == 0) {
    auto listener = Listener::Listen(dir.Endpoint("s"), {});
    while (listener.ok() && (*listener)->Next(Deadline::Never()).ok()) continue;
    _exit(1);
  }
  // ZeroMQ runs, and the pool has its first segment.
  auto first = Connection::Connect(dir.Endpoint("s"), {}, In(10));
  EXPECT_TRUE(first.ok()) << first.status();
  size_t connected = 0, listening = 0;
  for (rlim_t left = 0; left < 20; ++left) {
    SCOPED_TRACE(left);
    const size_t before = OpenDescriptors();
    {
      const NoDescriptors none(left);
      const Status connection =
          Connection::Connect(dir.Endpoint("s"), {}, Deadline::After(absl::Milliseconds(300)))
              .status();
      const ErrorKind kind = KindOf(connection);
      EXPECT_TRUE(connection.ok() || kind == ErrorKind::kSystem ||
                  kind == ErrorKind::kDeadlineExceeded)
          << connection;
      connected += connection.ok();
      const Status listener = Listener::Listen(dir.Endpoint("t"), {}).status();
      EXPECT_TRUE(listener.ok() || KindOf(listener) == ErrorKind::kSystem) << listener;
      listening += listener.ok();
    }
    // What was half open is closed; ZeroMQ closes its own a little later.
    EXPECT_TRUE(Eventually([&] { return OpenDescriptors() <= before; }, absl::Seconds(7)))
        << OpenDescriptors() << " are open, before " << before;
  }
  EXPECT_GT(connected, 0u);
  EXPECT_GT(listening, 0u);
  auto connection = Connection::Connect(dir.Endpoint("s"), {}, In(5));
  EXPECT_TRUE(connection.ok() && (*connection)->info().link) << connection.status();
  kill(other, SIGKILL);
  waitpid(other, nullptr, 0);
}

TEST(NoDescriptorFree, ForAProcessesFirstSocketIsAnErrorAndNotItsEnd) {
  for (rlim_t left = 0; left < 14; ++left) {
    const pid_t child = fork();  // ZeroMQ starts afresh in it
    if (child == 0) {
      const NoDescriptors none(left);
      const Status status =
          Connection::Connect("ipc:///nowhere/s", {}, Deadline::After(absl::Milliseconds(10)))
              .status();
      _exit(KindOf(status) == ErrorKind::kSystem || KindOf(status) == ErrorKind::kDeadlineExceeded
                ? 0
                : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << left << ": " << status;
  }
}

TEST(NoDescriptorFree, ForALinkCostsTheLinkAndNoProcessor) {
  const TempDir dir;
  TransportOptions options;
  auto listener = *Listener::Listen(dir.Endpoint("s"), options);
  std::shared_ptr<Connection> kept;
  Peer peer({"hold", listener->endpoint()});  // its ZeroMQ connection may take a descriptor
  auto first = listener->Accept(In(10));
  ASSERT_TRUE(first.ok());
  // A link socket that cannot be accepted waits at the door.
  std::unique_ptr<NoDescriptors> none;
  Peer second({"hold", listener->endpoint()});
  (void)listener->Accept(Deadline::Now());
  usleep(100'000);  // the endpoint's connection stands; the hello waits
  none = std::make_unique<NoDescriptors>();
  const double processor = ProcessorSeconds();
  const auto start = absl::Now();
  auto without = listener->Accept(In(5));
  ASSERT_TRUE(without.ok()) << without.status();
  EXPECT_FALSE((*without)->info().link);
  EXPECT_LT(absl::Now() - start, absl::Seconds(2)) << "its peer was left waiting for its link";
  EXPECT_EQ(KindOf(listener->Accept(Deadline::After(absl::Milliseconds(500))).status()),
            ErrorKind::kDeadlineExceeded);
  EXPECT_LT(ProcessorSeconds() - processor, 0.3) << "turning and turning";
  none.reset();
  Peer third({"hold", listener->endpoint()});
  auto again = listener->Accept(In(10));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE((*again)->info().link) << (*again)->info().no_link_reason;
}

TEST(NoDescriptorFree, ForASegmentCostsThatMessageAndNoOther) {
  const TempDir dir;
  auto pool = *Pool::Create({.quota = 256 << 20, .name = "near"});
  TransportOptions options;
  options.pool = pool;
  const Pair pair = MakePair(dir.Endpoint("s"), options, {});
  const Buffer buffer = Pattern(100'000, 1);
  ASSERT_TRUE(pair.near->Send({.buffers = {&buffer, 1}}, In(5)).ok());
  {
    const NoDescriptors none;
    const Status lost = pair.far->Receive(In(5)).status();
    EXPECT_EQ(KindOf(lost), ErrorKind::kSystem) << lost;
  }
  EXPECT_EQ(Leases(*pool), 0u);
  // The segment is asked for again: in a while messages arrive.
  EXPECT_TRUE(Eventually(
      [&] {
        EXPECT_TRUE(pair.near->Send({.buffers = {&buffer, 1}}, In(5)).ok());
        auto message = pair.far->Receive(In(5));
        return message.ok() && SameBytes(message->buffers[0], buffer);
      },
      absl::Seconds(2)));
}

TEST(LongRun, SegmentsThatTheOwnerGaveBackAreForgottenByTheirReader) {
  const TempDir dir;
  auto pool = *Pool::Create({.quota = 256 << 20, .name = "near"});
  TransportOptions options;
  options.pool = pool;
  const Pair pair = MakePair(dir.Endpoint("s"), options, {});
  const Buffer buffer = Pattern(100'000, 1);
  size_t before = 0;
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(pair.near->Send({.buffers = {&buffer, 1}}, In(5)).ok());
    ASSERT_TRUE(pair.far->Receive(In(5)).ok());
    EXPECT_GT(pool->Trim(), 0u);
    if (i == 2) before = OpenDescriptors();
  }
  EXPECT_LE(OpenDescriptors(), before);
}

TEST(NoMemory, ForAllBuffersOfAMessageDoesNotMakeItWaitForItself) {
  const TempDir dir;
  TransportOptions options;
  options.pool = *Pool::Create({.quota = 16 << 20, .name = "small"});
  const Pair pair = MakePair(dir.Endpoint("s"), options, {});
  const std::vector<Buffer> buffers(5, Pattern(6 << 20, 1));
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(pair.near->Send({.buffers = buffers}, In(5)).ok());
    auto message = pair.far->Receive(In(5));
    ASSERT_TRUE(message.ok()) << message.status();
    for (const Buffer& buffer : message->buffers) EXPECT_TRUE(SameBytes(buffer, buffers[0]));
  }
  EXPECT_GT(pair.near->Stats().leased_bytes_sent, 0u);
}

// The near side may lend the far one so many leases.
Pair PairOfFewLeases(const TempDir& dir, uint32_t leases) {
  TransportOptions options;
  options.pool = *Pool::Create({.quota = 64 << 20, .leases_per_peer = leases, .name = "few"});
  return MakePair(dir.Endpoint("s"), options, {});
}

TEST(NoCredit, ForMostBuffersOfAMessageMakesItWaitOnce) {
  const TempDir dir;
  const Pair pair = PairOfFewLeases(dir, 256);
  const std::vector<Buffer> buffers(250, Pattern(20'000, 1));
  ASSERT_TRUE(pair.near->Send({.buffers = buffers}, In(5)).ok());
  const auto kept = pair.far->Receive(In(5));
  ASSERT_TRUE(kept.ok()) << kept.status();
  const uint64_t leased = pair.near->Stats().leased_bytes_sent;

  // Six leases are left. 20 ms for each of the other buffers would be five seconds.
  const absl::Time begin = absl::Now();
  ASSERT_TRUE(pair.near->Send({.buffers = buffers}, In(60)).ok());
  EXPECT_LT(absl::Now() - begin, absl::Seconds(4));
  EXPECT_EQ(pair.near->Stats().leased_bytes_sent - leased, 6 * 20'000u);
  const auto message = pair.far->Receive(In(5));
  ASSERT_TRUE(message.ok()) << message.status();
  for (const Buffer& buffer : message->buffers) EXPECT_TRUE(SameBytes(buffer, buffers[0]));
}

TEST(NoMemory, ForTwoSendersAtOnceDoesNotMakeThemWaitForEachOther) {
  const TempDir dir;
  const Pair pair = PairOfFewLeases(dir, 64);
  const std::vector<Buffer> buffers(50, Pattern(20'000, 1));
  constexpr int kThreads = 3, kEach = 10;
  std::vector<std::thread> senders;
  for (int t = 0; t < kThreads; ++t) {
    senders.emplace_back([&] {
      for (int i = 0; i < kEach; ++i) {
        const Status sent = pair.near->Send({.buffers = buffers}, In(10));
        EXPECT_TRUE(sent.ok()) << sent;
      }
    });
  }
  for (int i = 0; i < kThreads * kEach; ++i) EXPECT_TRUE(pair.far->Receive(In(10)).ok());
  for (std::thread& sender : senders) sender.join();
  EXPECT_EQ(Leases(*pair.near->pool()), 0u);
}

void Ignore(int) {}

// A profiler's timer, say: every system call that can be interrupted is.
TEST(Signals, DisturbNoMessage) {
  const TempDir dir;
  for (const bool link : {true, false}) {
    TransportOptions options;
    options.link = link;
    const Pair pair = MakePair(dir.Endpoint(link ? "l" : "f"), options, options);
    struct sigaction action = {};
    action.sa_handler = Ignore;  // no SA_RESTART
    struct sigaction old;
    sigaction(SIGALRM, &action, &old);
    const itimerval often{{0, 50}, {0, 50}};
    setitimer(ITIMER_REAL, &often, nullptr);
    constexpr int kMessages = 20'000;
    std::vector<Buffer> buffers = {Pattern(10, 1), Pattern(20'000, 2)};
    std::thread echo([&] {
      for (int i = 0; i < kMessages; ++i) {
        auto message = pair.far->Receive(In(20));
        ASSERT_TRUE(message.ok()) << i << ": " << message.status();
        const Status sent = pair.far->Send({.buffers = message->buffers}, In(20));
        ASSERT_TRUE(sent.ok()) << i << ": " << sent;
      }
    });
    for (int i = 0; i < kMessages; ++i) {
      const Status sent = pair.near->Send({.buffers = buffers}, In(20));
      EXPECT_TRUE(sent.ok()) << i << ": " << sent;
      auto back = pair.near->Receive(In(20));
      EXPECT_TRUE(back.ok()) << i << ": " << back.status();
      if (!sent.ok() || !back.ok()) break;
    }
    const itimerval never = {};
    setitimer(ITIMER_REAL, &never, nullptr);
    pair.near->Close();
    echo.join();
    sigaction(SIGALRM, &old, nullptr);
  }
}

}  // namespace
}  // namespace pannier

// Connection::fd() promises that who waits on it by himself, in asyncio or epoll, misses
// nothing: not what a send swallowed, not what is left of a burst, not what is due by time.
#include <poll.h>

#include <atomic>
#include <functional>
#include <thread>

#include "support.h"

namespace pannier {
namespace {

bool Readable(int fd, int millis) {
  pollfd poll_fd{fd, POLLIN, 0};
  return poll(&poll_fd, 1, millis) == 1;
}

struct Way {
  const char* name;
  bool link;
  Carrier carrier;
};

class Readiness : public testing::TestWithParam<Way> {
 protected:
  static TransportOptions Options() {
    TransportOptions options;
    options.link = GetParam().link;
    options.carrier = GetParam().carrier;
    // No timer of the pool's makes the descriptor readable.
    options.pool = *Pool::Create({.idle_time = absl::InfiniteDuration()});
    return options;
  }
  Pair Make() { return MakePair(dir_.Endpoint("s"), Options(), Options()); }
  TempDir dir_;
};

TEST_P(Readiness, OfAMessageThatCameBeforeASend) {
  for (const bool connecting : {true, false}) {
    const Pair pair = Make();
    const auto& here = connecting ? pair.near : pair.far;
    const auto& there = connecting ? pair.far : pair.near;
    const int fd = *here->fd();
    EXPECT_FALSE(*here->Poll(Deadline::Now()));
    ASSERT_TRUE(there->Send({.stream = AsBytes("x")}, In(5)).ok());
    usleep(50'000);  // it has arrived in ZeroMQ, and raised its event
    ASSERT_TRUE(here->Send({.stream = AsBytes("y")}, In(5)).ok());
    EXPECT_TRUE(Readable(fd, 1000)) << "sending swallowed the event";
    EXPECT_TRUE(*here->Poll(Deadline::Now()));
  }
}

TEST_P(Readiness, OfEveryMessageOfABurstTakenOneByOne) {
  for (const bool connecting : {true, false}) {
    const Pair pair = Make();
    const auto& here = connecting ? pair.near : pair.far;
    const auto& there = connecting ? pair.far : pair.near;
    const int fd = *here->fd();
    constexpr int kMessages = 1000;
    for (int i = 0; i < kMessages; ++i) {
      ASSERT_TRUE(there->Send({.stream = AsBytes("x")}, In(5)).ok());
    }
    for (int i = 0; i < kMessages; ++i) {
      do {
        ASSERT_TRUE(Readable(fd, 1000)) << "after " << i << " messages";
      } while (!*here->Poll(Deadline::Now()));
      ASSERT_TRUE(here->Receive(Deadline::Now()).ok());
    }
    EXPECT_FALSE(*here->Poll(Deadline::Now()));
    EXPECT_FALSE(Readable(fd, 0));
  }
}

TEST_P(Readiness, OfAMessageReceivedForAnotherConnectionOfTheListener) {
  const Pair pair = Make();
  auto other = Connection::Connect(pair.listener->endpoint(), Options(), In(5));
  ASSERT_TRUE(other.ok());
  auto accepted = pair.listener->Accept(In(5));
  ASSERT_TRUE(accepted.ok());
  const int fd = *(*accepted)->fd();
  EXPECT_FALSE(*(*accepted)->Poll(Deadline::Now()));
  ASSERT_TRUE((*other)->Send({.stream = AsBytes("for the other")}, In(5)).ok());
  usleep(30'000);
  EXPECT_FALSE(*pair.far->Poll(Deadline::Now()));  // takes in what is there for all
  EXPECT_TRUE(Readable(fd, 1000));
  EXPECT_TRUE((*accepted)->Receive(Deadline::Now()).ok());
}

// While the hook of a thread that waits runs, nobody has the duty. It is asked although events of
// others end each sleep.
TEST_P(Readiness, OfWhatComesWhileAHookRuns) {
  TransportOptions options = Options();
  std::function<bool()> hook = [] { return false; };
  options.interrupted = [&] { return hook(); };
  const auto listener = *Listener::Listen(dir_.Endpoint("s"), options);
  std::vector<std::shared_ptr<Connection>> near, far;
  for (int i = 0; i < 2; ++i) {
    near.push_back(*Connection::Connect(listener->endpoint(), Options(), In(10)));
    far.push_back(*listener->Accept(In(10)));
  }
  const int fd = *far[0]->fd();
  std::atomic<bool> asked{false};
  std::thread busy([&] {
    for (; !asked; usleep(10'000)) EXPECT_TRUE(near[0]->Send({.stream = AsBytes("x")}, In(5)).ok());
  });
  hook = [&] {
    asked = true;
    busy.join();
    Message message;
    while (far[0]->TryReceive(&message)) continue;
    EXPECT_TRUE(near[0]->Send({.stream = AsBytes("last")}, In(5)).ok());
    EXPECT_TRUE(Readable(fd, 3000));
    return true;
  };
  EXPECT_EQ(KindOf(far[1]->Receive(In(20)).status()), ErrorKind::kInterrupted);
  hook = [] { return false; };
  for (std::string last; last != "last";) {
    const auto message = far[0]->Receive(In(5));
    ASSERT_TRUE(message.ok()) << message.status();
    last = AsText(message->stream.span());
  }
}

TEST_P(Readiness, OfThePeersDeath) {
  auto listener = *Listener::Listen(dir_.Endpoint("s"), Options());
  Peer peer({"hold", listener->endpoint()});
  auto connection = listener->Accept(In(20));
  ASSERT_TRUE(connection.ok()) << connection.status();
  const int fd = *(*connection)->fd();
  EXPECT_FALSE(*(*connection)->Poll(Deadline::Now()));
  peer.Kill();
  const Deadline deadline = In(3);
  bool ready = false;
  while (!ready && !deadline.Passed()) {
    if (Readable(fd, 3000)) ready = *(*connection)->Poll(Deadline::Now());
  }
  EXPECT_TRUE(ready) << "nothing woke the poller when the time of quiet was over";
  EXPECT_EQ(KindOf((*connection)->Receive(Deadline::Now()).status()), ErrorKind::kConnectionLost);
}

TEST_P(Readiness, IsNotForEver) {
  const Pair pair = Make();
  const int fd = *pair.far->fd();
  ASSERT_TRUE(pair.near->Send({.stream = AsBytes("x")}, In(5)).ok());
  ASSERT_TRUE(pair.far->Receive(In(5)).ok());
  ASSERT_TRUE(pair.far->Send({.stream = AsBytes("y")}, In(5)).ok());
  EXPECT_TRUE(Eventually([&] {
    EXPECT_FALSE(*pair.far->Poll(Deadline::Now()));
    return !Readable(fd, 0);
  }));
  EXPECT_FALSE(Readable(fd, 100)) << "a poller would turn and turn";
}

TEST_P(Readiness, WhoWaitsGivesIdleMemoryBack) {
  const auto options_of = [](const char* name) {
    TransportOptions options = Options();
    options.pool = *Pool::Create({.name = name, .idle_time = absl::Milliseconds(100)});
    return options;
  };
  const TransportOptions near = options_of("near"), far = options_of("far");
  const Pair pair = MakePair(dir_.Endpoint("s"), near, far);
  for (const auto& [pool, connection] :
       {std::pair(near.pool, pair.near), std::pair(far.pool, pair.far)}) {
    ASSERT_TRUE(pool->Allocate(1 << 20).ok());
    ASSERT_EQ(pool->Stats().segments, 1u);
    const Deadline deadline = In(20);
    while (pool->Stats().segments > 0 && !deadline.Passed()) {
      EXPECT_FALSE(*connection->Poll(Deadline::After(absl::Milliseconds(300))));
    }
    EXPECT_EQ(pool->Stats().segments, 0u);
  }
}

const Way kWays[] = {{"Link", true, Carrier::kZmq},
                     {"Frames", false, Carrier::kZmq},
                     {"Lane", true, Carrier::kLane}};

INSTANTIATE_TEST_SUITE_P(Ways, Readiness, testing::ValuesIn(kWays),
                         [](const auto& way) { return std::string(way.param.name); });

}  // namespace
}  // namespace pannier

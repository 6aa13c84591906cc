// What a connection whose stream goes by lane does beside what all connections do: order of what
// goes in the ring, in blocks and beside; sleep and waking; memory.
#include <fstream>
#include <random>
#include <thread>

#include "break_links.h"
#include "support.h"

namespace pannier {
namespace {

class Lane : public testing::Test {
 protected:
  static TransportOptions Options(uint64_t quota = 64 << 20) {
    TransportOptions options;
    options.carrier = Carrier::kLane;
    options.pool = *Pool::Create({.quota = quota, .name = "lane"});
    return options;
  }
  TempDir dir_;
};

// A stream that says which it is, of so many bytes.
std::string Numbered(uint32_t number, size_t size) {
  std::string stream(std::max(size, sizeof(number)), static_cast<char>(number));
  std::memcpy(stream.data(), &number, sizeof(number));
  return stream;
}

void ReceiveNumbered(Connection& connection, uint32_t first, uint32_t count,
                     const std::vector<size_t>& sizes) {
  for (uint32_t i = first; i < first + count; ++i) {
    auto message = connection.Receive(In(20));
    ASSERT_TRUE(message.ok()) << i << ": " << message.status();
    ASSERT_EQ(AsText(message->stream.span()), Numbered(i, sizes[i % sizes.size()])) << i;
  }
}

// In the ring, in a block, and, as the pool is full, beside the lane.
TEST_F(Lane, KeepsTheOrderOfMessagesThatTravelInDifferentWays) {
  const Pair pair = MakePair(dir_.Endpoint("s"), Options(), Options());
  const std::vector<size_t> sizes = {10, 40'000, 100, 300'000, 3'000};
  for (const auto& [from, to] : {std::pair(pair.near, pair.far), std::pair(pair.far, pair.near)}) {
    std::vector<Buffer> all;
    for (uint32_t i = 0; i < 90; ++i) {
      if (i == 30) {  // nothing is left of the pool
        for (size_t size = 16 << 20; size >= 4096; size /= 2) {
          for (auto block = from->pool()->Allocate(size); block.ok();
               block = from->pool()->Allocate(size)) {
            all.push_back(*std::move(block));
          }
        }
      }
      if (i == 60) all.clear();
      const std::string stream = Numbered(i, sizes[i % sizes.size()]);
      ASSERT_TRUE(from->Send({.stream = AsBytes(stream)}, In(5)).ok()) << i;
    }
    ReceiveNumbered(*to, 0, 90, sizes);
    EXPECT_EQ(Leases(*from->pool()), 0u);
  }
}

TEST_F(Lane, GoesOnInOrderWhenItsLinkBreaks) {
  const Pair pair = MakePair(dir_.Endpoint("s"), Options(), Options());
  const std::vector<size_t> sizes = {10, 40'000, 200'000};
  std::thread sender([&] {
    for (uint32_t i = 0; i < 600; ++i) {
      const std::string stream = Numbered(i, sizes[i % sizes.size()]);
      ASSERT_TRUE(pair.near->Send({.stream = AsBytes(stream)}, In(20)).ok()) << i;
    }
  });
  for (uint32_t i = 0; i < 600; i += 100) {
    BreakLinks();
    ReceiveNumbered(*pair.far, i, 100, sizes);
  }
  sender.join();
  EXPECT_EQ(pair.far->info().carrier, "lane");
}

TEST_F(Lane, WithMessagesBesideItIsLostWithItsPeer) {
  auto listener = *Listener::Listen(dir_.Endpoint("s"), Options());
  Peer peer({"say", listener->endpoint(), "200"});
  auto connection = listener->Accept(In(20));
  ASSERT_TRUE(connection.ok()) << connection.status();
  BreakLinks();  // from now on 64 KiB go beside
  usleep(20'000);
  peer.Kill();
  Status status;
  while (status.ok()) status = (*connection)->Receive(In(20)).status();
  EXPECT_EQ(KindOf(status), ErrorKind::kConnectionLost) << status;
}

// Whatever the pause between messages is, beside the time of spinning: nobody sleeps for ever.
TEST_F(Lane, WakesWhoSleepsAtAnyMoment) {
  std::mt19937 random(7);
  for (const int spin : {0, 20, 50}) {
    TransportOptions options = Options();
    options.spin = absl::Microseconds(spin);
    auto listener = *Listener::Listen(dir_.Endpoint("s" + std::to_string(spin)), options);
    Peer peer({"echo", listener->endpoint()});
    auto connection = *listener->Accept(In(20));
    for (int i = 0; i < 2000; ++i) {
      const auto until = absl::Now() + absl::Microseconds(random() % 80);
      while (absl::Now() < until) continue;
      ASSERT_TRUE(connection->Send({.stream = AsBytes("x")}, In(20)).ok());
      const auto back = connection->Receive(In(20));
      ASSERT_TRUE(back.ok()) << i << ": " << back.status();
    }
  }
}

TEST_F(Lane, TellsThatThePeerDiedWhileWeSpinAndWhileWeSleep) {
  for (const int pause : {0, 100, 1000, 20'000}) {
    TransportOptions options = Options();
    options.spin = absl::InfiniteDuration();  // as long as there is: see connection.h
    auto listener = *Listener::Listen(dir_.Endpoint("s" + std::to_string(pause)), options);
    Peer peer({"hold", listener->endpoint()});
    auto connection = *listener->Accept(In(20));
    std::thread killer([&] {
      usleep(static_cast<useconds_t>(pause));
      peer.Signal(SIGKILL);
    });
    EXPECT_EQ(KindOf(connection->Receive(In(20)).status()), ErrorKind::kConnectionLost);
    killer.join();
    peer.Join();
  }
}

TEST_F(Lane, ThatIsIdleBurnsNothing) {
  const Pair pair = MakePair(dir_.Endpoint("s"), Options(), Options());
  ASSERT_TRUE(pair.near->Send({.stream = AsBytes("x")}, In(5)).ok());
  ASSERT_TRUE(pair.far->Receive(In(5)).ok());
  const double before = ProcessorSeconds();
  auto near = std::async(std::launch::async, [&] {
    return pair.near->Receive(Deadline::After(absl::Seconds(2))).status();
  });
  EXPECT_EQ(KindOf(pair.far->Receive(Deadline::After(absl::Seconds(2))).status()),
            ErrorKind::kDeadlineExceeded);
  EXPECT_EQ(KindOf(near.get()), ErrorKind::kDeadlineExceeded);
  EXPECT_LT(ProcessorSeconds() - before, 0.1);
}

// Bytes of this process's mappings whose name has `name` in it.
uint64_t MappedBytes(const std::string& name) {
  std::ifstream maps("/proc/self/maps");
  uint64_t sum = 0;
  for (std::string line; std::getline(maps, line);) {
    uint64_t from = 0, to = 0;
    if (line.find(name) == std::string::npos) continue;
    if (std::sscanf(line.c_str(), "%lx-%lx", &from, &to) == 2) sum += to - from;
  }
  return sum;
}

TEST_F(Lane, SixtyFourOfOneListenerTakeLittleMemory) {
  constexpr int kConnections = 64;
  const TransportOptions options = Options();
  auto listener = *Listener::Listen(dir_.Endpoint("s"), options);
  std::vector<Pair> pairs(kConnections);
  for (Pair& pair : pairs) {
    pair.near = *Connection::Connect(listener->endpoint(), options, In(20));
    pair.far = *listener->Accept(In(20));
  }
  // Both ends of each are mapped here: what one process maps of a connection is half of it.
  EXPECT_LE(MappedBytes("pannier-lane") / 2 / kConnections, uint64_t{1} << 20);
  EXPECT_GT(MappedBytes("pannier-lane"), 0u);
  for (int turn = 0; turn < 3; ++turn) {
    for (Pair& pair : pairs) ASSERT_TRUE(pair.near->Send({.stream = AsBytes("x")}, In(5)).ok());
    for (Pair& pair : pairs) {
      ASSERT_TRUE(pair.far->Receive(In(5)).ok());
      ASSERT_TRUE(pair.far->Send({.stream = AsBytes("y")}, In(5)).ok());
    }
    for (Pair& pair : pairs) ASSERT_TRUE(pair.near->Receive(In(5)).ok());
  }
}

}  // namespace
}  // namespace pannier

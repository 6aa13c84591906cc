// A link that breaks while both processes live: nothing that was leased is given away, and
// messages go on.
#include "break_links.h"
#include "support.h"

namespace pannier {
namespace {

class BrokenLink : public testing::Test {
 protected:
  BrokenLink() { options_.pool = pool_ = *Pool::Create({.quota = 64 << 20, .name = "near"}); }
  void Overwrite() {
    for (int i = 0; i < 50; ++i) {
      auto other = pool_->Allocate(100'000);
      ASSERT_TRUE(other.ok());
      std::fill(other->mutable_span().begin(), other->mutable_span().end(), std::byte{0xEE});
    }
  }
  TempDir dir_;
  std::shared_ptr<Pool> pool_;
  TransportOptions options_;
};

TEST_F(BrokenLink, GivesNothingAwayThatThePeerStillReads) {
  const Pair pair = MakePair(dir_.Endpoint("s"), options_);
  const Buffer buffer = Pattern(100'000, 1);
  ASSERT_TRUE(pair.near->Send({.buffers = {&buffer, 1}}, In(5)).ok());
  ASSERT_TRUE(pair.near->Send({.buffers = {&buffer, 1}}, In(5)).ok());
  auto held = pair.far->Receive(In(5));
  ASSERT_TRUE(held.ok()) << held.status();
  BreakLinks();
  EXPECT_FALSE(*pair.near->Poll(Deadline::After(absl::Milliseconds(50))));
  EXPECT_EQ(Leases(*pool_), 2u);
  Overwrite();
  EXPECT_TRUE(SameBytes(held->buffers[0], buffer));
  auto under_way = pair.far->Receive(In(5));
  ASSERT_TRUE(under_way.ok()) << under_way.status();
  EXPECT_TRUE(SameBytes(under_way->buffers[0], buffer));
  *held = *under_way = Message();
  EXPECT_EQ(Leases(*pool_), 0u) << "handed back through shared memory";
}

TEST_F(BrokenLink, CarriesOnInFrames) {
  const Pair pair = MakePair(dir_.Endpoint("s"), options_);
  const Buffer buffer = Pattern(100'000, 1);
  for (const auto& [from, to] : {std::pair(pair.near, pair.far), std::pair(pair.far, pair.near)}) {
    ASSERT_TRUE(from->Send({.buffers = {&buffer, 1}}, In(5)).ok());
    ASSERT_TRUE(to->Receive(In(5)).ok());
  }
  BreakLinks();
  // A break is seen when its turn comes among the sockets; until then leases go on.
  const Deadline deadline = In(5);
  for (int i = 0; i < 100 || (pair.near->Stats().inline_bytes_sent == 0 && !deadline.Passed());
       ++i) {
    const auto& [from, to] =
        i % 2 == 0 ? std::pair(pair.near, pair.far) : std::pair(pair.far, pair.near);
    ASSERT_TRUE(from->Send({.buffers = {&buffer, 1}}, In(5)).ok());
    auto message = to->Receive(In(5));
    ASSERT_TRUE(message.ok()) << message.status();
    EXPECT_TRUE(SameBytes(message->buffers[0], buffer));
  }
  EXPECT_GT(pair.near->Stats().inline_bytes_sent, 0u);
}

TEST_F(BrokenLink, OutlastedByHeldBuffersGivesThemBackAfterTheClose) {
  Pair pair = MakePair(dir_.Endpoint("s"), options_);
  const Buffer buffer = Pattern(100'000, 1);
  ASSERT_TRUE(pair.near->Send({.buffers = {&buffer, 1}}, In(5)).ok());
  auto held = pair.far->Receive(In(5));
  ASSERT_TRUE(held.ok()) << held.status();
  BreakLinks();
  pair = Pair();
  EXPECT_EQ(Leases(*pool_), 1u);
  Overwrite();
  EXPECT_TRUE(SameBytes(held->buffers[0], buffer));
  *held = Message();
  EXPECT_EQ(Leases(*pool_), 0u);
}

TEST_F(BrokenLink, StillTellsThatThePeerDied) {
  auto listener = *Listener::Listen(dir_.Endpoint("s"), options_);
  for (const bool between : {false, true}) {
    Peer peer({"hold", listener->endpoint()});
    const auto connection = *listener->Accept(In(20));
    const Buffer buffer = Pattern(100'000, 1);
    for (int i = 0; i < 10; ++i) {
      ASSERT_TRUE(connection->Send({.buffers = {&buffer, 1}}, In(5)).ok());
    }
    BreakLinks();
    if (between) {
      EXPECT_FALSE(*connection->Poll(Deadline::After(absl::Milliseconds(50))));
      ASSERT_TRUE(connection->Send({.buffers = {&buffer, 1}}, In(5)).ok());
      EXPECT_EQ(Leases(*pool_), 10u);
    }
    peer.Kill();
    EXPECT_EQ(Leases(*pool_), 0u);
    EXPECT_EQ(KindOf(connection->Receive(In(1)).status()), ErrorKind::kConnectionLost);
  }
}

}  // namespace
}  // namespace pannier

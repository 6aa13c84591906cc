// Ends in good order with something still under way: nothing that was sent is lost, and every
// block comes home.
#include <sys/socket.h>

#include <algorithm>
#include <thread>

#include "pannier/transport/channel.h"
#include "raw_peer.h"

namespace pannier {
namespace {

class Closing : public testing::TestWithParam<Carrier> {
 protected:
  void SetUp() override {
    near_.carrier = far_.carrier = GetParam();
    near_.pool = near_pool_ = *Pool::Create({.quota = 256 << 20, .name = "near"});
    far_.pool = far_pool_ = *Pool::Create({.quota = 256 << 20, .name = "far"});
  }
  Pair Make() { return MakePair(dir_.Endpoint("s"), near_, far_); }
  TempDir dir_;
  TransportOptions near_, far_;
  std::shared_ptr<Pool> near_pool_, far_pool_;
};

TEST_P(Closing, AfterALargeFrameLosesNothing) {
  const std::string stream(400 << 20, 's');
  for (const bool connecting : {true, false}) {
    Pair pair = Make();
    const auto& from = connecting ? pair.near : pair.far;
    const auto& to = connecting ? pair.far : pair.near;
    ASSERT_TRUE(from->Send({.stream = AsBytes(stream)}, In(20)).ok());
    from->Close();
    auto message = to->Receive(In(20));
    ASSERT_TRUE(message.ok()) << message.status();
    EXPECT_EQ(message->stream.size(), stream.size());
    EXPECT_EQ(KindOf(to->Receive(In(5)).status()), ErrorKind::kConnectionLost);
  }
}

TEST_P(Closing, OfAProcessThatIsStoppedMeanwhileLosesNothing) {
  auto listener = *Listener::Listen(dir_.Endpoint("s"), far_);
  for (int i = 0; i < 5; ++i) {
    Peer peer({"say", listener->endpoint(), "200"});
    auto connection = listener->Accept(In(20));
    ASSERT_TRUE(connection.ok()) << connection.status();
    usleep(static_cast<useconds_t>(i) * 1000);
    peer.Signal(SIGSTOP);
    std::thread later([&] {
      usleep(400'000);
      peer.Signal(SIGCONT);
    });
    int received = 0;
    while ((*connection)->Receive(In(5)).ok()) ++received;
    later.join();
    EXPECT_EQ(received, 200);
  }
}

// More frames wait in ZeroMQ than one turn of serving takes.
TEST_P(Closing, OfBothSidesWithMessagesUnreadGivesEveryBlockBack) {
  Pair pair = Make();
  auto block = near_pool_->Allocate(20'000);
  auto far_block = far_pool_->Allocate(20'000);
  ASSERT_TRUE(block.ok() && far_block.ok());
  for (int i = 0; i < 900; ++i) {
    ASSERT_TRUE(pair.near->Send({.buffers = {&*block, 1}}, In(5)).ok());
  }
  usleep(100'000);
  pair.near->Close();
  // Nobody is there to receive this one: its lease is lost with the socket, if the way to it
  // was not seen to be gone.
  const Status last = pair.far->Send({.buffers = {&*far_block, 1}}, In(5));
  EXPECT_TRUE(last.ok() || KindOf(last) == ErrorKind::kConnectionLost) << last;
  pair.far->Close();
  *block = Buffer();
  *far_block = Buffer();
  EXPECT_TRUE(Eventually([&] { return near_pool_->Stats().blocks == 0; })) << Leases(*near_pool_);
  EXPECT_TRUE(Eventually([&] { return far_pool_->Stats().blocks == 0; })) << Leases(*far_pool_);
}

TEST_P(Closing, KeepsTheBlocksOfBuffersThatLiveOnBothSides) {
  Pair pair = Make();
  const Buffer one = Pattern(50'000, 1), two = Pattern(50'000, 2);
  ASSERT_TRUE(pair.near->Send({.buffers = {&one, 1}}, In(5)).ok());
  ASSERT_TRUE(pair.far->Send({.buffers = {&two, 1}}, In(5)).ok());
  auto of_near = pair.far->Receive(In(5));
  auto of_far = pair.near->Receive(In(5));
  ASSERT_TRUE(of_near.ok() && of_far.ok());
  pair = Pair();
  EXPECT_EQ(Leases(*near_pool_), 1u);
  EXPECT_EQ(Leases(*far_pool_), 1u);
  *of_near = Message();
  EXPECT_EQ(Leases(*near_pool_), 0u);
  EXPECT_EQ(Leases(*far_pool_), 1u) << "one side needs nothing more, but is still read";
  for (int i = 0; i < 50; ++i) {
    auto other = far_pool_->Allocate(50'000);
    ASSERT_TRUE(other.ok());
    std::fill(other->mutable_span().begin(), other->mutable_span().end(), std::byte{0xEE});
  }
  EXPECT_TRUE(SameBytes(of_far->buffers[0], two));
  *of_far = Message();
  EXPECT_EQ(Leases(*far_pool_), 0u);
}

TEST_P(Closing, BetweenTakingAMessageAndOpeningItLosesNoLease) {
  Pair pair = Make();
  const Buffer buffer = Pattern(50'000, 1);
  ASSERT_TRUE(pair.near->Send({.buffers = {&buffer, 1}}, In(5)).ok());
  ASSERT_TRUE(*pair.far->Poll(In(5)));
  auto& channel = static_cast<Channel&>(*pair.far);
  Inbound inbound;
  ASSERT_TRUE(channel.TakeInbound(&inbound));  // no other thread is here: no lock
  channel.Close();
  auto message = channel.OpenInbound(std::move(inbound));
  ASSERT_TRUE(message.ok()) << message.status();
  EXPECT_TRUE(SameBytes(message->buffers[0], buffer));
  EXPECT_EQ(Leases(*near_pool_), 1u);
  *message = Message();
  EXPECT_EQ(Leases(*near_pool_), 0u);
}

TEST_P(Closing, OfAListenerEndsItsWaitForEvents) {
  auto listener = *Listener::Listen(dir_.Endpoint("s"), far_);
  auto next = std::async(std::launch::async, [&] { return listener->Next(In(5)).status(); });
  usleep(30'000);
  listener->Close();
  EXPECT_EQ(KindOf(next.get()), ErrorKind::kClosed);
  EXPECT_EQ(KindOf(listener->Next(In(5)).status()), ErrorKind::kClosed);
}

TEST_P(Closing, OfAListenerDoesNotTakeAwayTheFileOfAnother) {
  auto first = *Listener::Listen(dir_.Endpoint("s"), far_);
  std::filesystem::remove(dir_.path() + "/s");  // an operator's idea of a restart
  auto second = *Listener::Listen(dir_.Endpoint("s"), far_);
  first->Close();
  EXPECT_TRUE(std::filesystem::exists(dir_.path() + "/s"));
  auto connecting = std::async(std::launch::async, [&] {
    return Connection::Connect(dir_.Endpoint("s"), near_, In(5)).status();
  });
  EXPECT_TRUE(second->Accept(In(5)).ok());
  EXPECT_TRUE(connecting.get().ok());
}

TEST_P(Closing, OfAListenerRefusesWhoIsAboutToGreet) {
  far_.carrier = Carrier::kAuto;  // such a peer has no lane
  auto listener = *Listener::Listen(dir_.Endpoint("s"), far_);
  RawPeer first(listener->endpoint());
  auto accepting = std::async(std::launch::async, [&] { return listener->Accept(In(5)); });
  first.Shake();
  auto kept = accepting.get();  // keeps the hub and its socket open
  ASSERT_TRUE(kept.ok()) << kept.status();
  RawPeer late(listener->endpoint());
  late.SendBody(wire::FrameType::kHello, wire::Serialize(RawPeer::GoodHello()));
  usleep(100'000);
  listener->Close();
  (void)(*kept)->Receive(Deadline::After(absl::Milliseconds(100)));  // serves
  EXPECT_EQ(late.ReceiveReason(wire::FrameType::kRefuse).kind, ErrorKind::kRefused);
}

TEST(LinkSocket, GivesWhatThePeerSentBeforeItsEndThoughThePeerLeftSomethingUnread) {
  int fds[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
  LinkSocket near{UniqueFd(fds[0])};
  {
    LinkSocket far{UniqueFd(fds[1])};
    ASSERT_TRUE(near.Send(AsBytes("never read"), -1).ok());
    ASSERT_TRUE(far.Send(AsBytes("last words"), -1).ok());
  }
  auto packet = near.Receive();
  ASSERT_TRUE(packet.ok()) << packet.status();
  EXPECT_EQ(packet->bytes, "last words");
  EXPECT_FALSE(packet->ended);
  EXPECT_TRUE(near.Receive()->ended);
}

INSTANTIATE_TEST_SUITE_P(Carriers, Closing, testing::ValuesIn(kCarriers), CarrierName);

}  // namespace
}  // namespace pannier

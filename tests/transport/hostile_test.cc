// A peer that breaks the rules after the handshake, or wants more than its share. It costs its
// own connection at most, and no more memory than the window and the limits say.
#include <sys/socket.h>
#include <sys/un.h>

#include <thread>

#include "pannier/base/unique_fd.h"
#include "raw_peer.h"

namespace pannier {
namespace {

class Hostile : public testing::Test {
 protected:
  Hostile() {
    options_.handshake_timeout = absl::Milliseconds(300);
    listener_ = *Listener::Listen(dir_.Endpoint("s"), options_);
  }
  // Serves until the peer's handshake is through.
  std::shared_ptr<Connection> AcceptFrom(RawPeer& peer) {
    auto accepted = std::async(std::launch::async, [this] { return listener_->Accept(In(5)); });
    peer.Shake();
    auto connection = accepted.get();
    EXPECT_TRUE(connection.ok()) << connection.status();
    return *connection;
  }
  TempDir dir_;
  TransportOptions options_;
  std::shared_ptr<Listener> listener_;
};

TEST_F(Hostile, MessagesPastTheWindowEndTheConnection) {
  RawPeer peer(listener_->endpoint());
  const auto connection = AcceptFrom(peer);
  for (uint64_t i = 0; i < 1100; ++i) peer.SendMessage(i, "x");
  int received = 0;
  Status status;
  // Something else is waited for meanwhile, so that nothing is taken.
  (void)listener_->Accept(Deadline::After(absl::Milliseconds(300)));
  for (;;) {
    auto message = connection->Receive(In(2));
    status = message.status();
    if (!message.ok()) break;
    ++received;
  }
  EXPECT_EQ(KindOf(status), ErrorKind::kCorruptMessage) << status;
  EXPECT_LE(received, 1024);
}

TEST_F(Hostile, BytesPastTheWindowEndTheConnection) {
  RawPeer peer(listener_->endpoint());
  const auto connection = AcceptFrom(peer);
  const std::string stream(30 << 20, 'x');
  for (uint64_t i = 0; i < 3; ++i) peer.SendMessage(i, stream);
  (void)listener_->Accept(Deadline::After(absl::Milliseconds(500)));
  Status status;
  while (status.ok()) status = connection->Receive(In(2)).status();
  EXPECT_EQ(KindOf(status), ErrorKind::kCorruptMessage) << status;
}

TEST_F(Hostile, OneMessageLargerThanTheWindowIsNoBreach) {
  RawPeer peer(listener_->endpoint());
  const auto connection = AcceptFrom(peer);
  peer.SendMessage(0, std::string(70 << 20, 'x'));
  auto message = connection->Receive(In(5));
  ASSERT_TRUE(message.ok()) << message.status();
  EXPECT_EQ(message->stream.size(), size_t{70} << 20);
}

TEST_F(Hostile, PartsPastTheLimitOfAMessageEndTheConnection) {
  TransportOptions options = options_;
  options.max_message_bytes = 1 << 20;
  listener_ = *Listener::Listen(dir_.Endpoint("small"), options);
  RawPeer peer(listener_->endpoint());
  const auto connection = AcceptFrom(peer);
  const std::string part(900'000, 'p');
  wire::FrameHeader header = RawPeer::Header(wire::FrameType::kMessage);
  header.buffer_count = 2;
  std::string records;
  for (int i = 0; i < 2; ++i) {
    wire::BufferRecord record;
    record.length = part.size();
    record.place = static_cast<uint8_t>(wire::Place::kPart);
    records.append(reinterpret_cast<const char*>(&record), sizeof(record));
  }
  peer.Send(header, records, {AsBytes(part), AsBytes(part)});
  EXPECT_EQ(KindOf(connection->Receive(In(5)).status()), ErrorKind::kCorruptMessage);
}

TEST_F(Hostile, ANewLinkWhereThereWasNoneEndsTheConnection) {
  for (const auto& [type, body] :
       {std::pair(wire::FrameType::kRelink, std::string()),
        std::pair(wire::FrameType::kOffer, wire::Serialize(wire::Offer{{1}, "pannier-0"})),
        std::pair(wire::FrameType::kReady, wire::Serialize(wire::Ready{true, ""})),
        std::pair(wire::FrameType::kReady, std::string())}) {
    RawPeer peer(listener_->endpoint());
    const auto connection = AcceptFrom(peer);
    peer.SendBody(type, body);
    const Status status = connection->Receive(In(20)).status();
    EXPECT_EQ(KindOf(status), ErrorKind::kCorruptMessage) << status;
  }
}

TEST_F(Hostile, AReadyThatComesTooLateIsToldSo) {
  RawPeer peer(listener_->endpoint());
  std::thread server([this] { (void)listener_->Accept(In(1)); });
  peer.SendBody(wire::FrameType::kHello, wire::Serialize(RawPeer::GoodHello()));
  EXPECT_EQ(peer.Receive().header.type, static_cast<uint8_t>(wire::FrameType::kWelcome));
  usleep(600'000);
  peer.SendBody(wire::FrameType::kReady, wire::Serialize(wire::Ready{false, ""}));
  // It sends nothing more: without an answer it would wait for messages for ever.
  EXPECT_EQ(peer.ReceiveReason(wire::FrameType::kBye).kind, ErrorKind::kConnectionLost);
  server.join();
}

TEST_F(Hostile, ConnectionsThatNobodyAcceptsAreBounded) {
  const Pair pair = MakePair(dir_.Endpoint("busy"), {}, options_);
  // The program serves its one connection and never accepts another.
  std::atomic<bool> done{false};
  std::thread server([&] {
    while (!done) (void)pair.far->Receive(Deadline::After(absl::Milliseconds(50)));
  });
  const std::string hello = wire::Serialize(RawPeer::GoodHello());
  const std::string ready = wire::Serialize(wire::Ready{false, ""});
  RawPeer peer(pair.listener->endpoint());
  int refused = 0;
  for (int i = 0; i < 1100 && refused == 0; ++i) {
    RawPeer one(pair.listener->endpoint());
    one.SendBody(wire::FrameType::kHello, hello);
    const auto answer = one.Receive();
    if (answer.header.Is(wire::FrameType::kRefuse)) ++refused;
    one.SendBody(wire::FrameType::kReady, ready);
  }
  EXPECT_EQ(refused, 1);
  done = true;
  server.join();
}

// ZeroMQ tells of each broken connection; who does not look must not stop its thread.
TEST_F(Hostile, ConnectionsBrokenWhileNobodyLooksStopNobodyElse) {
  const Pair pair = MakePair(dir_.Endpoint("other"));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = dir_.path() + "/s";
  std::memcpy(address.sun_path, path.data(), path.size());
  for (int i = 0; i < 4000; ++i) {
    const UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  }
  ASSERT_TRUE(pair.near->Send({.stream = AsBytes("x")}, In(5)).ok());
  EXPECT_TRUE(pair.far->Receive(In(5)).ok());
}

TEST_F(Hostile, HellosWithEverNewIdsAreBounded) {
  std::atomic<bool> done{false};
  std::thread server([&] {
    while (!done) (void)listener_->Next(Deadline::After(absl::Milliseconds(50)));
  });
  std::vector<std::unique_ptr<RawPeer>> peers;
  const std::string hello = wire::Serialize(RawPeer::GoodHello());
  for (int i = 0; i < 200; ++i) {
    peers.push_back(std::make_unique<RawPeer>(listener_->endpoint()));
    peers.back()->SendBody(wire::FrameType::kHello, hello);
  }
  EXPECT_EQ(peers.back()->Receive().header.type, static_cast<uint8_t>(wire::FrameType::kWelcome));
  usleep(600'000);
  peers.clear();
  auto connection = Connection::Connect(listener_->endpoint(), {}, In(30));
  EXPECT_TRUE(connection.ok()) << connection.status();
  done = true;
  server.join();
}

// What waits for it in this process must not grow with what it asks.
TEST_F(Hostile, OneThatAsksAndNeverReadsIsNotAnsweredWithoutEnd) {
  std::atomic<bool> done{false};
  std::thread server([&] {
    while (!done) (void)listener_->Next(Deadline::After(absl::Milliseconds(50)));
  });
  constexpr size_t kAsked = 200'000;
  RawPeer peer(listener_->endpoint());
  const std::string hello = wire::Serialize(RawPeer::GoodHello());
  for (size_t i = 0; i < kAsked; ++i) peer.SendBody(wire::FrameType::kHello, hello);
  auto connection = Connection::Connect(listener_->endpoint(), {}, In(30));
  EXPECT_TRUE(connection.ok()) << "the others are served: " << connection.status();
  const size_t answers = peer.CountAnswers();
  EXPECT_GT(answers, 0u);
  EXPECT_LT(answers, kAsked / 2)
      << "of these 65,536 waited here, the others in the kernel and there";
  done = true;
  server.join();
}

}  // namespace
}  // namespace pannier

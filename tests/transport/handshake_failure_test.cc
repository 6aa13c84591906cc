// Peers that say the wrong thing, or nothing. Each gets a typed answer, and the listener
// goes on serving others, which every test ends by showing.
#include <cstring>
#include <thread>

#include "pannier/transport/link_socket.h"
#include "raw_peer.h"

namespace pannier {
namespace {

class HandshakeFailure : public testing::Test {
 protected:
  HandshakeFailure() {
    options_.handshake_timeout = absl::Milliseconds(300);
    listener_ = *Listener::Listen(dir_.Endpoint("s"), options_);
    server_ = std::thread([this] {
      while (!done_) {
        auto event = listener_->Next(Deadline::After(absl::Milliseconds(100)));
        if (!event.ok()) continue;
        const std::lock_guard lock(mutex_);
        if (event->kind == Listener::Event::Kind::kEnded) ends_.push_back(event->status);
        if (event->kind == Listener::Event::Kind::kMessage) {
          (void)event->connection->Send({.stream = event->message.stream.span()}, In(5));
        }
      }
    });
  }
  ~HandshakeFailure() override {
    ExpectServing();
    done_ = true;
    server_.join();
  }
  void ExpectServing() {
    auto connection = Connection::Connect(listener_->endpoint(), {}, In(10));
    ASSERT_TRUE(connection.ok()) << connection.status();
    ASSERT_TRUE((*connection)->Send({.stream = AsBytes("still there?")}, In(5)).ok());
    auto back = (*connection)->Receive(In(5));
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_EQ(AsText(back->stream.span()), "still there?");
  }
  Status TheEnd() {
    EXPECT_TRUE(Eventually(
        [&] {
          const std::lock_guard lock(mutex_);
          return !ends_.empty();
        },
        absl::Seconds(5)));
    const std::lock_guard lock(mutex_);
    return ends_.empty() ? absl::OkStatus() : ends_.front();
  }

  TempDir dir_;
  TransportOptions options_;
  std::shared_ptr<Listener> listener_;
  std::atomic<bool> done_{false};
  std::mutex mutex_;
  std::vector<Status> ends_;  // guarded by mutex_
  std::thread server_;
};

TEST_F(HandshakeFailure, AnUnknownVersionIsRefusedByName) {
  RawPeer peer(listener_->endpoint());
  wire::Hello hello = RawPeer::GoodHello();
  hello.least_version = 7;
  hello.greatest_version = 9;
  peer.SendBody(wire::FrameType::kHello, wire::Serialize(hello));
  const wire::Reason reason = peer.ReceiveReason(wire::FrameType::kRefuse);
  EXPECT_EQ(reason.kind, ErrorKind::kRefused);
  EXPECT_NE(reason.text.find("7 to 9"), std::string::npos) << reason.text;
}

TEST_F(HandshakeFailure, ATruncatedHelloIsRefused) {
  RawPeer peer(listener_->endpoint());
  const std::string body = wire::Serialize(RawPeer::GoodHello());
  peer.SendBody(wire::FrameType::kHello, body.substr(0, 9));
  EXPECT_EQ(peer.ReceiveReason(wire::FrameType::kRefuse).kind, ErrorKind::kCorruptMessage);
}

TEST_F(HandshakeFailure, AMessageBeforeReadyIsRefused) {
  RawPeer peer(listener_->endpoint());
  peer.SendBody(wire::FrameType::kHello, wire::Serialize(RawPeer::GoodHello()));
  EXPECT_EQ(peer.Receive().header.type, static_cast<uint8_t>(wire::FrameType::kWelcome));
  peer.SendMessage(0, "early");
  EXPECT_EQ(peer.ReceiveReason(wire::FrameType::kRefuse).kind, ErrorKind::kCorruptMessage);
}

TEST_F(HandshakeFailure, ALinkThatDoesNotStandIsRefused) {
  RawPeer peer(listener_->endpoint());
  peer.SendBody(wire::FrameType::kHello, wire::Serialize(RawPeer::GoodHello()));
  EXPECT_EQ(peer.Receive().header.type, static_cast<uint8_t>(wire::FrameType::kWelcome));
  peer.SendBody(wire::FrameType::kReady, wire::Serialize(wire::Ready{true, ""}));
  EXPECT_EQ(peer.ReceiveReason(wire::FrameType::kRefuse).kind, ErrorKind::kCorruptMessage);
}

TEST_F(HandshakeFailure, APeerThatStopsHalfWayIsForgotten) {
  RawPeer peer(listener_->endpoint());
  peer.SendBody(wire::FrameType::kHello, wire::Serialize(RawPeer::GoodHello()));
  EXPECT_EQ(peer.Receive().header.type, static_cast<uint8_t>(wire::FrameType::kWelcome));
  usleep(600'000);
  // Its ready comes too late: the connection is not known, and a message is told so.
  peer.SendBody(wire::FrameType::kReady, wire::Serialize(wire::Ready{false, ""}));
  peer.SendMessage(0, "late");
  EXPECT_EQ(peer.ReceiveReason(wire::FrameType::kBye).kind, ErrorKind::kConnectionLost);
}

TEST_F(HandshakeFailure, ARepeatedHelloGetsTheSameWelcome) {
  RawPeer peer(listener_->endpoint());
  const std::string hello = wire::Serialize(RawPeer::GoodHello());
  peer.SendBody(wire::FrameType::kHello, hello);
  const std::string first = peer.Receive().body;
  peer.SendBody(wire::FrameType::kHello, hello);
  EXPECT_EQ(peer.Receive().body, first);
  peer.SendBody(wire::FrameType::kReady, wire::Serialize(wire::Ready{false, ""}));
  peer.SendMessage(0, "hello");
  EXPECT_EQ(peer.Receive().body, "hello");
}

TEST_F(HandshakeFailure, DamagedFramesEndTheirConnectionOnly) {
  const std::string good(100, 'x');
  struct Damage {
    const char* what;
    std::function<void(RawPeer&)> send;
  };
  const Damage damages[] = {
      {"no header", [](RawPeer& peer) { peer.SendBytes(AsBytes("short")); }},
      {"magic",
       [](RawPeer& peer) {
         wire::FrameHeader header = RawPeer::Header(wire::FrameType::kMessage);
         header.magic = 1;
         peer.Send(header, "");
       }},
      {"stream past the end",
       [](RawPeer& peer) {
         peer.Send(RawPeer::Header(wire::FrameType::kMessage, ~uint64_t{0}), "abc");
       }},
      {"sequence", [](RawPeer& peer) { peer.SendMessage(5, "gap"); }},
      {"records that are not there",
       [](RawPeer& peer) {
         wire::FrameHeader header = RawPeer::Header(wire::FrameType::kMessage);
         header.buffer_count = 1000;
         peer.Send(header, "abc");
       }},
      {"a part too many",
       [](RawPeer& peer) {
         peer.Send(RawPeer::Header(wire::FrameType::kMessage), "", {AsBytes("part")});
       }},
      {"a lease without a link",
       [](RawPeer& peer) {
         wire::BufferRecord record;
         record.length = 10;
         record.generation = 1;
         wire::FrameHeader header = RawPeer::Header(wire::FrameType::kMessage);
         header.buffer_count = 1;
         peer.Send(header, std::string(AsText(std::as_bytes(std::span(&record, 1)))));
       }},
      {"credit for nothing",
       [](RawPeer& peer) {
         peer.SendBody(wire::FrameType::kCredit, wire::Serialize(wire::Credit{5, 5}));
       }},
      {"welcome to a listener",
       [](RawPeer& peer) { peer.SendBody(wire::FrameType::kWelcome, ""); }},
  };
  for (const Damage& damage : damages) {
    SCOPED_TRACE(damage.what);
    RawPeer peer(listener_->endpoint());
    peer.Shake();
    damage.send(peer);
    EXPECT_EQ(peer.ReceiveReason(wire::FrameType::kBye).kind, ErrorKind::kCorruptMessage);
    EXPECT_EQ(KindOf(TheEnd()), ErrorKind::kCorruptMessage);
    const std::lock_guard lock(mutex_);
    ends_.clear();
  }
}

TEST_F(HandshakeFailure, ForeignBytesOnTheEndpointAreIgnored) {
  RawPeer peer(listener_->endpoint());
  for (int i = 0; i < 100; ++i) peer.SendBytes(AsBytes("GET / HTTP/1.1"));
}

TEST_F(HandshakeFailure, AFalseTokenGetsNoLink) {
  RawPeer peer(listener_->endpoint());
  wire::Hello hello = RawPeer::GoodHello();
  hello.wants_link = true;
  peer.SendBody(wire::FrameType::kHello, wire::Serialize(hello));
  const auto welcome = wire::ParseWelcome(AsBytes(peer.Receive().body));
  ASSERT_TRUE(welcome.ok());
  auto fd = LinkSocket::Connect(welcome->link_name);
  ASSERT_TRUE(fd.ok()) << fd.status();
  LinkSocket socket(*std::move(fd));
  std::string packet = "PNNL\x01";
  packet += std::string(16, 'T');
  ASSERT_TRUE(socket.Send(AsBytes(packet), 0).ok());
  EXPECT_TRUE(Eventually([&] { return !socket.Alive(); }));
}

TEST_F(HandshakeFailure, ALinkSocketThatSaysNothingIsClosed) {
  RawPeer peer(listener_->endpoint());
  wire::Hello hello = RawPeer::GoodHello();
  hello.wants_link = true;
  peer.SendBody(wire::FrameType::kHello, wire::Serialize(hello));
  const auto welcome = wire::ParseWelcome(AsBytes(peer.Receive().body));
  ASSERT_TRUE(welcome.ok());
  LinkSocket socket(*LinkSocket::Connect(welcome->link_name));
  EXPECT_TRUE(Eventually([&] { return !socket.Alive(); }, absl::Seconds(3)));
}

TEST(Connecting, ToNobodyEndsAtTheDeadline) {
  const TempDir dir;
  const auto start = absl::Now();
  const Status status =
      Connection::Connect(dir.Endpoint("none"), {}, Deadline::After(absl::Milliseconds(200)))
          .status();
  EXPECT_EQ(KindOf(status), ErrorKind::kDeadlineExceeded) << status;
  EXPECT_LT(absl::Now() - start, absl::Seconds(1));
  EXPECT_NE(std::string(status.message()).find(dir.Endpoint("none")), std::string::npos);
}

TEST(Connecting, BeforeTheListenerIsThereWaitsForIt) {
  const TempDir dir;
  auto connecting = std::async(
      std::launch::async, [&] { return Connection::Connect(dir.Endpoint("late"), {}, In(10)); });
  usleep(150'000);
  auto listener = Listener::Listen(dir.Endpoint("late"), {});
  ASSERT_TRUE(listener.ok());
  auto accepted = (*listener)->Accept(In(10));
  ASSERT_TRUE(accepted.ok()) << accepted.status();
  EXPECT_TRUE(connecting.get().ok());
}

TEST(Connecting, ToAListenerThatAnswersNonsenseFails) {
  const TempDir dir;
  const auto endpoint = *ParseEndpoint(dir.Endpoint("raw"));
  auto listening = *ZmqSocket::Listen(endpoint, 1 << 20);
  std::thread liar([&] {
    RawFrame raw;
    EXPECT_TRUE(Eventually([&] { return listening->Receive(&raw); }, absl::Seconds(5)));
    wire::FrameHeader header;
    std::memcpy(&header, raw.head.data(), sizeof(header));
    header.type = static_cast<uint8_t>(wire::FrameType::kWelcome);
    header.stream_size = 3;
    std::string head(reinterpret_cast<const char*>(&header), sizeof(header));
    head += "abc";
    const std::array<ByteSpan, 1> pieces = {AsBytes(head)};
    OutFrame frame(pieces, {});
    listening->Send(raw.from, frame);
  });
  const Status status = Connection::Connect(endpoint.text, {}, In(5)).status();
  liar.join();
  EXPECT_EQ(KindOf(status), ErrorKind::kCorruptMessage) << status;
}

TEST(Listening, OnAnEndpointInUseIsAnError) {
  const TempDir dir;
  auto first = Listener::Listen(dir.Endpoint("s"), {});
  ASSERT_TRUE(first.ok());
  const Status second = Listener::Listen(dir.Endpoint("s"), {}).status();
  EXPECT_EQ(ErrnoOf(second), EADDRINUSE) << second;
  // And the first one is not disturbed.
  auto connection = Connection::Connect(dir.Endpoint("s"), {}, In(5));
  EXPECT_TRUE(connection.ok()) << connection.status();
}

TEST(Listening, ReplacesAStaleSocketButNoOtherFile) {
  const TempDir dir;
  const pid_t child = fork();
  if (child == 0) {
    auto listener = Listener::Listen(dir.Endpoint("s"), {});
    _exit(listener.ok() ? 0 : 1);  // leaves its socket file behind
  }
  int status = -1;
  waitpid(child, &status, 0);
  ASSERT_EQ(status, 0);
  EXPECT_TRUE(std::filesystem::exists(dir.path() + "/s"));
  EXPECT_TRUE(Listener::Listen(dir.Endpoint("s"), {}).ok());
  std::ofstream(dir.path() + "/file") << "precious";
  EXPECT_EQ(KindOf(Listener::Listen(dir.Endpoint("file"), {}).status()),
            ErrorKind::kInvalidArgument);
  EXPECT_TRUE(std::filesystem::exists(dir.path() + "/file"));
}

TEST(Listening, OnTcpMustBeAskedForByName) {
  const Status status = Listener::Listen("tcp://127.0.0.1:*", {}).status();
  EXPECT_EQ(KindOf(status), ErrorKind::kInvalidArgument);
  EXPECT_NE(std::string(status.message()).find("insecure"), std::string::npos) << status;
}

// Whoever was told once that he is to stop has an exception to raise, so nothing else may come of
// it: no connection, and none without the link that was given up.
TEST(Connecting, IsInterruptedWheneverItsHookSaysSo) {
  const TempDir dir;
  auto listener = Listener::Listen(dir.Endpoint("s"), {});
  ASSERT_TRUE(listener.ok());
  for (const bool elsewhere : {false, true}) {  // a listener that is served by another thread
    std::atomic<bool> over{false};
    std::thread server([&] {
      while (elsewhere && !over) (void)(*listener)->Accept(Deadline::After(absl::Milliseconds(5)));
    });
    int most = 0;
    for (int call = 1; call <= 12; ++call) {
      int calls = 0;
      TransportOptions options;
      options.interrupted = [&] { return ++calls >= call; };
      const Status status = Connection::Connect((*listener)->endpoint(), options, In(10)).status();
      EXPECT_EQ(KindOf(status), calls >= call ? ErrorKind::kInterrupted : ErrorKind::kNone)
          << status << ", asked " << calls << " times";
      most = std::max(most, calls);
    }
    EXPECT_GE(most, elsewhere ? 0 : 1);
    over = true;
    server.join();
  }
}

TEST(Listening, IsInterruptedByItsHookAndByWake) {
  const TempDir dir;
  TransportOptions options;
  std::atomic<bool> stop{false};
  options.interrupted = [&] { return stop.load(); };
  auto listener = Listener::Listen(dir.Endpoint("s"), options);
  ASSERT_TRUE(listener.ok());
  std::thread waker([&] {
    usleep(30'000);
    (*listener)->Wake();
  });
  EXPECT_EQ(KindOf((*listener)->Next(In(10)).status()), ErrorKind::kInterrupted);
  waker.join();
  stop = true;
  EXPECT_EQ(KindOf((*listener)->Accept(In(10)).status()), ErrorKind::kInterrupted);
}

}  // namespace
}  // namespace pannier

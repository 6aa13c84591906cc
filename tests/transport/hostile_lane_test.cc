// A peer that breaks the rules of the lane. It costs its own connection, and no other.
#include <functional>
#include <thread>

#include "lane_peer.h"

namespace pannier {
namespace {

class HostileLane : public testing::Test {
 protected:
  HostileLane() { listener_ = *Listener::Listen(dir_.Endpoint("s"), {}); }

  std::shared_ptr<Connection> AcceptFrom(LanePeer& peer) {
    auto accepted = std::async(std::launch::async, [this] { return listener_->Accept(In(10)); });
    peer.Shake();
    auto connection = accepted.get();
    EXPECT_TRUE(connection.ok()) << connection.status();
    EXPECT_EQ((*connection)->info().carrier, "lane");
    return *connection;
  }
  // After what `breach` does the connection ends with CorruptMessage, which the peer is told, and
  // another of the same listener goes on.
  void ExpectTheEndOf(const std::function<void(LanePeer&)>& breach, const std::string& words) {
    SCOPED_TRACE(words);
    auto accepted = std::async(std::launch::async, [this] { return listener_->Accept(In(10)); });
    auto other = *Connection::Connect(listener_->endpoint(), {}, In(10));
    auto far = *accepted.get();
    LanePeer peer(listener_->endpoint());
    const auto connection = AcceptFrom(peer);
    breach(peer);
    Status status;
    while (status.ok()) status = connection->Receive(In(5)).status();
    EXPECT_EQ(KindOf(status), ErrorKind::kCorruptMessage) << status;
    EXPECT_NE(std::string(status.message()).find(words), std::string::npos) << status;
    ExpectBye(peer);
    ASSERT_TRUE(other->Send({.stream = AsBytes("x")}, In(5)).ok());
    EXPECT_TRUE(far->Receive(In(5)).ok());
  }
  static void ExpectBye(LanePeer& peer) {
    LaneReader::Record record;
    auto found = peer.inbox().reader().Peek(&record);
    ASSERT_TRUE(found.ok() && *found);
    wire::FrameHeader header;
    std::memcpy(&header, record.bytes.data(), sizeof(header));
    EXPECT_TRUE(header.Is(wire::FrameType::kBye));
    const auto reason = wire::ParseReason(record.bytes.subspan(sizeof(header)));
    EXPECT_EQ(reason->kind, ErrorKind::kCorruptMessage);
  }

  TempDir dir_;
  std::shared_ptr<Listener> listener_;
};

wire::FrameHeader MessageHeader(uint64_t sequence, uint64_t stream_size) {
  wire::FrameHeader header = RawPeer::Header(wire::FrameType::kMessage, stream_size);
  header.sequence = sequence;
  return header;
}

template <typename T>
std::string BytesOf(const T& value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
}

TEST_F(HostileLane, WordsThatCannotBe) {
  const auto store = [](LaneWord word) {
    return [word](LanePeer& peer) { peer.StoreFirstWord(word); };
  };
  ExpectTheEndOf(store({7, 1, 64}), "record 7 where 0 was due");
  ExpectTheEndOf(store({0, 1, kLaneCapacity}), "before the end");
  ExpectTheEndOf(store({0, 1, LaneWord::kMaxLength}), "before the end");
  ExpectTheEndOf(store({0, 0, 64}), "of kind 0");
  ExpectTheEndOf(store({0, LaneWord::kSkip, 0}), "skip");
}

TEST_F(HostileLane, CountersThatRunBackwards) {
  ExpectTheEndOf(
      [](LanePeer& peer) {
        peer.SendOnLane(0, "first");
        peer.SendOnLane(1, "second");
        peer.SendOnLane(0, "first again");
      },
      "message 0 where 2 was due");
  ExpectTheEndOf(
      [](LanePeer& peer) {
        const auto credit = [&](uint64_t messages) {
          const std::string body = wire::Serialize(wire::Credit{messages, 0});
          peer.SendRecord(1, RawPeer::Header(wire::FrameType::kCredit, body.size()), body);
        };
        credit(5);
      },
      "credit for what was never sent");
}

TEST_F(HostileLane, FramesThatAreNone) {
  ExpectTheEndOf([](LanePeer& peer) { peer.SendRecord(1, AsBytes("short")); }, "shorter");
  ExpectTheEndOf([](LanePeer& peer) { peer.SendRecord(77, MessageHeader(0, 0), ""); },
                 "unknown kind 77");
  ExpectTheEndOf([](LanePeer& peer) { peer.SendRecord(1, MessageHeader(0, 1000), "x"); }, "frame");
  ExpectTheEndOf(
      [](LanePeer& peer) {
        wire::FrameHeader header = MessageHeader(0, 0);
        header.connection = 1;
        peer.SendRecord(1, header, "");
      },
      "another connection");
}

TEST_F(HostileLane, PlainMessagesThatAreNone) {
  const auto send = [](const std::string& bytes) {
    return [bytes](LanePeer& peer) { peer.SendRecord(4, AsBytes(bytes)); };
  };
  ExpectTheEndOf(send(""), "without its first field");
  ExpectTheEndOf(send("abc"), "without its first field");
  ExpectTheEndOf(send(BytesOf(uint32_t{5}) + "abcd"), "an envelope of 5 bytes");
  ExpectTheEndOf(send(BytesOf(~uint32_t{0}) + "abcd"), "an envelope of 4294967295 bytes");
  ExpectTheEndOf(
      send(BytesOf(uint32_t{wire::kMaxEnvelope + 1}) + std::string(wire::kMaxEnvelope + 1, 'e')),
      "an envelope of 65537 bytes");
  // They count as messages do.
  ExpectTheEndOf(
      [this](LanePeer& peer) {
        for (int i = 0; i < 1100; ++i) peer.SendRecord(4, AsBytes(BytesOf(uint32_t{0})));
        (void)listener_->Accept(Deadline::After(absl::Milliseconds(300)));
      },
      "does not fit into the window");
  ExpectTheEndOf(
      [&](LanePeer& peer) {
        peer.SendRecord(4, AsBytes(BytesOf(uint32_t{1}) + "estream"));
        peer.SendOnLane(0, "the same again");
      },
      "message 0 where 1 was due");
}

TEST_F(HostileLane, BlocksThatAreNotLeased) {
  const auto block = [](uint64_t length, uint32_t generation) {
    return BytesOf(uint64_t{0}) + BytesOf(length) + BytesOf(uint32_t{3}) + BytesOf(uint32_t{0}) +
           BytesOf(generation) + BytesOf(uint32_t{0});
  };
  const auto send = [&](const std::string& fields) {
    return [fields](LanePeer& peer) { peer.SendRecord(2, MessageHeader(0, 8), fields); };
  };
  ExpectTheEndOf(send(block(4096, 1)), "segment");
  ExpectTheEndOf(send(block(4096, 0)), "holds no message");
  ExpectTheEndOf(send(block(0, 1)), "holds no message");
  ExpectTheEndOf(send("half"), "elsewhere");
  ExpectTheEndOf(send(block(uint64_t{5} << 30, 1)), "at most");
}

TEST_F(HostileLane, MessagesPastTheWindow) {
  ExpectTheEndOf(
      [this](LanePeer& peer) {
        for (uint64_t i = 0; i < 1100; ++i) peer.SendOnLane(i, "x");
        // Something else is waited for meanwhile, so that nothing is taken.
        (void)listener_->Accept(Deadline::After(absl::Milliseconds(300)));
      },
      "does not fit into the window");
}

TEST_F(HostileLane, FramesBesideIt) {
  const auto due = [](LanePeer& peer, uint64_t sequence, uint64_t size) {
    peer.SendRecord(3, MessageHeader(sequence, 0), BytesOf(size));
  };
  ExpectTheEndOf([&](LanePeer& peer) { due(peer, 0, 4); }, "shorter than its header");
  ExpectTheEndOf(
      [&](LanePeer& peer) {
        due(peer, 0, sizeof(wire::FrameHeader) + 3);
        peer.SendMessage(0, "four");
      },
      "beside the lane");
  ExpectTheEndOf(
      [&](LanePeer& peer) {
        peer.SendMessage(4, "early");
        due(peer, 0, sizeof(wire::FrameHeader) + 5);
      },
      "message 4 beside the lane, 0 was due");
  ExpectTheEndOf(
      [](LanePeer& peer) {
        for (uint64_t i = 0; i < 1100; ++i) peer.SendMessage(i, "x");
      },
      "past the window");
  ExpectTheEndOf(
      [](LanePeer& peer) {
        peer.SendBody(wire::FrameType::kCredit, wire::Serialize(wire::Credit{0, 0}));
      },
      "a frame beside the lane");
}

// What came behind a message that is due from beside is nothing to receive yet, and no end.
TEST_F(HostileLane, AMessageThatIsLateBesideItHoldsUpThoseBehindIt) {
  auto accepted = std::async(std::launch::async, [this] { return listener_->Next(In(10)); });
  LanePeer peer(listener_->endpoint());
  peer.Shake();
  auto event = accepted.get();
  ASSERT_TRUE(event.ok() && event->kind == Listener::Event::Kind::kAccepted) << event.status();
  const uint64_t size = sizeof(wire::FrameHeader) + 4;
  peer.SendRecord(3, MessageHeader(0, 0), BytesOf(size));
  peer.SendOnLane(1, "next");
  event = listener_->Next(Deadline::After(absl::Milliseconds(100)));
  EXPECT_EQ(KindOf(event.status()), ErrorKind::kDeadlineExceeded) << event.status();
  peer.SendMessage(0, "late");
  for (const char* const stream : {"late", "next"}) {
    event = listener_->Next(In(10));
    ASSERT_TRUE(event.ok() && event->kind == Listener::Event::Kind::kMessage) << event.status();
    EXPECT_EQ(AsText(event->message.stream.span()), stream);
  }
}

// Its word that it took messages, though it gave no room back.
TEST_F(HostileLane, CreditWithoutRoom) {
  LanePeer peer(listener_->endpoint());
  const auto connection = AcceptFrom(peer);
  const std::string stream(100, 'x');
  Status status;
  for (uint64_t sent = 1; status.ok(); ++sent) {
    ASSERT_LT(sent, 10'000u);
    status = connection->Send({.stream = AsBytes(stream)}, In(5));
    const uint64_t bytes = sent * (sizeof(wire::FrameHeader) + stream.size());
    const std::string body = wire::Serialize(wire::Credit{sent, bytes});
    if (status.ok()) {
      peer.SendRecord(1, RawPeer::Header(wire::FrameType::kCredit, body.size()), body);
      EXPECT_FALSE(*connection->Poll(Deadline::Now()));
    }
  }
  EXPECT_EQ(KindOf(status), ErrorKind::kCorruptMessage) << status;
}

TEST_F(HostileLane, HeadsThatCannotBeAreNoRoom) {
  LanePeer peer(listener_->endpoint());
  const auto connection = AcceptFrom(peer);
  const std::string stream(10'000, 'x');
  Status status;
  int sent = 0;
  for (uint64_t head = 64; status.ok(); head = 3 * head + 64) {
    peer.own_header().head.store(sent < 20 ? 0 : head, std::memory_order_relaxed);
    status = connection->Send({.stream = AsBytes(stream)}, Deadline::After(absl::Milliseconds(50)));
    ASSERT_LT(++sent, 10'000);
  }
  // Some of these heads could be, and made room where the first messages stand: those are the
  // peer's loss. The window holds.
  EXPECT_EQ(KindOf(status), ErrorKind::kDeadlineExceeded) << status;
  EXPECT_EQ(sent, 1025);
}

TEST_F(HostileLane, ADoorbellThatNeverStopsCostsNobodyAMessage) {
  auto accepted = std::async(std::launch::async, [this] { return listener_->Accept(In(10)); });
  auto other = *Connection::Connect(listener_->endpoint(), {}, In(10));
  auto far = *accepted.get();
  LanePeer peer(listener_->endpoint());
  const auto connection = AcceptFrom(peer);
  auto bell = std::async(std::launch::async, [&] {
    const Deadline until = Deadline::After(absl::Milliseconds(300));
    while (!until.Passed()) peer.Ring();
  });
  std::thread echo([&] {
    for (;;) {
      auto message = far->Receive(In(20));
      if (!message.ok()) return;
      EXPECT_TRUE(far->Send({.stream = message->stream.span()}, In(20)).ok());
    }
  });
  while (bell.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
    ASSERT_TRUE(other->Send({.stream = AsBytes("x")}, In(20)).ok());
    ASSERT_TRUE(other->Receive(In(20)).ok());
  }
  other->Close();
  echo.join();
  peer.SendOnLane(0, "and this");
  auto message = connection->Receive(In(5));
  ASSERT_TRUE(message.ok()) << message.status();
  EXPECT_EQ(AsText(message->stream.span()), "and this");
}

// As it is after a turn in which the record was seen before its ring.
TEST_F(HostileLane, ARingForNothingIsHeardOnce) {
  LanePeer peer(listener_->endpoint());
  const auto connection = AcceptFrom(peer);
  EXPECT_FALSE(*connection->Poll(Deadline::After(absl::Milliseconds(10))));
  peer.Ring();
  const double before = ProcessorSeconds();
  EXPECT_FALSE(*connection->Poll(Deadline::After(absl::Seconds(1))));
  EXPECT_LT(ProcessorSeconds() - before, 0.3);
}

}  // namespace
}  // namespace pannier

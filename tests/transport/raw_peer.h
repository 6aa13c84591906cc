// A peer that says whatever a test wants on the endpoint, frame by frame.
#pragma once

#include <array>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "pannier/transport/handshake.h"
#include "pannier/transport/wire.h"
#include "pannier/transport/zmq_socket.h"
#include "support.h"

namespace pannier {

class RawPeer {
 public:
  explicit RawPeer(const std::string& endpoint) {
    static uint32_t next = 1;
    id_.fill(0x55);
    std::memcpy(id_.data() + 1, &next, sizeof(next));
    ++next;
    socket_ = *ZmqSocket::Connect(*ParseEndpoint(endpoint), id_, 1 << 30);
  }

  void SendBytes(ByteSpan head, std::vector<ByteSpan> parts = {}) {
    const std::array<ByteSpan, 1> pieces = {head};
    OutFrame frame(pieces, parts);
    // Full while the far side does not serve.
    ASSERT_TRUE(Eventually([&] { return socket_->Send(id_, frame) == ZmqSocket::Sent::kYes; }));
  }
  void Send(wire::FrameHeader header, const std::string& rest, std::vector<ByteSpan> parts = {}) {
    std::string head(reinterpret_cast<const char*>(&header), sizeof(header));
    head += rest;
    SendBytes(AsBytes(head), std::move(parts));
  }
  static wire::FrameHeader Header(wire::FrameType type, uint64_t body_size = 0) {
    wire::FrameHeader header;
    header.type = static_cast<uint8_t>(type);
    header.connection = kNumber;
    header.stream_size = body_size;
    return header;
  }
  void SendBody(wire::FrameType type, const std::string& body) {
    Send(Header(type, body.size()), body);
  }
  static wire::Hello GoodHello() {
    wire::Hello hello;
    hello.least_version = hello.greatest_version = 1;
    hello.limits = {1 << 30, 1024, 64 << 20};
    hello.name = "raw";
    return hello;
  }
  // Says hello and ready, with no link.
  void Shake() {
    SendBody(wire::FrameType::kHello, wire::Serialize(GoodHello()));
    const auto welcome = Receive();
    ASSERT_EQ(welcome.header.type, static_cast<uint8_t>(wire::FrameType::kWelcome));
    SendBody(wire::FrameType::kReady, wire::Serialize(wire::Ready{false, "a test"}));
  }
  void SendMessage(uint64_t sequence, const std::string& stream) {
    wire::FrameHeader header = Header(wire::FrameType::kMessage, stream.size());
    header.sequence = sequence;
    Send(header, stream);
  }

  struct Answer {
    wire::FrameHeader header;
    std::string body;
  };
  // The next frame within twenty seconds, but for pings, which come when other peers go; type 0
  // if there is none.
  Answer Receive() {
    for (;;) {
      Answer answer;
      RawFrame raw;
      if (!Eventually([&] { return socket_->Receive(&raw); }, absl::Seconds(20))) return answer;
      std::memcpy(&answer.header, raw.head.data(), sizeof(answer.header));
      if (answer.header.Is(wire::FrameType::kPing)) continue;
      answer.body = AsText(raw.head.span().subspan(sizeof(answer.header)));
      return answer;
    }
  }
  // Takes what came until nothing does for a while; the number of frames.
  size_t CountAnswers() {
    RawFrame raw;
    size_t count = 0;
    while (Eventually([&] { return socket_->Receive(&raw); }, absl::Milliseconds(200))) ++count;
    return count;
  }
  wire::Reason ReceiveReason(wire::FrameType type) {
    const Answer answer = Receive();
    EXPECT_EQ(answer.header.type, static_cast<uint8_t>(type));
    const auto reason = wire::ParseReason(AsBytes(answer.body));
    return reason.ok() ? *reason : wire::Reason{};
  }

  static constexpr uint64_t kNumber = 4711;

 private:
  RoutingId id_;
  std::unique_ptr<ZmqSocket> socket_;
};

}  // namespace pannier

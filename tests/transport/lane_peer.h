// A peer that says whatever a test wants on the lane, record by record.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>

#include <cstring>
#include <memory>
#include <optional>
#include <string>

#include "pannier/shm/lane.h"
#include "pannier/transport/link.h"
#include "raw_peer.h"

namespace pannier {

class LanePeer : public RawPeer {
 public:
  explicit LanePeer(const std::string& endpoint) : RawPeer(endpoint), endpoint_(endpoint) {}
  ~LanePeer() {
    for (std::byte* ring : {theirs_, own_}) {
      if (ring != nullptr) munmap(ring, kRingBytes);
    }
  }

  // Says hello, makes a link with a lane, and says ready.
  void Shake() {
    wire::Hello hello = GoodHello();
    hello.wants_link = hello.takes_lane = true;
    SendBody(wire::FrameType::kHello, wire::Serialize(hello));
    const Answer answer = Receive();
    const auto welcome = wire::ParseWelcome(AsBytes(answer.body));
    ASSERT_TRUE(welcome.ok() && welcome->lane) << welcome.status();
    inbox_ = *LaneInbox::Create();
    auto request = Link::Knock(welcome->link_name, welcome->token, endpoint_, *pool_, inbox_.get());
    ASSERT_TRUE(request.ok()) << request.status();
    link_ = *std::move(request);
    StatusOr<Link::Greeting> accepted;
    ASSERT_TRUE(Eventually([&] {
      accepted = Link::ReceiveGreeting(*link_.socket, /*accepted=*/true);
      return !accepted.ok() || accepted->arrived;
    }));
    ASSERT_TRUE(accepted.ok()) << accepted.status();
    theirs_ = Map(accepted->lane.get());
    own_ = Map(inbox_->ring_fd());
    bell_.emplace(*Doorbell::Adopt(UniqueFd(fcntl(accepted->doorbell.get(), F_DUPFD_CLOEXEC, 0))));
    outbox_ = *LaneOutbox::Open(std::move(accepted->lane), std::move(accepted->doorbell));
    SendBody(wire::FrameType::kReady, wire::Serialize(wire::Ready{true, ""}));
  }

  void SendRecord(uint8_t kind, ByteSpan bytes) {
    std::byte* at = outbox_->writer().Begin(static_cast<uint32_t>(bytes.size()));
    ASSERT_NE(at, nullptr);
    if (!bytes.empty()) std::memcpy(at, bytes.data(), bytes.size());
    outbox_->writer().Commit(kind);
    outbox_->Publish();
  }
  // A header and what comes after it.
  void SendRecord(uint8_t kind, const wire::FrameHeader& header, const std::string& rest) {
    std::string bytes(reinterpret_cast<const char*>(&header), sizeof(header));
    SendRecord(kind, AsBytes(bytes + rest));
  }
  void SendOnLane(uint64_t sequence, const std::string& stream) {
    wire::FrameHeader header = Header(wire::FrameType::kMessage, stream.size());
    header.sequence = sequence;
    SendRecord(1, header, stream);
  }
  void Ring() { bell_->Ring(); }
  // Of the ring that this peer reads.
  LaneRingHeader& own_header() { return *reinterpret_cast<LaneRingHeader*>(own_); }
  // Stores a word where the first record of the ring stands, and rings.
  void StoreFirstWord(const LaneWord& word) {
    const uint64_t bits = word.word();
    std::memcpy(theirs_ + sizeof(LaneRingHeader), &bits, sizeof(bits));
    outbox_->Publish();
  }
  LaneInbox& inbox() { return *inbox_; }

 private:
  static constexpr size_t kRingBytes = LaneRingBytes(kLaneCapacity);
  static std::byte* Map(int fd) {
    return static_cast<std::byte*>(
        mmap(nullptr, kRingBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  }
  const std::string endpoint_;
  const std::shared_ptr<Pool> pool_ = *Pool::Create({.name = "lane peer"});
  std::unique_ptr<LaneInbox> inbox_;
  std::unique_ptr<LaneOutbox> outbox_;
  Link::Request link_;
  std::optional<Doorbell> bell_;  // the other side's
  std::byte* theirs_ = nullptr;   // the ring that the other side reads
  std::byte* own_ = nullptr;      // and that which this one does
};

}  // namespace pannier

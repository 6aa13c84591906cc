// The connecting side: one socket, one channel. Says hello until it is welcomed, tries for
// a link, and opens the channel. docs/wire_format.md, "Handshake".
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "pannier/transport/channel.h"
#include "pannier/transport/relinker.h"

namespace pannier {

class ConnectingHub final : public ChannelOwner {
 public:
  static StatusOr<std::shared_ptr<ConnectingHub>> Open(const Endpoint& endpoint,
                                                       const TransportOptions& options);

  // The whole handshake. Once, under no lock.
  StatusOr<std::shared_ptr<Channel>> Greet(Deadline deadline);

  void OnReady(Channel&) override {}
  void OnLinkBroken(Channel& channel) override;
  Status OnLinkFrame(Channel& channel, const wire::Frame& frame) override;
  void OnClosed(Channel& channel, absl::Duration linger) override;

 protected:
  void OnFrame(RawFrame raw) override;
  void OnDisconnect() override;
  Deadline OnTimer() override;

 private:
  ConnectingHub(std::unique_ptr<ZmqSocket> socket, const TransportOptions& options,
                const Endpoint& endpoint, const RoutingId& routing, uint64_t number);
  Status AwaitWelcome(Deadline deadline);
  // A link, and with it a lane if the welcome says so.
  struct Linked {
    std::unique_ptr<Link> link;
    std::unique_ptr<LaneCarrier> lane;
  };
  StatusOr<Linked> TryLink(Deadline deadline);
  StatusOr<Link::Greeting> AwaitAccepted(LinkSocket& socket, Deadline deadline);
  void SendHello();
  void SendFrame(wire::FrameType type, uint16_t version, const std::string& body);

  const TransportOptions options_;
  const Endpoint endpoint_;
  const RoutingId routing_;
  const uint64_t number_;

  // Guarded by the hub's mutex. welcome_ never changes once it is there.
  Deadline next_hello_ = Deadline::Now();
  bool greeted_ = false;  // a hello was sent on the connection that stands below now
  std::optional<wire::Welcome> welcome_;
  Status refusal_;
  std::vector<RawFrame> early_;  // frames between welcome and the channel's opening
  Channel* channel_ = nullptr;   // from its opening to its close
  Relinker relinker_;
};

}  // namespace pannier

// The links of a listening hub's connections: the first one, which the welcome promised, and those
// in the place of one that broke. docs/wire_format.md, "Handshake" and "A new link".
#include <sys/random.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "pannier/transport/listening_hub.h"

namespace pannier {

Status ListeningHub::EstablishLink(std::shared_ptr<LinkSocket> socket) {
  PANNIER_ASSIGN_OR_RETURN(Link::Greeting packet,
                           Link::ReceiveGreeting(*socket, /*accepted=*/false));
  Promise* const promise = packet.arrived ? PromiseOf(packet.token) : nullptr;
  if (promise == nullptr) {
    return MakeError(ErrorKind::kCorruptMessage, "link: a token that was not given out");
  }
  PANNIER_ASSIGN_OR_RETURN(const PeerCredentials peer, socket->Peer());
  const std::string name = absl::StrCat("pid ", peer.pid, " at ", endpoint_);
  PANNIER_ASSIGN_OR_RETURN(std::unique_ptr<LeaseRow> row,
                           Link::OpenRow(*options_.pool, name, socket));
  const int ring_fd = row->ring_fd();
  PANNIER_ASSIGN_OR_RETURN(std::unique_ptr<Link> link,
                           Link::Create(name, socket, options_.pool, std::move(row), packet.ring));
  std::unique_ptr<LaneInbox> inbox;
  std::unique_ptr<LaneCarrier> lane;
  if (promise->with_lane) {
    PANNIER_ASSIGN_OR_RETURN(std::unique_ptr<LaneOutbox> outbox,
                             LaneOutbox::Open(std::move(packet.lane), std::move(packet.doorbell)));
    PANNIER_ASSIGN_OR_RETURN(inbox, LaneInbox::Create());
    PANNIER_RETURN_IF_ERROR(Link::SendAccepted(*socket, ring_fd, inbox.get()));
    inbox->CloseRingFd();
    lane = std::make_unique<LaneCarrier>(std::move(inbox), std::move(outbox));
  } else {
    PANNIER_RETURN_IF_ERROR(Link::SendAccepted(*socket, ring_fd));
  }
  promise->lane = std::move(lane);
  promise->link = std::move(link);
  return absl::OkStatus();
}

ListeningHub::Promise* ListeningHub::PromiseOf(const wire::Token& token) {
  const auto find_in = [&](auto& promises) -> Promise* {
    for (auto& [routing, promise] : promises) {
      if (promise.token == token && promise.link == nullptr) return &promise;
    }
    return nullptr;
  };
  Promise* const promise = find_in(greetings_);
  return promise != nullptr ? promise : find_in(offered_);
}

Status ListeningHub::OnLinkFrame(Channel& channel, const wire::Frame& frame) {
  if (frame.header.Is(wire::FrameType::kRelink)) return Offer(channel);
  const auto offered = offered_.find(channel.routing());
  if (!frame.header.Is(wire::FrameType::kReady)) {
    return MakeError(ErrorKind::kCorruptMessage, "a frame of the listening side's");
  }
  PANNIER_ASSIGN_OR_RETURN(const wire::Ready ready, wire::ParseReady(frame.stream));
  std::unique_ptr<Link> link;
  if (offered != offered_.end()) {
    link = std::move(offered->second.link);
    offered_.erase(offered);
  }
  if (!ready.has_link) return absl::OkStatus();
  if (link == nullptr) {
    return MakeError(ErrorKind::kCorruptMessage, "ready with a link that does not stand");
  }
  channel.Relink(std::move(link));
  return absl::OkStatus();
}

Status ListeningHub::Offer(Channel& channel) {
  if (!channel.info().link) {
    return MakeError(ErrorKind::kCorruptMessage, "a new link asked for where there was none");
  }
  channel.GiveUpLink();
  if (channel.state() != Channel::State::kOpen) return absl::OkStatus();
  Promise offered;
  wire::Offer offer;
  if (getrandom(offered.token.data(), offered.token.size(), 0) !=
      static_cast<ssize_t>(offered.token.size())) {
    return SystemError(errno, "getrandom");
  }
  // A listener that was closed stands at the door again for those it accepted before. If that
  // fails the name is empty, and the peer asks again.
  if (door_.listening() || door_.Listen().ok()) offer.link_name = door_.name();
  offer.token = offered.token;
  offered.expires = Deadline::After(options_.handshake_timeout);
  offered_.insert_or_assign(channel.routing(), std::move(offered));
  channel.SendControl(wire::FrameType::kOffer, wire::Serialize(offer));
  return absl::OkStatus();
}

}  // namespace pannier

#include "pannier/transport/connecting_hub.h"

#include <poll.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "pannier/transport/listening_hub.h"

namespace pannier {
namespace {

constexpr absl::Duration kHelloAgain = absl::Seconds(1);
// While the listener is of this process, perhaps of this thread, it is served so often.
constexpr absl::Duration kServeListener = absl::Milliseconds(2);

void ServeListenerOf(const std::string& endpoint) {
  if (const auto listening = ListeningHub::Find(endpoint)) {
    Hub::Lock lock(listening->mutex());
    listening->ServeOnce(lock);
  }
}

}  // namespace

StatusOr<std::shared_ptr<ConnectingHub>> ConnectingHub::Open(const Endpoint& endpoint,
                                                             const TransportOptions& options) {
  RoutingId routing;
  uint64_t number;
  std::array<uint8_t, sizeof(routing) + sizeof(number)> random;
  if (getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size())) {
    return SystemError(errno, "getrandom");
  }
  std::memcpy(routing.data(), random.data(), sizeof(routing));
  std::memcpy(&number, random.data() + sizeof(routing), sizeof(number));
  routing[0] |= 1;  // ids that begin with zero are ZeroMQ's own
  PANNIER_ASSIGN_OR_RETURN(std::unique_ptr<ZmqSocket> socket,
                           ZmqSocket::Connect(endpoint, routing, options.max_message_bytes));
  std::shared_ptr<ConnectingHub> hub(
      new ConnectingHub(std::move(socket), options, endpoint, routing, number));
  PANNIER_RETURN_IF_ERROR(hub->Hub::Open());
  return hub;
}

ConnectingHub::ConnectingHub(std::unique_ptr<ZmqSocket> socket, const TransportOptions& options,
                             const Endpoint& endpoint, const RoutingId& routing, uint64_t number)
    : ChannelOwner(std::move(socket), options.interrupted, options.spin),
      options_(options),
      endpoint_(endpoint),
      routing_(routing),
      number_(number),
      relinker_(*this, options, endpoint.text) {}

StatusOr<std::shared_ptr<Channel>> ConnectingHub::Greet(Deadline deadline) {
  auto channel =
      std::make_shared<Channel>(std::static_pointer_cast<ChannelOwner>(shared_from_this()),
                                options_, routing_, number_, endpoint_.text);
  PANNIER_RETURN_IF_ERROR(AwaitWelcome(deadline));

  std::string why_not = "this side asked for none";
  Linked linked;
  if (options_.link) {
    // What fails here costs the link and not the connection, but for an interrupt.
    StatusOr<Linked> tried = TryLink(deadline);
    if (KindOf(tried.status()) == ErrorKind::kInterrupted) {
      return Annotate(tried.status(), absl::StrCat("connect to ", endpoint_.text));
    }
    if (tried.ok()) {
      linked = *std::move(tried);
    } else {
      why_not = std::string(tried.status().message());
    }
  }
  if (options_.carrier == Carrier::kLane && linked.lane == nullptr) {
    return MakeError(ErrorKind::kRefused,
                     absl::StrCat("connect to ", endpoint_.text, ": no lane: ",
                                  linked.link != nullptr ? "the listener takes none" : why_not));
  }
  Channel::Agreement agreement;
  agreement.version = welcome_->version;
  agreement.peer_limits = welcome_->limits;
  agreement.peer = "the listener";
  agreement.no_link_reason = why_not;
  const wire::Ready ready{linked.link != nullptr, why_not};

  const Lock lock(mutex());
  if (!refusal_.ok()) return refusal_;
  channel_ = channel.get();
  SendFrame(wire::FrameType::kReady, agreement.version, wire::Serialize(ready));
  channel->Open(agreement, std::move(linked.link), std::move(linked.lane));
  for (RawFrame& raw : early_) OnFrame(std::move(raw));
  early_.clear();
  return channel;
}

Status ConnectingHub::AwaitWelcome(Deadline deadline) {
  while (!deadline.Passed()) {
    const bool own = ListeningHub::Find(endpoint_.text) != nullptr;
    if (own) ServeListenerOf(endpoint_.text);
    Lock lock(mutex());
    const Deadline turn = own ? Earlier(deadline, Deadline::After(kServeListener)) : deadline;
    const Status waited =
        Wait(lock, turn, [this] { return welcome_.has_value() || !refusal_.ok(); });
    if (KindOf(waited) == ErrorKind::kInterrupted) {
      return Annotate(waited, absl::StrCat("connect to ", endpoint_.text));
    }
    if (!refusal_.ok()) return Annotate(refusal_, absl::StrCat("connect to ", endpoint_.text));
    if (welcome_.has_value()) return absl::OkStatus();
    if (KindOf(waited) != ErrorKind::kDeadlineExceeded) {
      return Annotate(waited, absl::StrCat("connect to ", endpoint_.text));
    }
  }
  return MakeError(ErrorKind::kDeadlineExceeded,
                   absl::StrCat("connect to ", endpoint_.text,
                                ": no answer; is a listener running there, and waiting in accept, "
                                "recv or serve?"));
}

StatusOr<ConnectingHub::Linked> ConnectingHub::TryLink(Deadline deadline) {
  if (welcome_->link_name.empty()) {
    return MakeError(ErrorKind::kRefused, "the listener offers none");
  }
  std::unique_ptr<LaneInbox> inbox;
  if (welcome_->lane) {
    PANNIER_ASSIGN_OR_RETURN(inbox, LaneInbox::Create());
  }
  PANNIER_ASSIGN_OR_RETURN(Link::Request request,
                           Link::Knock(welcome_->link_name, welcome_->token, endpoint_.text,
                                       *options_.pool, inbox.get()));
  PANNIER_ASSIGN_OR_RETURN(
      Link::Greeting accepted,
      AwaitAccepted(*request.socket,
                    Earlier(deadline, Deadline::After(options_.handshake_timeout))));
  Linked linked;
  PANNIER_ASSIGN_OR_RETURN(linked.link, Link::Create(request.peer, request.socket, options_.pool,
                                                     std::move(request.row), accepted.ring));
  if (inbox != nullptr) {
    inbox->CloseRingFd();
    PANNIER_ASSIGN_OR_RETURN(
        std::unique_ptr<LaneOutbox> outbox,
        LaneOutbox::Open(std::move(accepted.lane), std::move(accepted.doorbell)));
    linked.lane = std::make_unique<LaneCarrier>(std::move(inbox), std::move(outbox));
  }
  return linked;
}

StatusOr<Link::Greeting> ConnectingHub::AwaitAccepted(LinkSocket& socket, Deadline deadline) {
  for (;;) {
    ServeListenerOf(endpoint_.text);
    PANNIER_ASSIGN_OR_RETURN(Link::Greeting packet,
                             Link::ReceiveGreeting(socket, /*accepted=*/true));
    if (packet.arrived) return packet;
    if (deadline.Passed()) {
      return MakeError(ErrorKind::kDeadlineExceeded, "link: the listener did not answer in time");
    }
    const bool own = ListeningHub::Find(endpoint_.text) != nullptr;
    pollfd poll_fd{socket.fd(), POLLIN, 0};
    poll(&poll_fd, 1, deadline.PollMillis(own ? 2 : 100));
    if (options_.interrupted && options_.interrupted()) {
      return MakeError(ErrorKind::kInterrupted, "link: interrupted");
    }
  }
}

void ConnectingHub::OnFrame(RawFrame raw) {
  std::vector<uint64_t> part_sizes;
  for (const Buffer& part : raw.parts) part_sizes.push_back(part.size());
  StatusOr<wire::Frame> frame = wire::ParseFrame(raw.head.span(), part_sizes);
  if (frame.ok() && frame->header.connection != number_) return;
  if (channel_ != nullptr) {
    // The answer to a repeated hello.
    if (frame.ok() && frame->header.Is(wire::FrameType::kWelcome)) return;
    return channel_->OnFrame(std::move(raw), std::move(frame));
  }
  if (!frame.ok()) {
    refusal_ = frame.status();
  } else if (frame->header.Is(wire::FrameType::kWelcome)) {
    if (welcome_.has_value() || !greeted_) return;  // late: who said it is gone
    StatusOr<wire::Welcome> welcome = wire::ParseWelcome(frame->stream);
    if (welcome.ok()) {
      welcome_ = *std::move(welcome);
    } else {
      refusal_ = welcome.status();
    }
  } else if (frame->header.Is(wire::FrameType::kRefuse)) {
    const StatusOr<wire::Reason> reason = wire::ParseReason(frame->stream);
    refusal_ =
        reason.ok() ? MakeError(ErrorKind::kRefused, "refused: " + reason->text) : reason.status();
  } else if (welcome_.has_value()) {
    early_.push_back(std::move(raw));
  } else {
    refusal_ = MakeError(ErrorKind::kCorruptMessage, "a frame before the welcome");
  }
}

void ConnectingHub::OnDisconnect() {
  if (channel_ != nullptr) return channel_->OnDisconnect();
  // Whoever listens now has not heard of us, or has to hear again.
  welcome_.reset();
  greeted_ = false;
  next_hello_ = Deadline::Now();
}

Deadline ConnectingHub::OnTimer() {
  if (channel_ != nullptr) {
    return Earlier(Earlier(channel_->OnTimer(), relinker_.OnTimer()), options_.pool->Maintain());
  }
  if (welcome_.has_value() || !refusal_.ok()) return Deadline::Never();
  if (next_hello_.Passed()) {
    SendHello();
    next_hello_ = Deadline::After(kHelloAgain);
  }
  return next_hello_;
}

void ConnectingHub::SendHello() {
  wire::Hello hello;
  hello.least_version = wire::kLeastVersion;
  hello.greatest_version = wire::kGreatestVersion;
  hello.wants_link = options_.link;
  hello.limits = Channel::LimitsOf(options_);
  hello.name = Channel::ProgramName();
  hello.takes_lane = options_.link && options_.carrier != Carrier::kZmq;
  SendFrame(wire::FrameType::kHello, wire::kLeastVersion, wire::Serialize(hello));
  greeted_ = true;
}

void ConnectingHub::SendFrame(wire::FrameType type, uint16_t version, const std::string& body) {
  wire::FrameHeader header;
  header.version = version;
  header.type = static_cast<uint8_t>(type);
  header.connection = number_;
  header.stream_size = body.size();
  const std::array<ByteSpan, 2> pieces = {std::as_bytes(std::span(&header, 1)), AsBytes(body)};
  OutFrame out(pieces, {});
  Send(routing_, out);
}

void ConnectingHub::OnLinkBroken(Channel& channel) { relinker_.OnLinkBroken(channel); }

Status ConnectingHub::OnLinkFrame(Channel&, const wire::Frame& frame) {
  if (!frame.header.Is(wire::FrameType::kOffer)) {
    return MakeError(ErrorKind::kCorruptMessage, "a frame of the connecting side's");
  }
  PANNIER_ASSIGN_OR_RETURN(const wire::Offer offer, wire::ParseOffer(frame.stream));
  relinker_.OnOffer(offer);
  return absl::OkStatus();
}

void ConnectingHub::OnClosed(Channel&, absl::Duration linger) {
  relinker_.Stop();
  channel_ = nullptr;
  Shutdown(linger);
}

StatusOr<std::shared_ptr<Connection>> Connection::Connect(const std::string& endpoint,
                                                          const TransportOptions& options,
                                                          Deadline deadline) {
  PANNIER_ASSIGN_OR_RETURN(const Endpoint parsed, ParseEndpoint(endpoint));
  TransportOptions complete = options;
  if (complete.pool == nullptr) complete.pool = Pool::Default();
  PANNIER_ASSIGN_OR_RETURN(std::shared_ptr<ConnectingHub> hub,
                           ConnectingHub::Open(parsed, complete));
  PANNIER_ASSIGN_OR_RETURN(std::shared_ptr<Channel> channel, hub->Greet(deadline));
  return channel;
}

}  // namespace pannier

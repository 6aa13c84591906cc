#include "pannier/transport/channel.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "pannier/base/process_epoch.h"

namespace pannier {
wire::Limits Channel::LimitsOf(const TransportOptions& options) {
  return {options.max_message_bytes, kWindowMessages, kWindowBytes};
}

std::string Channel::ProgramName() {
  return absl::StrCat(program_invocation_short_name, " (pid ", getpid(), ")");
}

Channel::Channel(std::shared_ptr<ChannelOwner> hub, const TransportOptions& options,
                 RoutingId routing, uint64_t number, std::string endpoint)
    : hub_(std::move(hub)), options_(options), routing_(routing), number_(number) {
  info_.endpoint = std::move(endpoint);
  info_.carrier = "zmq";  // until it is open
}

Channel::~Channel() { Close(); }

Status Channel::ForkedError() {
  return MakeError(ErrorKind::kForked,
                   "this connection belongs to the parent process; a forked child has to connect "
                   "by itself");
}

// ---- Handshake ----------------------------------------------------------------------

void Channel::Open(const Agreement& agreement, std::unique_ptr<Link> link,
                   std::unique_ptr<LaneCarrier> lane) {
  info_.version = agreement.version;
  info_.no_link_reason = agreement.no_link_reason;
  info_.peer = absl::StrCat(agreement.peer, " at ", info_.endpoint);
  peer_limits_ = agreement.peer_limits;
  if (link != nullptr) {
    link_ = std::move(link);
    info_.link = true;
    info_.no_link_reason.clear();
    if (const auto peer = link_->socket().Peer(); peer.ok()) {
      info_.pid = peer->pid;
      info_.same_user = peer->uid == geteuid();
      info_.peer = absl::StrCat("pid ", peer->pid, " at ", info_.endpoint);
    }
  }
  state_ = State::kOpen;
  if (link_ != nullptr && !WatchLink()) return;
  if (lane == nullptr) return;
  lane_ = std::move(lane);
  info_.carrier = "lane";
  lane_number_ = hub_->AddLane(lane_->inbox(), [this] { OnLane(); });
  if (lane_number_ != 0) return;
  End(SystemError(ENOMEM, "lane: its doorbell cannot be watched"));
}

void Channel::SendControl(wire::FrameType type, const std::string& body) {
  wire::FrameHeader header;
  header.version = info_.version != 0 ? info_.version : wire::kLeastVersion;
  header.type = static_cast<uint8_t>(type);
  header.connection = number_;
  header.stream_size = body.size();
  if (lane_ != nullptr && type != wire::FrameType::kPing) {
    // There is room for these, unless the peer broke the rules; then its own end tells it more.
    if (lane_->WriteControl(header, AsBytes(body))) lane_->Publish();
    return;
  }
  const std::array<ByteSpan, 2> pieces = {std::as_bytes(std::span(&header, 1)), AsBytes(body)};
  OutFrame frame(pieces, {});
  if (hub_->Send(routing_, frame) != ZmqSocket::Sent::kYes) OnDisconnect();
}

// ---- Receiving ----------------------------------------------------------------------

StatusOr<Message> Channel::Receive(Deadline deadline, const ReceiveOptions& options) {
  if (Forked(hub_->epoch())) return ForkedError();
  Inbound inbound;
  {
    Hub::Lock lock(hub_->mutex());
    Message straight;
    Status waited;
    for (const LaneReader* own = OwnLane();; own = nullptr) {
      if (TakeStraight(&straight)) return straight;
      waited = hub_->Wait(
          lock, deadline, [&] { return HasMessage() || Over(); }, own);
      if (own == nullptr || HasMessage() || Over() || !waited.ok()) break;
    }
    // What came while the hook ran stays for the next call: the caller has an exception to raise.
    if (KindOf(waited) == ErrorKind::kInterrupted) return Annotated(waited, "receive");
    if (!TakeInbound(&inbound)) {
      if (Over()) return OverStatus();
      return Annotated(waited, "receive");
    }
  }
  if (inbound.framed == nullptr) return PlainMessage(std::move(inbound));
  return OpenInbound(std::move(inbound), options);
}

bool Channel::TryReceive(Message* message) {
  if (Forked(hub_->epoch())) return false;
  Inbound inbound;
  {
    const Hub::Lock lock(hub_->mutex());
    if (TakeStraight(message)) return true;
    if (!HasMessage() || inbox_.front().framed != nullptr) return false;
    TakeInbound(&inbound);
  }
  *message = PlainMessage(std::move(inbound));
  return true;
}

bool Channel::TakeInbound(Inbound* inbound) {
  if (!HasMessage()) return false;
  *inbound = std::move(inbox_.front());
  inbox_.pop_front();
  if (inbound->framed == nullptr) {
    ++stats_.messages_received;
    stats_.stream_bytes_received += inbound->bytes.size() - inbound->envelope_size;
  }
  CountTaken(inbound->size);
  SignalFd();
  return true;
}

void Channel::CountTaken(uint64_t size) {
  ++taken_.messages;
  taken_.bytes += size;
  if (state_ == State::kOpen &&
      (QuarterGone(taken_.messages, reported_.messages, kWindowMessages) ||
       QuarterGone(taken_.bytes, reported_.bytes, kWindowBytes))) {
    reported_ = taken_;
    SendControl(wire::FrameType::kCredit, wire::Serialize(taken_));
  }
}

StatusOr<Message> Channel::OpenInbound(Inbound inbound, const ReceiveOptions& options) {
  if (inbound.framed == nullptr) return PlainMessage(std::move(inbound));
  ConnectionStats seen;
  StatusOr<Message> message =
      OpenMessage(std::move(*inbound.framed), options_.readonly || options.readonly, &seen);
  const Hub::Lock lock(hub_->mutex());
  stats_.messages_received += seen.messages_received;
  stats_.stream_bytes_received += seen.stream_bytes_received;
  stats_.leased_bytes_received += seen.leased_bytes_received;
  stats_.inline_bytes_received += seen.inline_bytes_received;
  stats_.copied_bytes += seen.copied_bytes;
  if (message.ok()) return message;
  const Status status = Annotated(message.status(), "receive");
  if (KindOf(status) == ErrorKind::kCorruptMessage) End(status);
  return status;
}

StatusOr<bool> Channel::Poll(Deadline deadline) {
  if (Forked(hub_->epoch())) return ForkedError();
  Hub::Lock lock(hub_->mutex());
  const Status waited = hub_->Wait(lock, deadline, [&] { return HasMessage() || Over(); });
  if (KindOf(waited) == ErrorKind::kInterrupted) return Annotated(waited, "poll");
  if (HasMessage()) return true;
  if (state_ == State::kClosed) return OverStatus();
  if (Over()) return true;
  if (KindOf(waited) == ErrorKind::kDeadlineExceeded) return false;
  return Annotated(waited, "poll");
}

StatusOr<int> Channel::fd() {
  if (Forked(hub_->epoch())) return ForkedError();
  const Hub::Lock lock(hub_->mutex());
  if (state_ == State::kClosed) return OverStatus();
  if (fd_epoll_.valid()) return fd_epoll_.get();
  UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  UniqueFd event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!epoll.valid() || !event.valid()) return SystemError(errno, "descriptor to wait on");
  PANNIER_ASSIGN_OR_RETURN(const int hub_fd, hub_->Expose());
  // What arrives for the hub, and what was received for this channel by another thread.
  for (const int source : {hub_fd, event.get()}) {
    epoll_event interest{};
    interest.events = EPOLLIN;
    if (epoll_ctl(epoll.get(), EPOLL_CTL_ADD, source, &interest) != 0) {
      return SystemError(errno, "descriptor to wait on");
    }
  }
  fd_epoll_ = std::move(epoll);
  fd_event_ = std::move(event);
  SignalFd();
  return fd_epoll_.get();
}

void Channel::SignalFd() {
  const bool ready = HasMessage() || Over();
  if (!fd_event_.valid() || ready == fd_signalled_) return;
  uint64_t one = 1;
  if (ready) {
    (void)!write(fd_event_.get(), &one, sizeof(one));
  } else {
    (void)!read(fd_event_.get(), &one, sizeof(one));
  }
  fd_signalled_ = ready;
}

// ---- Frames and events --------------------------------------------------------------

void Channel::OnFrame(RawFrame raw, StatusOr<wire::Frame> frame) {
  if (lane_ != nullptr) return OnFrameBeside(std::move(raw), std::move(frame));
  HandleFrame(std::move(raw), std::move(frame));
}

void Channel::HandleFrame(RawFrame raw, StatusOr<wire::Frame> frame) {
  if (Over()) {
    // Leases in a frame that nobody will receive go home if they still can.
    if (frame.ok()) Framed(*std::move(frame), std::move(raw)).HandBack();
    return;
  }
  if (!frame.ok()) return End(frame.status());
  if (!quiet_.never()) quiet_ = Deadline::After(quiet_time_);
  switch (static_cast<wire::FrameType>(frame->header.type)) {
    case wire::FrameType::kMessage:
      return OnMessage(std::move(raw), *std::move(frame));
    case wire::FrameType::kCredit: {
      const auto credit = wire::ParseCredit(frame->stream);
      if (!credit.ok()) return End(credit.status());
      if (credit->messages > sent_.messages || credit->bytes > sent_.bytes ||
          credit->messages < granted_back_.messages || credit->bytes < granted_back_.bytes) {
        return End(MakeError(ErrorKind::kCorruptMessage, "credit for what was never sent"));
      }
      granted_back_ = *credit;
      return;
    }
    case wire::FrameType::kBye: {
      const auto reason = wire::ParseReason(frame->stream);
      if (!reason.ok()) return End(reason.status());
      way_gone_ = false;
      return OnBye(
          MakeError(ErrorKind::kConnectionLost,
                    reason->kind == ErrorKind::kNone
                        ? absl::StrCat(info_.peer, " closed the connection")
                        : absl::StrCat(info_.peer, " ended the connection: ", reason->text)));
    }
    case wire::FrameType::kRelink:
    case wire::FrameType::kOffer:
    case wire::FrameType::kReady:
      if (const Status status = hub_->OnLinkFrame(*this, *frame); !status.ok()) End(status);
      return;
    case wire::FrameType::kPing:
      return;
    default:
      return End(MakeError(ErrorKind::kCorruptMessage,
                           absl::StrCat("frame of type ", frame->header.type, " out of turn")));
  }
}

bool Channel::CountIn(uint64_t size) {
  if (state_ == State::kGreeting) {
    End(MakeError(ErrorKind::kCorruptMessage, "a message before the handshake was complete"));
    return false;
  }
  ++received_sequence_;
  received_bytes_ += size;
  // What the peer may send before it hears of more room is what it was told of last.
  const uint64_t messages_out = received_sequence_ - reported_.messages;
  const uint64_t bytes_out = received_bytes_ - reported_.bytes;
  const bool little_before =
      !QuarterGone(received_sequence_ - 1, reported_.messages, kWindowMessages) &&
      !QuarterGone(received_bytes_ - size, reported_.bytes, kWindowBytes);
  if (messages_out > kWindowMessages || (bytes_out > kWindowBytes && !little_before)) {
    End(MakeError(ErrorKind::kCorruptMessage,
                  absl::StrCat("message ", received_sequence_ - 1, " of ", size,
                               " bytes does not fit into the window")));
    return false;
  }
  if (size > options_.max_message_bytes) {
    End(MakeError(ErrorKind::kCorruptMessage,
                  absl::StrCat("a message of ", size, " bytes outside of leases, at most ",
                               options_.max_message_bytes, " were to come")));
    return false;
  }
  return true;
}

bool Channel::CountIn(const wire::FrameHeader& header, uint64_t size) {
  if (state_ != State::kGreeting && header.sequence != received_sequence_) {
    End(MakeError(ErrorKind::kCorruptMessage, absl::StrCat("message ", header.sequence, " where ",
                                                           received_sequence_, " was due")));
    return false;
  }
  return CountIn(size);
}

Inbound Channel::Framed(wire::Frame frame, RawFrame raw) const {
  Inbound inbound;
  inbound.size = raw.size();
  inbound.framed = std::make_unique<InboundFrame>(link_, std::move(frame), std::move(raw));
  return inbound;
}

void Channel::OnMessage(RawFrame raw, wire::Frame frame) {
  if (!CountIn(frame.header, raw.size())) return;
  Deliver(Framed(std::move(frame), std::move(raw)));
}

void Channel::Deliver(Inbound inbound) {
  inbox_.push_back(std::move(inbound));
  SignalFd();
  if (HasMessage()) hub_->OnReady(*this);  // not behind one that is due
}

// ---- State -----------------------------------------------------------------------------

Status Channel::Annotated(const Status& status, const char* what) const {
  return Annotate(status,
                  absl::StrCat(what, ", ", info_.peer.empty() ? info_.endpoint : info_.peer));
}

// A forked child has one thread, and perhaps a copy of the mutex that another held.

bool Channel::closed() const {
  if (Forked(hub_->epoch())) return state_ == State::kClosed;
  const Hub::Lock lock(hub_->mutex());
  return state_ == State::kClosed;
}

ConnectionStats Channel::Stats() const {
  if (Forked(hub_->epoch())) return stats_;
  const Hub::Lock lock(hub_->mutex());
  return stats_;
}

}  // namespace pannier

// How a channel sends: room in the peer's window, the message's buffers in their places, segments
// announced before the frame that names them. By lane: channel_lane.cc.
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "pannier/base/process_epoch.h"
#include "pannier/transport/channel.h"

namespace pannier {
namespace {

// Who only sends serves after as many messages: it learns of ends, and of what the link says.
constexpr uint64_t kServeEach = 64;

}  // namespace

Status Channel::CheckUsable() const {
  if (Forked(hub_->epoch())) return ForkedError();
  if (state_ == State::kOpen) return absl::OkStatus();
  if (state_ == State::kEnding) {
    return MakeError(ErrorKind::kConnectionLost, absl::StrCat(info_.peer, " is gone"));
  }
  return OverStatus();
}

bool Channel::WindowHasRoom(uint64_t bytes) const {
  const uint64_t messages_out = sent_.messages - granted_back_.messages;
  const uint64_t bytes_out = sent_.bytes - granted_back_.bytes;
  // So little the peer may have taken without saying so, and it will not before it gets more.
  if (!QuarterGone(sent_.messages, granted_back_.messages, peer_limits_.window_messages) &&
      !QuarterGone(sent_.bytes, granted_back_.bytes, peer_limits_.window_bytes)) {
    return true;
  }
  return messages_out < peer_limits_.window_messages && bytes_out <= peer_limits_.window_bytes &&
         bytes <= peer_limits_.window_bytes - bytes_out;
}

Status Channel::Send(const OutgoingMessage& message, Deadline deadline) {
  if (Forked(hub_->epoch())) return ForkedError();
  Hub::Lock lock(hub_->mutex());
  if (sent_.messages % kServeEach == kServeEach - 1) hub_->ServeOnce(lock);
  if (SendPlain(message)) return absl::OkStatus();
  // Where the link breaks meanwhile, all begins anew without it.
  for (;;) {
    PANNIER_RETURN_IF_ERROR(CheckUsable());
    const std::shared_ptr<Link> link = usable_link();
    lock.unlock();
    const Status sent =
        lane_ != nullptr ? SendOnLane(link, message, deadline) : SendOver(link, message, deadline);
    if (KindOf(sent) != ErrorKind::kConnectionLost) return sent;
    lock.lock();
    if (link == usable_link()) return sent;
  }
}

bool Channel::TrySend(const OutgoingMessage& message) {
  if (Forked(hub_->epoch())) return false;
  const Hub::Lock lock(hub_->mutex());
  return sent_.messages % kServeEach != kServeEach - 1 && SendPlain(message);
}

Status Channel::Place(Outbound& outbound, Deadline deadline) {
  const auto go_on = [&] {
    if (options_.interrupted && options_.interrupted()) {
      return MakeError(ErrorKind::kInterrupted, "interrupted while waiting for memory");
    }
    const Hub::Lock relock(hub_->mutex());
    return CheckUsable();
  };
  const Status placed =
      outbound.PlaceBuffers(*options_.pool, options_.inline_threshold, deadline, go_on);
  if (!placed.ok()) return Annotated(placed, "send");
  const uint64_t size = outbound.frame_size();
  if (size <= peer_limits_.max_message_bytes) return absl::OkStatus();
  return MakeError(ErrorKind::kLimit,
                   absl::StrCat("send to ", info_.peer, ": ", size,
                                " bytes outside of leases, and the peer takes at most ",
                                peer_limits_.max_message_bytes));
}

Status Channel::AwaitRoom(Hub::Lock& lock, Outbound& outbound, const std::shared_ptr<Link>& link,
                          Deadline deadline) {
  const uint64_t size = outbound.frame_size();
  do {
    const Status waited = hub_->Wait(lock, deadline, [&] {
      return state_ != State::kOpen || link != usable_link() || WindowHasRoom(size);
    });
    if (KindOf(waited) == ErrorKind::kInterrupted) return Annotated(waited, "send");
    PANNIER_RETURN_IF_ERROR(CheckUsable());
    if (link != usable_link()) return MakeError(ErrorKind::kConnectionLost, "send: the link broke");
    if (!waited.ok()) return Annotated(waited, "send: the peer takes no messages; waited for room");
    PANNIER_RETURN_IF_ERROR(Announce(lock, outbound, deadline));
    // Another thread may have taken the room while this one waited to announce.
  } while (!WindowHasRoom(size) || link != usable_link());
  return absl::OkStatus();
}

void Channel::CountOut(uint64_t bytes) {
  ++sent_.messages;
  sent_.bytes += bytes;
}

Status Channel::SendOver(const std::shared_ptr<Link>& link, const OutgoingMessage& message,
                         Deadline deadline) {
  Outbound outbound(message, link.get(), /*parts=*/true);
  PANNIER_RETURN_IF_ERROR(Place(outbound, deadline));
  OutFrame frame = outbound.Compose(info_.version, number_);

  Hub::Lock lock(hub_->mutex());
  PANNIER_RETURN_IF_ERROR(AwaitRoom(lock, outbound, link, deadline));
  PANNIER_RETURN_IF_ERROR(SendFrame(frame));
  ++sent_sequence_;
  CountOut(outbound.frame_size());
  outbound.Sent(&stats_);
  return absl::OkStatus();
}

Status Channel::SendFrame(OutFrame& frame) {
  std::memcpy(frame.head() + offsetof(wire::FrameHeader, sequence), &sent_sequence_,
              sizeof(sent_sequence_));
  if (hub_->Send(routing_, frame) == ZmqSocket::Sent::kYes) return absl::OkStatus();
  OnDisconnect();
  return MakeError(ErrorKind::kConnectionLost, absl::StrCat("send: ", info_.peer, " is gone"));
}

Status Channel::Announce(Hub::Lock& lock, Outbound& outbound, Deadline deadline) {
  // The peer's end of the link is full: it has not served its connections for a while.
  constexpr absl::Duration kAskAgain = absl::Milliseconds(5);
  for (;;) {
    const Status status = outbound.AnnounceSegments();
    if (status.ok()) return status;
    if (ErrnoOf(status) == EPIPE || ErrnoOf(status) == ECONNRESET) {
      if (lane_ == nullptr) {
        OnLinkEvent();
      } else {
        // Who is on duty sees the end, too; he alone may read what is left on the lane.
        const Status waited = hub_->Wait(lock, deadline, [this] { return link_ended_ || Over(); });
        if (!waited.ok()) return Annotated(waited, "send: the link ended");
      }
      return MakeError(ErrorKind::kConnectionLost, absl::StrCat("send: ", info_.peer, " is gone"));
    }
    if (ErrnoOf(status) != EAGAIN) return Annotated(status, "send");
    if (deadline.Passed()) {
      return Annotated(MakeError(ErrorKind::kDeadlineExceeded, "the peer does not read its link"),
                       "send");
    }
    const Status waited = hub_->Wait(lock, Earlier(deadline, Deadline::After(kAskAgain)),
                                     [this] { return state_ != State::kOpen; });
    if (KindOf(waited) == ErrorKind::kInterrupted) return Annotated(waited, "send");
    PANNIER_RETURN_IF_ERROR(CheckUsable());
    if (KindOf(waited) != ErrorKind::kDeadlineExceeded) return Annotated(waited, "send");
  }
}

}  // namespace pannier

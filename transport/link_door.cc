#include "pannier/transport/link_door.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace pannier {
namespace {

// Link sockets without a token.
constexpr size_t kMaxPending = 256;
// How long links wait at the door when even the spare descriptor is gone.
constexpr absl::Duration kClosedFor = absl::Milliseconds(100);

}  // namespace

LinkDoor::LinkDoor(Hub& hub, absl::Duration patience,
                   std::function<void(std::shared_ptr<LinkSocket>)> on_packet)
    : hub_(hub), patience_(patience), on_packet_(std::move(on_packet)) {}

Status LinkDoor::Listen() {
  PANNIER_ASSIGN_OR_RETURN(listener_, LinkSocket::Listen(&name_));
  Open();
  return absl::OkStatus();
}

void LinkDoor::Close() {
  for (const auto& [watch, pending] : pending_) hub_.Unwatch(watch);
  pending_.clear();
  if (watch_ != 0) hub_.Unwatch(std::exchange(watch_, 0));
  opens_ = Deadline::Never();
  listener_ = UniqueFd();
  spare_ = UniqueFd();
}

void LinkDoor::Open() {
  if (!spare_.valid()) spare_ = UniqueFd(eventfd(0, EFD_CLOEXEC));
  watch_ = hub_.Watch(listener_.get(), [this] { LetIn(); });
  opens_ = watch_ != 0 ? Deadline::Never() : Deadline::After(kClosedFor);
}

// Accepts the next link with the spare descriptor and closes it: its peer goes on without.
bool LinkDoor::TurnAway() {
  if (!std::exchange(spare_, UniqueFd()).valid()) return false;
  const bool turned_away = LinkSocket::Accept(listener_.get()).valid();
  spare_ = UniqueFd(eventfd(0, EFD_CLOEXEC));
  return turned_away;
}

void LinkDoor::LetIn() {
  for (;;) {
    UniqueFd fd = LinkSocket::Accept(listener_.get());
    if (!fd.valid()) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno == EAGAIN) return;
      // No descriptor is free. Who waits at the door would raise its event all the time.
      if (TurnAway()) continue;
      hub_.Unwatch(std::exchange(watch_, 0));
      opens_ = Deadline::After(kClosedFor);
      return;
    }
    if (pending_.size() >= kMaxPending) continue;  // closed: its peer does without
    auto socket = std::make_shared<LinkSocket>(std::move(fd));
    const StatusOr<PeerCredentials> peer = socket->Peer();
    if (!peer.ok() || peer->uid != geteuid()) continue;  // closed: not of this user
    auto number = std::make_shared<uint64_t>(0);
    *number = hub_.Watch(socket->fd(), [this, number] { OnPacket(*number); });
    if (*number == 0) continue;  // closed: the kernel has no memory to watch it
    pending_.emplace(*number, Pending{std::move(socket), Deadline::After(patience_)});
  }
}

void LinkDoor::OnPacket(uint64_t watch) {
  const auto pending = pending_.find(watch);
  if (pending == pending_.end()) return;
  std::shared_ptr<LinkSocket> socket = std::move(pending->second.socket);
  hub_.Unwatch(watch);
  pending_.erase(pending);
  on_packet_(std::move(socket));
}

Deadline LinkDoor::OnTimer() {
  if (opens_.Passed()) Open();
  Deadline next = opens_;
  for (auto pending = pending_.begin(); pending != pending_.end();) {
    if (pending->second.expires.Passed()) {
      hub_.Unwatch(pending->first);
      pending = pending_.erase(pending);
    } else {
      next = Earlier(next, pending->second.expires);
      ++pending;
    }
  }
  return next;
}

}  // namespace pannier

// How a channel ends: what tells of the peer's end, how long what it sent before is waited
// for, and what is let go of.
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "pannier/base/process_epoch.h"
#include "pannier/transport/channel.h"

namespace pannier {
namespace {

// After the way to the peer broke, what it sent before arrives within this time of quiet: it
// is in this process already.
constexpr absl::Duration kQuietWithoutWay = absl::Milliseconds(50);
// After the link ended without a word, the peer is dead, and its way breaks as well; unless a
// child that it forked has a copy.
constexpr absl::Duration kQuietWithoutLink = absl::Milliseconds(500);
// After the peer said on the link that it closes, its bye comes behind all that it sent.
constexpr absl::Duration kQuietBeforeBye = absl::Seconds(10);
// Close waits for nobody; this is how long its last frames may take on their way.
constexpr absl::Duration kCloseLinger = absl::Seconds(5);
// Turns of serving at the close, to find what the window lets a peer send.
constexpr int kLastTurns = 4;

}  // namespace

// ---- The peer's end -----------------------------------------------------------------------

bool Channel::WatchLink() {
  link_watch_ = hub_->Watch(link_->socket().fd(), [this] { OnLinkEvent(); });
  if (link_watch_ == 0) End(SystemError(ENOMEM, "link: its socket cannot be watched"));
  return link_watch_ != 0;
}

void Channel::OnLinkEvent() {
  if (link_ended_) return;  // a sender found out first
  const StatusOr<bool> alive = link_->ReceivePackets();
  if (!alive.ok()) return End(alive.status());
  if (*alive) return;
  link_ended_ = true;
  Unwatch();
  if (!link_->PeerIsOver()) return OnLinkBroken();
  link_->PeerIsGone();
  if (lane_ != nullptr) return OnLanePeerGone();
  GoQuiet(link_->PeerCloses() ? kQuietBeforeBye : kQuietWithoutLink);
  Probe();
}

void Channel::OnLinkBroken() {
  link_broken_ = true;
  // It may be about to end: the kernel closes sockets a moment before it tells of the end.
  process_watch_ = hub_->Watch(link_->socket().peer_process(), [this] { OnPeerDead(); });
  if (lane_ == nullptr && link_->PeerCloses()) GoQuiet(kQuietBeforeBye);
  if (lane_ != nullptr && process_watch_ == 0) OnLanePeerGone();  // nothing would tell of its death
  hub_->StateChanged();
  if (state_ == State::kOpen) hub_->OnLinkBroken(*this);
}

void Channel::GiveUpLink() {
  OnLinkEvent();  // takes in what it said last
  if (link_ended_ || Over()) return;
  link_ended_ = true;
  Unwatch();
  OnLinkBroken();
}

void Channel::Relink(std::unique_ptr<Link> link) {
  if (state_ != State::kOpen) return;
  Unwatch();
  link_ = std::move(link);
  link_ended_ = link_broken_ = false;
  ++stats_.relinks;
  if (WatchLink()) hub_->StateChanged();
}

void Channel::OnPeerDead() {
  Unwatch();
  link_->PeerIsGone();
  if (lane_ != nullptr) return OnLanePeerGone();
  GoQuiet(kQuietWithoutLink);
  Probe();
}

void Channel::OnLanePeerGone() {
  TakeAllFromLane();  // what the peer published before
  if (Over()) return;
  // All that comes now comes beside the lane.
  if (due_ > 0) return GoQuiet(bye_.ok() ? kQuietWithoutLink : kQuietBeforeBye);
  End(MakeError(ErrorKind::kConnectionLost, absl::StrCat("lost ", info_.peer)));
}

void Channel::Unwatch() {
  for (uint64_t* watch : {&link_watch_, &process_watch_}) {
    if (*watch != 0) hub_->Unwatch(std::exchange(*watch, 0));
  }
}

void Channel::ForgetLostPeer() {
  const bool used_way = lane_ == nullptr || needs_way_;
  if (used_way && way_gone_ && link_ != nullptr && !link_->socket().Alive()) link_->PeerIsGone();
}

void Channel::OnDisconnect() {
  way_gone_ = way_gone_ || !Over();
  if (lane_ == nullptr || needs_way_) GoQuiet(kQuietWithoutWay);
}

void Channel::NeedWay() {
  needs_way_ = true;
  Probe();
  if (way_gone_) GoQuiet(kQuietWithoutWay);
}

void Channel::Probe() {
  const bool link_would_tell = state_ == State::kOpen && link_watch_ != 0;
  const bool matters = lane_ != nullptr ? needs_way_ : !link_would_tell;
  if (!Over() && matters) SendControl(wire::FrameType::kPing, "");
}

void Channel::OnBye(Status status) {
  if (due_ == 0) return End(std::move(status));
  bye_ = std::move(status);
  GoQuiet(kQuietBeforeBye);
}

void Channel::GoQuiet(absl::Duration quiet) {
  if (state_ != State::kOpen && state_ != State::kEnding) return;
  if (quiet >= quiet_time_) return;
  state_ = State::kEnding;
  quiet_time_ = quiet;
  quiet_ = Deadline::After(quiet);
  hub_->StateChanged();  // who sends must not go on, and who sleeps has a timer to heed
}

Deadline Channel::OnTimer() {
  if (state_ == State::kEnding && quiet_.Passed()) {
    ForgetLostPeer();
    End(MakeError(ErrorKind::kConnectionLost,
                  absl::StrCat("lost ", info_.peer.empty() ? info_.endpoint : info_.peer)));
  }
  return state_ == State::kEnding ? quiet_ : Deadline::Never();
}

// ---- The end -------------------------------------------------------------------------------

Status Channel::OverStatus() const {
  if (state_ == State::kClosed) {
    return MakeError(ErrorKind::kClosed,
                     absl::StrCat("the connection to ", info_.endpoint, " is closed"));
  }
  return status_;
}

void Channel::SendBye(const Status& why) {
  const wire::Reason reason{KindOf(why), std::string(why.message())};
  SendControl(wire::FrameType::kBye, wire::Serialize(reason));
}

void Channel::End(Status status) {
  if (Over()) return;
  const bool corrupt = KindOf(status) == ErrorKind::kCorruptMessage;
  if (corrupt) status = Annotate(status, info_.peer.empty() ? info_.endpoint : info_.peer);
  // On a lane a peer that lives learns of it by this alone.
  if (corrupt || lane_ != nullptr) SendBye(status);
  state_ = State::kEnded;
  status_ = std::move(status);
  quiet_ = Deadline::Never();
  Unwatch();
  hub_->RemoveLane(std::exchange(lane_number_, 0));
  SignalFd();
  hub_->OnReady(*this);
  hub_->StateChanged();
}

void Channel::Close() {
  if (Forked(hub_->epoch())) return;
  std::shared_ptr<Link> link;
  std::deque<Inbound> inbox;
  {
    Hub::Lock lock(hub_->mutex());
    if (state_ == State::kClosed) return;
    // What is here already hands its leases back below.
    for (int i = 0; i < kLastTurns && hub_->ServeOnce(lock); ++i) continue;
    if (state_ == State::kClosed) return;
    absl::Duration linger = absl::ZeroDuration();
    if (state_ == State::kOpen) {
      if (link_ != nullptr) link_->AnnounceClose();
      SendControl(wire::FrameType::kBye, wire::Serialize(wire::Reason{}));
      linger = kCloseLinger;
    }
    state_ = State::kClosed;
    ForgetLostPeer();
    Unwatch();
    hub_->RemoveLane(std::exchange(lane_number_, 0));
    link.swap(link_);
    inbox.swap(inbox_);
    // Of which link these lease only their places tell: with the wrong one another lease would end.
    // So after a new link they wait for that link's import to end.
    if (stats_.relinks == 0) {
      for (Inbound& inbound : beside_) inbox.push_back(std::move(inbound));
    }
    beside_.clear();
    fd_epoll_ = UniqueFd();
    fd_event_ = UniqueFd();
    hub_->OnClosed(*this, linger);
    hub_->StateChanged();
  }
  for (Inbound& inbound : inbox) inbound.HandBack();
}

}  // namespace pannier

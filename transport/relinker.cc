#include "pannier/transport/relinker.h"

#include <algorithm>
#include <utility>

namespace pannier {
namespace {

constexpr absl::Duration kFirstRest = absl::Milliseconds(100);
constexpr absl::Duration kLongestRest = absl::Seconds(10);

}  // namespace

Relinker::Relinker(Hub& hub, const TransportOptions& options, std::string endpoint)
    : hub_(hub), options_(options), endpoint_(std::move(endpoint)) {}

void Relinker::OnLinkBroken(Channel& channel) {
  // A link that breaks as soon as it stands is not asked for faster and faster. After the
  // longest rest it stood for long enough.
  const bool again = rest_ > absl::ZeroDuration() && !due_.Passed();
  rest_ = again ? std::min(2 * rest_, kLongestRest) : kFirstRest;
  channel_ = &channel;
  asked_ = false;
  due_ = Deadline::After(rest_);
}

void Relinker::OnOffer(const wire::Offer& offer) {
  if (channel_ == nullptr || !asked_ || request_.has_value()) return;
  due_ = Deadline::After(options_.handshake_timeout);
  if (const Status knocked = Knock(offer); !knocked.ok()) Fail(knocked);
}

Status Relinker::Knock(const wire::Offer& offer) {
  if (offer.link_name.empty()) {
    return MakeError(ErrorKind::kRefused, "the listener offers none");
  }
  PANNIER_ASSIGN_OR_RETURN(request_,
                           Link::Knock(offer.link_name, offer.token, endpoint_, *options_.pool));
  watch_ = hub_.Watch(request_->socket->fd(), [this] { OnPacket(); });
  if (watch_ != 0) return absl::OkStatus();
  return SystemError(ENOMEM, "link: its socket cannot be watched");
}

void Relinker::OnPacket() {
  StatusOr<Link::Greeting> accepted = Link::ReceiveGreeting(*request_->socket, /*accepted=*/true);
  if (accepted.ok() && !accepted->arrived) return;
  if (!accepted.ok()) return Fail(accepted.status());
  StatusOr<std::unique_ptr<Link>> link = Link::Create(
      request_->peer, request_->socket, options_.pool, std::move(request_->row), accepted->ring);
  if (!link.ok()) return Fail(link.status());
  Unknock();
  Answer(/*has_link=*/true, "");
  Channel& channel = *std::exchange(channel_, nullptr);
  due_ = Deadline::After(kLongestRest);  // see OnLinkBroken
  channel.Relink(*std::move(link));
}

Deadline Relinker::OnTimer() {
  if (channel_ != nullptr && channel_->state() != Channel::State::kOpen) Stop();
  if (channel_ == nullptr) return Deadline::Never();
  if (!due_.Passed()) return due_;
  if (asked_) {
    Fail(MakeError(ErrorKind::kDeadlineExceeded, "link: the listener did not answer in time"));
  } else {
    // Once, however long the listener is not served: the way of the frames loses nothing, and on
    // a lane that nobody reads every further one takes room from messages.
    asked_ = true;
    due_ = Deadline::Never();
    channel_->SendControl(wire::FrameType::kRelink, "");
  }
  return due_;
}

void Relinker::Fail(const Status& why) {
  Unknock();
  Answer(/*has_link=*/false, std::string(why.message()));
  asked_ = false;
  rest_ = std::min(2 * rest_, kLongestRest);
  due_ = Deadline::After(rest_);
}

void Relinker::Answer(bool has_link, const std::string& why_not) {
  channel_->SendControl(wire::FrameType::kReady, wire::Serialize(wire::Ready{has_link, why_not}));
}

void Relinker::Unknock() {
  if (watch_ != 0) hub_.Unwatch(std::exchange(watch_, 0));
  request_.reset();
}

void Relinker::Stop() {
  Unknock();
  channel_ = nullptr;
  due_ = Deadline::Never();
}

}  // namespace pannier

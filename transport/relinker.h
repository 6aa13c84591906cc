// Relinker: how the connecting side comes to a new link in the place of one that broke while
// its peer lives. docs/wire_format.md, "A new link".
//
//   idle --break--> resting --time--> asking --offer--> knocking --accepted--> idle
//                      ^---------------------- failed ------'
//
// Hub's lock for everything; nothing here waits.
#pragma once

#include <optional>
#include <string>

#include "pannier/base/deadline.h"
#include "pannier/transport/channel.h"
#include "pannier/transport/link.h"

namespace pannier {

class Relinker {
 public:
  // `hub` must outlive it.
  Relinker(Hub& hub, const TransportOptions& options, std::string endpoint);

  // `channel` is open, without a usable link. It must live until Stop.
  void OnLinkBroken(Channel& channel);
  // The listener's answer, whenever it comes. One that was not asked for is ignored.
  void OnOffer(const wire::Offer& offer);
  // Does what is due by time; returns when to call again.
  Deadline OnTimer();
  // The channel goes. Idempotent.
  void Stop();

 private:
  Status Knock(const wire::Offer& offer);
  void OnPacket();
  // Tells the listener, and rests for longer than the last time.
  void Fail(const Status& why);
  void Unknock();
  void Answer(bool has_link, const std::string& why_not);

  Hub& hub_;
  const TransportOptions options_;
  const std::string endpoint_;
  Channel* channel_ = nullptr;  // null: idle
  bool asked_ = false;
  std::optional<Link::Request> request_;  // knocking
  uint64_t watch_ = 0;                    // for its answer
  absl::Duration rest_ = absl::ZeroDuration();
  Deadline due_ = Deadline::Never();
};

}  // namespace pannier

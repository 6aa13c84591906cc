// LinkDoor: where the links of a listening hub arrive. It listens on a Unix socket of its
// own, lets in peers of this user, waits for each one's first packet and hands the socket on
// when it is there. Who knocks and says nothing is forgotten after a time, and who cannot be
// let in (too many, no descriptor free) sees his socket closed and goes on without a link.
//
// Hub's lock for everything.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "pannier/base/deadline.h"
#include "pannier/base/status.h"
#include "pannier/base/unique_fd.h"
#include "pannier/transport/hub.h"
#include "pannier/transport/link_socket.h"

namespace pannier {

class LinkDoor {
 public:
  // `on_packet` gets each socket whose first packet is there, or whose end is. `hub` and
  // what `on_packet` refers to must live until Close, or as long as the door.
  LinkDoor(Hub& hub, absl::Duration patience,
           std::function<void(std::shared_ptr<LinkSocket>)> on_packet);

  // Not while it listens. Errors: kSystem.
  Status Listen();
  bool listening() const { return listener_.valid(); }
  // What was let in and said nothing yet is closed as well. Idempotent.
  void Close();

  // The abstract name to connect to; empty before Listen.
  const std::string& name() const { return name_; }

  // Does what is due by time; returns when to call again.
  Deadline OnTimer();

 private:
  struct Pending {
    std::shared_ptr<LinkSocket> socket;
    Deadline expires = Deadline::Never();
  };

  void Open();
  void LetIn();
  bool TurnAway();
  void OnPacket(uint64_t watch);

  Hub& hub_;
  const absl::Duration patience_;
  const std::function<void(std::shared_ptr<LinkSocket>)> on_packet_;
  std::string name_;
  UniqueFd listener_;
  UniqueFd spare_;  // given up for a moment to turn away who comes when none is free
  uint64_t watch_ = 0;
  Deadline opens_ = Deadline::Never();   // while not watched
  std::map<uint64_t, Pending> pending_;  // by watch
};

}  // namespace pannier

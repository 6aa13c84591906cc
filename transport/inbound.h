// Inbound: a frame of type message that waits to be received, and how a Message is made
// of it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "pannier/base/status.h"
#include "pannier/transport/connection.h"
#include "pannier/transport/link.h"
#include "pannier/transport/wire.h"
#include "pannier/transport/zmq_socket.h"

namespace pannier {

struct Inbound {
  std::shared_ptr<Link> link;  // the leases' link, so that a close meanwhile costs nothing
  wire::Frame frame;           // borrows from raw.head
  RawFrame raw;
  uint64_t size = 0;  // bytes of the frame, for the window
  // Of a message that came by lane in a block: where all but its header lies. `frame` has
  // nothing but the header then.
  std::optional<LeaseDescriptor> block = {};
  // Its record on the lane was taken off, and it travels beside: nothing else is here yet.
  bool due = false;

  // Hands back every lease that the frame names, unopened.
  void HandBack();
};

// Makes the message: opens leases on the link (null: a lease is CorruptMessage), copies
// what travelled inline to aligned memory, takes parts as they are. On an error, whatever
// the frame leased is handed back, or the connection must be ended (CorruptMessage). May
// map memory: call it without a lock.
StatusOr<Message> OpenMessage(Inbound inbound, bool readonly, ConnectionStats* stats);

}  // namespace pannier

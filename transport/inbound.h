// Inbound: a message that waits to be received, and how a Message is made of it.
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

// What most messages are made without: a message with buffers, or one that is not here as a whole.
struct InboundFrame {
  InboundFrame(std::shared_ptr<Link> of, wire::Frame the_frame, RawFrame the_raw)
      : link(std::move(of)), frame(std::move(the_frame)), raw(std::move(the_raw)) {}

  std::shared_ptr<Link> link;  // the leases' link, so that a close meanwhile costs nothing
  wire::Frame frame;           // borrows from raw.head
  RawFrame raw;
  // Of a message that came by lane in a block: where all but its header lies. `frame` has
  // nothing but the header then.
  std::optional<LeaseDescriptor> block = {};
};

// Small, so that taking it in and out of an inbox costs little.
struct Inbound {
  uint64_t size = 0;  // bytes of the frame, for the window
  // Of a message without buffers, which is all here: its envelope and its stream.
  Buffer bytes = {};
  uint32_t envelope_size = 0;
  // Its record on the lane was taken off, and it travels beside: of `framed` only the link and the
  // header are here yet.
  bool due = false;
  std::unique_ptr<InboundFrame> framed = nullptr;  // null: without buffers

  // Hands back every lease that the frame names, unopened.
  void HandBack();
};

// The message, if it has no buffers. REQUIRES: inbound.framed is null.
Message PlainMessage(Inbound inbound);

// Makes the message: opens leases on the link (null: a lease is CorruptMessage), copies
// what travelled inline to aligned memory, takes parts as they are. On an error, whatever
// the frame leased is handed back, or the connection must be ended (CorruptMessage). May
// map memory: call it without a lock.
StatusOr<Message> OpenMessage(InboundFrame inbound, bool readonly, ConnectionStats* stats);

}  // namespace pannier

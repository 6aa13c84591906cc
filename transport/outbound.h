// Outbound: a message on its way out. Decides for each buffer where it travels, takes the
// leases, and composes the frame. If it is dropped before Sent(), the leases are taken
// back: a send that fails leaves nothing behind.
//
// One thread; holds no lock.
#pragma once

#include <functional>
#include <vector>

#include "pannier/base/deadline.h"
#include "pannier/base/status.h"
#include "pannier/shm/pool.h"
#include "pannier/transport/connection.h"
#include "pannier/transport/link.h"
#include "pannier/transport/wire.h"
#include "pannier/transport/zmq_socket.h"

namespace pannier {

class Outbound {
 public:
  // `link`, which must outlive this, may be null: then all buffers travel in the frame. `parts`:
  // long ones as parts of their own; else the frame is one run of bytes, for a lane. Borrows
  // `message`.
  Outbound(const OutgoingMessage& message, Link* link, bool parts)
      : message_(message), link_(link), with_parts_(parts) {}
  ~Outbound();
  Outbound(const Outbound&) = delete;
  Outbound& operator=(const Outbound&) = delete;

  // Finds a place for every buffer. Waits until the deadline with no lease in hand alone: a
  // message that finds no memory or credit for a further buffer waits 20 ms, once, and carries
  // in the frame what finds none after that. While it waits for the first, `go_on` is asked each
  // 100 ms; an error of it ends the wait. Errors:
  // PoolExhausted, Limit, kSystem ...
  Status PlaceBuffers(Pool& pool, uint64_t inline_threshold, Deadline deadline,
                      const std::function<Status()>& go_on);
  // Bytes of the frame, known once buffers have places.
  uint64_t frame_size() const { return frame_size_; }
  bool has_parts() const { return !parts_.empty(); }
  // The frame's header; its sequence is still to be set.
  wire::FrameHeader Header(uint16_t version, uint64_t connection) const;
  // The bytes of the first part after the header. Borrowed from the message and from this.
  std::vector<ByteSpan> Pieces() const;
  // The frame for ZeroMQ.
  OutFrame Compose(uint16_t version, uint64_t connection) const;
  // Copies the pieces into a block of their own and leases it, without waiting. Errors:
  // PoolExhausted (no memory or no credit now), kSystem.
  StatusOr<LeaseDescriptor> LeasePieces(Pool& pool);
  // Tells the peer of segments it has not heard of. Errors: as Link::Announce.
  Status AnnounceSegments();
  // The frame is out: the leases are the peer's now.
  void Sent(ConnectionStats* stats);

 private:
  struct Patience {
    Deadline deadline;
    const std::function<Status()>& go_on;
  };
  Status PlaceOne(const Buffer& buffer, Pool& pool, uint64_t inline_threshold,
                  const Patience& patience);
  Status Lease(const Buffer& buffer, bool readonly, const Patience& patience);
  Status LeaseCopy(const Buffer& buffer, Pool& pool, const Patience& patience);
  // Runs `call`, which waits in the pool until the deadline it is given, with patience; with next
  // to none if this message has leases already.
  template <typename Call>
  auto InSlices(const Patience& patience, Call call) -> decltype(call(Deadline::Now()));
  void PlaceInFrame(const Buffer& buffer, bool inside);

  const OutgoingMessage& message_;
  Link* const link_;
  const bool with_parts_;
  std::vector<wire::BufferRecord> records_;
  std::vector<LeaseDescriptor> leases_;
  std::vector<ByteSpan> inline_pieces_;  // with padding
  std::vector<ByteSpan> parts_;
  bool waited_in_vain_ = false;  // while leases were in hand
  uint64_t frame_size_ = 0;
  uint64_t leased_bytes_ = 0;
  uint64_t framed_bytes_ = 0;
  uint64_t copied_bytes_ = 0;
};

}  // namespace pannier

// LaneCarrier: how the frames of one connection are put on its lane and taken off: docs/lane.md,
// "Frames on a lane". It looks at no frame but for its header.
//
// Constant but for what the hub's lock guards: all members need it, and Read the duty too, but
// where said.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "pannier/base/buffer.h"
#include "pannier/base/status.h"
#include "pannier/shm/lane.h"
#include "pannier/shm/lease.h"
#include "pannier/transport/wire.h"

namespace pannier {

class LaneCarrier {
 public:
  LaneCarrier(std::unique_ptr<LaneInbox> inbox, std::unique_ptr<LaneOutbox> outbox);

  // The longest frame that may go in the ring by itself. Any thread.
  uint64_t max_frame() const { return max_frame_; }

  // Each false if there is no room now. After one or several, Publish.
  // A message without buffers, in the fewest bytes: leaves the reserve free. REQUIRES: the frame
  // that it stands for has at most max_frame() bytes.
  bool WritePlain(ByteSpan envelope, ByteSpan stream);
  // A message, whole: leaves the reserve free. REQUIRES: it has at most max_frame() bytes.
  bool WriteMessage(const wire::FrameHeader& header, std::span<const ByteSpan> pieces);
  // A frame that is no message. REQUIRES: as above.
  bool WriteControl(const wire::FrameHeader& header, ByteSpan body);
  // A message whose bytes after the header lie in a block.
  bool WriteBlock(const wire::FrameHeader& header, const LeaseDescriptor& block);
  // The place in the order of a message whose frame, of so many bytes, goes on the endpoint.
  bool WriteBeside(const wire::FrameHeader& header, uint64_t size);
  void Publish() { outbox_->Publish(); }

  struct Received {
    Buffer bytes;                          // the whole frame; else the header alone
    bool plain = false;                    // bytes: envelope and stream alone, and no header
    uint32_t envelope_size = 0;            // of a plain one; at most wire::kMaxEnvelope
    std::optional<LeaseDescriptor> block;  // where the rest lies
    uint64_t beside = 0;                   // bytes of the frame, if it goes on the endpoint
    wire::FrameHeader header;              // unless it is plain
  };
  // The next frame, copied out of shared memory; false if none is there. Errors: CorruptMessage.
  StatusOr<bool> Read(Received* received);

  const std::shared_ptr<LaneInbox>& inbox() const { return inbox_; }

 private:
  std::byte* Begin(uint64_t length, bool may_use_reserve);
  // Writes a record of a header and one struct, from the reserve if need be.
  bool WriteFields(uint8_t kind, const wire::FrameHeader& header, ByteSpan fields);

  const std::shared_ptr<LaneInbox> inbox_;
  const std::unique_ptr<LaneOutbox> outbox_;
  const uint64_t max_frame_;
};

}  // namespace pannier

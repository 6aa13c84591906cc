// A channel whose carrier is a lane: how its messages get there and off it. docs/lane.md, "Frames
// on a lane".
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "pannier/transport/channel.h"

namespace pannier {
namespace {

// Records that one turn takes off a lane: the hub's other channels have theirs.
constexpr int kRecordsPerTurn = 256;
// A message in pieces waits for its reader to make room, which nobody announces.
constexpr absl::Duration kLookForRoom = absl::Milliseconds(1);

}  // namespace

// ---- Sending ------------------------------------------------------------------------

Status Channel::SendOnLane(const std::shared_ptr<Link>& link, const OutgoingMessage& message,
                           Deadline deadline) {
  Outbound outbound(message, link, /*parts=*/false);
  PANNIER_RETURN_IF_ERROR(Place(outbound, deadline));
  const uint64_t size = outbound.frame_size();
  wire::FrameHeader header = outbound.Header(info_.version, number_);
  const std::vector<ByteSpan> pieces = outbound.Pieces();
  std::optional<LeaseDescriptor> block;
  for (bool in_ring = size <= lane_->max_frame();; in_ring = false) {
    if (!in_ring) {
      const StatusOr<LeaseDescriptor> leased = outbound.LeasePieces(*options_.pool);
      // Without memory for it, it goes through the ring as its reader takes it.
      if (!leased.ok()) return SendInPieces(outbound, header, pieces, link, deadline);
      block = *leased;
    }
    Hub::Lock lock(hub_->mutex());
    PANNIER_RETURN_IF_ERROR(AwaitRoom(lock, outbound, link, deadline));
    header.sequence = sent_sequence_;
    if (in_ring ? lane_->WriteMessage(header, pieces) : lane_->WriteBlock(header, *block)) {
      lane_->Publish();
      CountOut(size);
      ++sent_sequence_;
      outbound.Sent(&stats_);
      return absl::OkStatus();
    }
    if (!in_ring) {
      End(MakeError(ErrorKind::kCorruptMessage, "no room on the lane in spite of credit"));
      return OverStatus();
    }
  }
}

Status Channel::SendInPieces(Outbound& outbound, wire::FrameHeader header,
                             std::span<const ByteSpan> pieces, const std::shared_ptr<Link>& link,
                             Deadline deadline) {
  const uint64_t size = outbound.frame_size();
  Hub::Lock lock(hub_->mutex());
  do {  // one at a time
    const Status waited =
        hub_->Wait(lock, deadline, [this] { return state_ != State::kOpen || !in_pieces_; });
    PANNIER_RETURN_IF_ERROR(CheckUsable());
    if (!waited.ok()) return Annotated(waited, "send: another message travels in pieces");
    PANNIER_RETURN_IF_ERROR(AwaitRoom(lock, outbound, link, deadline));
  } while (in_pieces_);
  in_pieces_ = true;
  CountOut(size);  // others may send meanwhile, and must leave room in the window
  Status status = WritePieces(lock, pieces, deadline);
  in_pieces_ = false;
  if (status.ok()) {
    header.sequence = sent_sequence_;
    if (lane_->WriteEnd(header)) {
      ++sent_sequence_;
      outbound.Sent(&stats_);
    } else {
      status = MakeError(ErrorKind::kCorruptMessage, "no room on the lane for a message's end");
      End(status);
    }
  } else {
    --sent_.messages;
    sent_.bytes -= size;
    if (state_ == State::kOpen) (void)lane_->WriteDropped();
  }
  lane_->Publish();
  hub_->StateChanged();
  return status;
}

Status Channel::WritePieces(Hub::Lock& lock, std::span<const ByteSpan> pieces, Deadline deadline) {
  const size_t longest = lane_->max_frame() / 2;
  for (ByteSpan rest : pieces) {
    while (!rest.empty()) {
      const ByteSpan piece = rest.first(std::min(rest.size(), longest));
      if (lane_->WritePiece(piece)) {
        rest = rest.subspan(piece.size());
        continue;
      }
      lane_->Publish();
      if (deadline.Passed()) {
        return Annotated(MakeError(ErrorKind::kPoolExhausted,
                                   "no memory in the pool, and the peer takes nothing"),
                         "send");
      }
      const Status waited = hub_->Wait(lock, Earlier(deadline, Deadline::After(kLookForRoom)),
                                       [this] { return state_ != State::kOpen; });
      PANNIER_RETURN_IF_ERROR(CheckUsable());
      if (KindOf(waited) != ErrorKind::kDeadlineExceeded) return Annotated(waited, "send");
    }
  }
  return absl::OkStatus();
}

// ---- Receiving ----------------------------------------------------------------------

void Channel::OnLane() {
  for (int i = 0; i < kRecordsPerTurn && TakeFromLane(); ++i) continue;
}

void Channel::TakeAllFromLane() {
  // No more than fits: a peer that lives, and writes on, is not waited for.
  const uint64_t most = kLaneCapacity / kLaneLine;
  for (uint64_t i = 0; i < most && TakeFromLane(); ++i) continue;
}

bool Channel::TakeFromLane() {
  if (Over()) return false;
  LaneCarrier::Received received;
  const StatusOr<bool> found = lane_->Read(&received, options_.max_message_bytes);
  if (!found.ok()) {
    End(found.status());
    return false;
  }
  if (!*found) return false;
  RawFrame raw;
  raw.head = std::move(received.bytes);
  if (received.block) {
    wire::Frame frame;
    frame.header = received.header;
    OnMessage(std::move(raw), std::move(frame), received.block);
    return true;
  }
  StatusOr<wire::Frame> frame = wire::ParseFrame(raw.head.span(), {});
  if (frame.ok() && frame->header.connection != number_) {
    frame = MakeError(ErrorKind::kCorruptMessage, "a frame of another connection on the lane");
  }
  HandleFrame(std::move(raw), std::move(frame));
  return true;
}

void Channel::OnLaneLinkEnded() {
  TakeAllFromLane();  // what the peer published before
  if (link_->PeerIsOver()) link_->PeerIsGone();
  End(MakeError(ErrorKind::kConnectionLost, absl::StrCat("lost ", info_.peer)));
}

}  // namespace pannier

// A channel whose carrier is a lane: how its messages get there and off it. docs/lane.md, "Frames
// on a lane".
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "pannier/transport/channel.h"

namespace pannier {
namespace {

// Who waits for one message takes one off the lane. After so many he takes all that is there.
constexpr uint32_t kTakeAllEach = 16;
// Records that one turn takes off a lane: the hub's other channels have theirs.
constexpr int kRecordsPerTurn = 256;

}  // namespace

// ---- Sending ------------------------------------------------------------------------

bool Channel::SendPlain(const OutgoingMessage& message) {
  if (lane_ == nullptr || state_ != State::kOpen || !message.buffers.empty()) return false;
  const uint64_t size = sizeof(wire::FrameHeader) + message.envelope.size() + message.stream.size();
  if (message.envelope.size() > wire::kMaxEnvelope || size > lane_->max_frame() ||
      size > peer_limits_.max_message_bytes || !WindowHasRoom(size) ||
      !lane_->WritePlain(message.envelope, message.stream)) {
    return false;
  }
  lane_->Publish();
  CountOut(size);
  ++sent_sequence_;
  ++stats_.messages_sent;
  stats_.stream_bytes_sent += message.stream.size();
  return true;
}

Status Channel::SendOnLane(const std::shared_ptr<Link>& link, const OutgoingMessage& message,
                           Deadline deadline) {
  Outbound outbound(message, link.get(), /*parts=*/link == nullptr);
  PANNIER_RETURN_IF_ERROR(Place(outbound, deadline));
  const uint64_t size = outbound.frame_size();
  wire::FrameHeader header = outbound.Header(info_.version, number_);
  std::optional<LeaseDescriptor> block;
  std::optional<OutFrame> beside;
  for (bool in_ring = !outbound.has_parts() && size <= lane_->max_frame();; in_ring = false) {
    if (!in_ring && link != nullptr) {
      if (auto leased = outbound.LeasePieces(*options_.pool); leased.ok()) block = *leased;
    }
    if (!in_ring && !block) beside.emplace(outbound.Compose(info_.version, number_));
    Hub::Lock lock(hub_->mutex());
    PANNIER_RETURN_IF_ERROR(AwaitRoom(lock, outbound, link, deadline));
    header.sequence = sent_sequence_;
    if (beside) PANNIER_RETURN_IF_ERROR(SendBeside(*beside));
    const bool written = in_ring  ? lane_->WriteMessage(header, outbound.Pieces())
                         : beside ? lane_->WriteBeside(header, size)
                                  : lane_->WriteBlock(header, *block);
    if (written) {
      lane_->Publish();
      CountOut(size);
      ++sent_sequence_;
      outbound.Sent(&stats_);
      return absl::OkStatus();
    }
    if (in_ring) continue;  // the reserve is for records alone
    End(MakeError(ErrorKind::kCorruptMessage, "no room on the lane in spite of credit"));
    return OverStatus();
  }
}

Status Channel::SendBeside(OutFrame& frame) {
  NeedWay();
  PANNIER_RETURN_IF_ERROR(CheckUsable());
  return SendFrame(frame);
}

// ---- Receiving ----------------------------------------------------------------------

bool Channel::TakeStraight(Message* message) {
  const LaneReader* const own = OwnLane();
  if (own == nullptr || own->Empty() || !inbox_.empty() || !quiet_.never() ||
      !hub_->MayTakeOffLane()) {
    return false;
  }
  Inbound inbound;
  if (!lane_->ReadPlain(&inbound.bytes, &inbound.envelope_size)) return false;
  // The frame that it stands for had a header.
  const uint64_t size = sizeof(wire::FrameHeader) + inbound.bytes.size();
  if (!CountIn(size)) return false;
  ++stats_.messages_received;
  stats_.stream_bytes_received += inbound.bytes.size() - inbound.envelope_size;
  CountTaken(size);
  *message = PlainMessage(std::move(inbound));
  // So that the ring does not stay full whose reader is the slower side.
  if (++straight_ % kTakeAllEach == 0) TakeAllFromLane();
  return true;
}

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
  const StatusOr<bool> found = lane_->Read(&received);
  if (!found.ok()) {
    End(found.status());
    return false;
  }
  if (!*found) return false;
  if (received.plain) {
    // The frame that it stands for had a header.
    const uint64_t size = sizeof(wire::FrameHeader) + received.bytes.size();
    if (!CountIn(size)) return false;
    if (!quiet_.never()) quiet_ = Deadline::After(quiet_time_);
    Deliver({size, std::move(received.bytes), received.envelope_size});
    return true;
  }
  if (received.header.connection != number_) {
    End(MakeError(ErrorKind::kCorruptMessage, "a frame of another connection on the lane"));
    return false;
  }
  RawFrame raw;
  raw.head = std::move(received.bytes);
  if (received.beside != 0) {
    OnDue(received.header, received.beside);
  } else if (received.block) {
    const uint64_t size = raw.head.size() + received.block->length;
    if (!CountIn(received.header, size)) return false;
    Inbound inbound = OnlyHeader(received.header, size);
    inbound.framed->raw = std::move(raw);
    inbound.framed->block = received.block;
    Deliver(std::move(inbound));
  } else {
    StatusOr<wire::Frame> frame = wire::ParseFrame(raw.head.span(), {});
    HandleFrame(std::move(raw), std::move(frame));
  }
  return true;
}

// ---- Beside the lane --------------------------------------------------------------------

Inbound Channel::OnlyHeader(const wire::FrameHeader& header, uint64_t size) const {
  wire::Frame frame;
  frame.header = header;
  Inbound inbound = Framed(std::move(frame), {});
  inbound.size = size;
  return inbound;
}

void Channel::OnDue(const wire::FrameHeader& header, uint64_t size) {
  if (!CountIn(header, size)) return;
  Inbound inbound = OnlyHeader(header, size);
  inbound.due = true;
  ++due_;
  inbox_.push_back(std::move(inbound));
  if (beside_.empty()) NeedWay();
  FillDue();
}

void Channel::OnFrameBeside(RawFrame raw, StatusOr<wire::Frame> frame) {
  const bool message = frame.ok() && frame->header.Is(wire::FrameType::kMessage);
  const bool other = frame.ok() && (frame->header.Is(wire::FrameType::kBye) ||
                                    frame->header.Is(wire::FrameType::kPing));
  if (Over() && stats_.relinks > 0) return;  // whose leases these are is not known: see Close
  if (Over() || other) return HandleFrame(std::move(raw), std::move(frame));
  if (!message) {
    return End(frame.ok() ? MakeError(ErrorKind::kCorruptMessage, "a frame beside the lane")
                          : frame.status());
  }
  const uint64_t size = raw.size();
  // Their records, which are still on the lane, are held against the window. This bounds memory.
  if (beside_.size() >= kWindowMessages || beside_bytes_ > kWindowBytes) {
    return End(MakeError(ErrorKind::kCorruptMessage, "messages beside the lane past the window"));
  }
  beside_bytes_ += size;
  beside_.push_back(Framed(*std::move(frame), std::move(raw)));
  if (!quiet_.never()) quiet_ = Deadline::After(quiet_time_);
  FillDue();
}

// Both sides of this stand in the order in which the peer sent.
void Channel::FillDue() {
  while (due_ > 0 && !beside_.empty()) {
    const auto place = std::find_if(inbox_.begin(), inbox_.end(),
                                    [](const Inbound& inbound) { return inbound.due; });
    Inbound came = std::move(beside_.front());
    beside_.pop_front();
    beside_bytes_ -= came.size;
    const uint64_t came_sequence = came.framed->frame.header.sequence;
    const uint64_t due_sequence = place->framed->frame.header.sequence;
    if (came_sequence != due_sequence || came.size != place->size) {
      return End(MakeError(
          ErrorKind::kCorruptMessage,
          absl::StrCat("message ", came_sequence, " beside the lane, ", due_sequence, " was due")));
    }
    // What it leases is of the link of its place.
    came.framed->link = std::move(place->framed->link);
    *place = std::move(came);
    --due_;
  }
  if (HasMessage()) {
    SignalFd();
    hub_->OnReady(*this);
  }
  if (due_ == 0 && !bye_.ok()) End(bye_);
}

}  // namespace pannier

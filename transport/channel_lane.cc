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

}  // namespace

// ---- Sending ------------------------------------------------------------------------

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
    wire::Frame frame;
    frame.header = received.header;
    Deliver({link_, std::move(frame), std::move(raw), size, received.block});
  } else {
    StatusOr<wire::Frame> frame = wire::ParseFrame(raw.head.span(), {});
    HandleFrame(std::move(raw), std::move(frame));
  }
  return true;
}

// ---- Beside the lane --------------------------------------------------------------------

void Channel::OnDue(const wire::FrameHeader& header, uint64_t size) {
  if (!CountIn(header, size)) return;
  Inbound inbound;
  inbound.link = link_;
  inbound.frame.header = header;
  inbound.size = size;
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
  beside_.push_back({link_, *std::move(frame), std::move(raw), size});
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
    if (came.frame.header.sequence != place->frame.header.sequence || came.size != place->size) {
      return End(
          MakeError(ErrorKind::kCorruptMessage,
                    absl::StrCat("message ", came.frame.header.sequence, " beside the lane, ",
                                 place->frame.header.sequence, " was due")));
    }
    came.link = std::move(place->link);  // what it leases is of the link of its place
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

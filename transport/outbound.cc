#include "pannier/transport/outbound.h"

#include <array>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace pannier {
namespace {

constexpr std::array<std::byte, wire::kInlineAlignment> kPadding = {};

// How long a wait in the pool goes without asking whether to go on.
constexpr absl::Duration kSlice = absl::Milliseconds(100);
// How long a message that holds leases waits for more, once: others may wait for those.
constexpr absl::Duration kHoldingSlice = absl::Milliseconds(20);

wire::BufferRecord LeasedRecord(const LeaseDescriptor& lease) {
  wire::BufferRecord record;
  record.offset = lease.offset;
  record.length = lease.length;
  record.segment = lease.segment;
  record.slot = lease.slot;
  record.generation = lease.generation;
  record.place = static_cast<uint8_t>(wire::Place::kLeased);
  record.readonly = lease.readonly;
  return record;
}

}  // namespace

Outbound::~Outbound() {
  for (const LeaseDescriptor& lease : leases_) link_->row().Revoke(lease);
}

Status Outbound::PlaceBuffers(Pool& pool, uint64_t inline_threshold, Deadline deadline,
                              const std::function<Status()>& go_on) {
  if (message_.envelope.size() > wire::kMaxEnvelope) {
    return MakeError(ErrorKind::kLimit,
                     absl::StrCat("envelope of ", message_.envelope.size(), " bytes; at most ",
                                  wire::kMaxEnvelope, " may be sent"));
  }
  if (message_.buffers.size() > wire::kMaxBuffers) {
    return MakeError(ErrorKind::kLimit,
                     absl::StrCat("message of ", message_.buffers.size(), " buffers; at most ",
                                  wire::kMaxBuffers, " may be sent"));
  }
  records_.reserve(message_.buffers.size());
  for (const Buffer& buffer : message_.buffers) {
    PANNIER_RETURN_IF_ERROR(PlaceOne(buffer, pool, inline_threshold, {deadline, go_on}));
  }
  frame_size_ += sizeof(wire::FrameHeader) + records_.size() * sizeof(wire::BufferRecord) +
                 message_.envelope.size() + message_.stream.size();
  return absl::OkStatus();
}

Status Outbound::PlaceOne(const Buffer& buffer, Pool& pool, uint64_t inline_threshold,
                          const Patience& patience) {
  if (buffer.size() == 0) {
    PlaceInFrame(buffer, /*inside=*/true);
    return absl::OkStatus();
  }
  const bool shorter = buffer.size() < inline_threshold;
  // A message of more buffers than a row has leases would wait for itself for ever. On a lane,
  // the frame itself may need one.
  const size_t own = with_parts_ ? 0 : 1;
  if (link_ == nullptr || leases_.size() + own >= link_->row().credit()) {
    PlaceInFrame(buffer, shorter);
    return absl::OkStatus();
  }
  const bool in_pool = pool.Contains(buffer.data(), buffer.size());
  if (!in_pool && shorter) {
    PlaceInFrame(buffer, /*inside=*/true);
    return absl::OkStatus();
  }
  const bool holding = !leases_.empty();
  const Status placed =
      in_pool ? Lease(buffer, buffer.readonly(), patience) : LeaseCopy(buffer, pool, patience);
  if (!holding || KindOf(placed) != ErrorKind::kPoolExhausted) return placed;
  PlaceInFrame(buffer, shorter);
  return absl::OkStatus();
}

Status Outbound::LeaseCopy(const Buffer& buffer, Pool& pool, const Patience& patience) {
  // The copy's Buffer dies here; the lease holds its block.
  PANNIER_ASSIGN_OR_RETURN(const Buffer copy, InSlices(patience, [&](Deadline slice) {
                             return pool.Copy(buffer.span(), slice);
                           }));
  copied_bytes_ += copy.size();
  return Lease(copy, buffer.readonly(), patience);
}

Status Outbound::Lease(const Buffer& buffer, bool readonly, const Patience& patience) {
  PANNIER_ASSIGN_OR_RETURN(const LeaseDescriptor lease, InSlices(patience, [&](Deadline slice) {
                             return link_->row().Grant(buffer.data(), buffer.size(), readonly,
                                                       slice);
                           }));
  leases_.push_back(lease);
  records_.push_back(LeasedRecord(lease));
  leased_bytes_ += buffer.size();
  return absl::OkStatus();
}

template <typename Call>
auto Outbound::InSlices(const Patience& patience, Call call) -> decltype(call(Deadline::Now())) {
  // Who waits while he holds something may wait for himself, or for another who waits for him.
  if (!leases_.empty()) {
    auto result =
        call(waited_in_vain_ ? Deadline::Now()
                             : Earlier(patience.deadline, Deadline::After(kHoldingSlice)));
    waited_in_vain_ = waited_in_vain_ || KindOf(result.status()) == ErrorKind::kPoolExhausted;
    return result;
  }
  while (true) {
    const Deadline slice = Earlier(patience.deadline, Deadline::After(kSlice));
    auto result = call(slice);
    // What failed before its time would fail again.
    if (result.ok() || KindOf(result.status()) != ErrorKind::kPoolExhausted || !slice.Passed() ||
        patience.deadline.Passed()) {
      return result;
    }
    PANNIER_RETURN_IF_ERROR(patience.go_on());
  }
}

void Outbound::PlaceInFrame(const Buffer& buffer, bool inside) {
  inside = inside || !with_parts_;
  wire::BufferRecord record;
  record.length = buffer.size();
  record.place = static_cast<uint8_t>(inside ? wire::Place::kInline : wire::Place::kPart);
  record.readonly = buffer.readonly();
  records_.push_back(record);
  framed_bytes_ += buffer.size();
  copied_bytes_ += buffer.size();
  if (!inside) {
    parts_.push_back(buffer.span());
    frame_size_ += buffer.size();
    return;
  }
  const uint64_t padded = wire::InlineSize(buffer.size());
  inline_pieces_.push_back(buffer.span());
  inline_pieces_.push_back(ByteSpan(kPadding).first(padded - buffer.size()));
  frame_size_ += padded;
}

wire::FrameHeader Outbound::Header(uint16_t version, uint64_t connection) const {
  wire::FrameHeader header;
  header.version = version;
  header.type = static_cast<uint8_t>(wire::FrameType::kMessage);
  header.connection = connection;
  header.stream_size = message_.stream.size();
  header.envelope_size = static_cast<uint32_t>(message_.envelope.size());
  header.buffer_count = static_cast<uint32_t>(records_.size());
  return header;
}

std::vector<ByteSpan> Outbound::Pieces() const {
  std::vector<ByteSpan> pieces;
  pieces.reserve(3 + inline_pieces_.size());
  pieces.push_back(std::as_bytes(std::span(records_)));
  pieces.push_back(message_.envelope);
  pieces.push_back(message_.stream);
  pieces.insert(pieces.end(), inline_pieces_.begin(), inline_pieces_.end());
  return pieces;
}

OutFrame Outbound::Compose(uint16_t version, uint64_t connection) const {
  const wire::FrameHeader header = Header(version, connection);
  std::vector<ByteSpan> pieces = Pieces();
  pieces.insert(pieces.begin(), std::as_bytes(std::span(&header, 1)));
  return OutFrame(pieces, parts_);
}

StatusOr<LeaseDescriptor> Outbound::LeasePieces(Pool& pool) {
  PANNIER_ASSIGN_OR_RETURN(const Buffer block,
                           pool.Allocate(frame_size_ - sizeof(wire::FrameHeader)));
  std::byte* at = block.mutable_data();
  for (const ByteSpan piece : Pieces()) {
    if (!piece.empty()) std::memcpy(at, piece.data(), piece.size());
    at += piece.size();
  }
  PANNIER_ASSIGN_OR_RETURN(
      const LeaseDescriptor lease,
      link_->row().Grant(block.data(), block.size(), /*readonly=*/true, Deadline::Now()));
  leases_.push_back(lease);
  return lease;
}

Status Outbound::AnnounceSegments() {
  for (const LeaseDescriptor& lease : leases_) PANNIER_RETURN_IF_ERROR(link_->Announce(lease));
  return absl::OkStatus();
}

void Outbound::Sent(ConnectionStats* stats) {
  leases_.clear();
  ++stats->messages_sent;
  stats->stream_bytes_sent += message_.stream.size();
  stats->leased_bytes_sent += leased_bytes_;
  stats->inline_bytes_sent += framed_bytes_;
  stats->copied_bytes += copied_bytes_;
}

}  // namespace pannier

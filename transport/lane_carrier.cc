#include "pannier/transport/lane_carrier.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace pannier {
namespace {

enum Kind : uint8_t { kFrame = 1, kBlock = 2, kPiece = 3, kEnd = 4, kDropped = 5 };

// As the page says: for each message of the window and 32 frames more, the greatest record
// that may use it.
constexpr uint64_t kReserve = (1024 + 32) * 128;
constexpr uint64_t kHeader = sizeof(wire::FrameHeader);

struct BlockFields {
  uint64_t offset = 0;
  uint64_t length = 0;
  uint32_t segment = 0;
  uint32_t slot = 0;
  uint32_t generation = 0;
  uint32_t zero = 0;
};
static_assert(LaneRecordBytes(kHeader + sizeof(BlockFields)) == 128);

Status Corrupt(const std::string& what) {
  return MakeError(ErrorKind::kCorruptMessage, absl::StrCat("lane: ", what));
}

}  // namespace

LaneCarrier::LaneCarrier(std::unique_ptr<LaneInbox> inbox, std::unique_ptr<LaneOutbox> outbox)
    : inbox_(std::move(inbox)),
      outbox_(std::move(outbox)),
      max_frame_(outbox_->writer().capacity() / 8) {}

// ---- Writing ------------------------------------------------------------------------

std::byte* LaneCarrier::Begin(uint64_t length, bool may_use_reserve) {
  return outbox_->writer().Begin(static_cast<uint32_t>(length), may_use_reserve ? 0 : kReserve);
}

bool LaneCarrier::WriteMessage(const wire::FrameHeader& header, std::span<const ByteSpan> pieces) {
  uint64_t length = kHeader;
  for (const ByteSpan piece : pieces) length += piece.size();
  std::byte* at = Begin(length, /*may_use_reserve=*/false);
  if (at == nullptr) return false;
  std::memcpy(at, &header, kHeader);
  at += kHeader;
  for (const ByteSpan piece : pieces) {
    if (!piece.empty()) std::memcpy(at, piece.data(), piece.size());
    at += piece.size();
  }
  outbox_->writer().Commit(kFrame);
  return true;
}

bool LaneCarrier::WriteControl(const wire::FrameHeader& header, ByteSpan body) {
  std::byte* at = Begin(kHeader + body.size(), /*may_use_reserve=*/true);
  if (at == nullptr) return false;
  std::memcpy(at, &header, kHeader);
  if (!body.empty()) std::memcpy(at + kHeader, body.data(), body.size());
  outbox_->writer().Commit(kFrame);
  return true;
}

bool LaneCarrier::WriteBlock(const wire::FrameHeader& header, const LeaseDescriptor& block) {
  std::byte* at = Begin(kHeader + sizeof(BlockFields), /*may_use_reserve=*/true);
  if (at == nullptr) return false;
  BlockFields fields;
  fields.offset = block.offset;
  fields.length = block.length;
  fields.segment = block.segment;
  fields.slot = block.slot;
  fields.generation = block.generation;
  std::memcpy(at, &header, kHeader);
  std::memcpy(at + kHeader, &fields, sizeof(fields));
  outbox_->writer().Commit(kBlock);
  return true;
}

bool LaneCarrier::WritePiece(ByteSpan bytes) {
  std::byte* at = Begin(bytes.size(), /*may_use_reserve=*/false);
  if (at == nullptr) return false;
  if (!bytes.empty()) std::memcpy(at, bytes.data(), bytes.size());
  outbox_->writer().Commit(kPiece);
  return true;
}

bool LaneCarrier::WriteEnd(const wire::FrameHeader& header) {
  std::byte* at = Begin(kHeader, /*may_use_reserve=*/true);
  if (at == nullptr) return false;
  std::memcpy(at, &header, kHeader);
  outbox_->writer().Commit(kEnd);
  return true;
}

bool LaneCarrier::WriteDropped() {
  if (Begin(0, /*may_use_reserve=*/true) == nullptr) return false;
  outbox_->writer().Commit(kDropped);
  return true;
}

// ---- Reading ------------------------------------------------------------------------

StatusOr<bool> LaneCarrier::Read(Received* received, uint64_t max_bytes) {
  for (;;) {
    LaneReader::Record record;
    PANNIER_ASSIGN_OR_RETURN(const bool found, inbox_->reader().Peek(&record));
    if (!found) return false;
    PANNIER_ASSIGN_OR_RETURN(const bool complete, Handle(record, received, max_bytes));
    inbox_->reader().Pop();
    if (complete) return true;
  }
}

StatusOr<bool> LaneCarrier::Handle(const LaneReader::Record& record, Received* received,
                                   uint64_t max_bytes) {
  const ByteSpan bytes = record.bytes;
  switch (record.kind) {
    case kFrame:
      if (bytes.size() < kHeader) return Corrupt("a frame shorter than its header");
      received->bytes = Buffer::CopyOf(bytes);
      received->block.reset();
      std::memcpy(&received->header, received->bytes.data(), kHeader);
      return true;
    case kBlock:
      return HandleBlock(bytes, received);
    case kPiece:
      if (pieces_.size() + bytes.size() > max_bytes) {
        return Corrupt(absl::StrCat("pieces of more than the ", max_bytes, " bytes agreed upon"));
      }
      if (pieces_.empty()) pieces_.resize(kHeader);  // its place
      pieces_.append(AsText(bytes));
      return false;
    case kEnd:
      return HandleEnd(bytes, received);
    case kDropped:
      pieces_ = std::string();
      return false;
    default:
      return Corrupt(absl::StrCat("a record of unknown kind ", record.kind));
  }
}

StatusOr<bool> LaneCarrier::HandleBlock(ByteSpan bytes, Received* received) {
  if (bytes.size() != kHeader + sizeof(BlockFields)) return Corrupt("the size of a block record");
  received->bytes = Buffer::CopyOf(bytes);
  BlockFields fields;
  std::memcpy(&received->header, received->bytes.data(), kHeader);
  std::memcpy(&fields, received->bytes.data() + kHeader, sizeof(fields));
  received->bytes = received->bytes.Slice(0, kHeader);
  if (fields.zero != 0 || fields.generation == 0 || fields.length == 0 ||
      received->header.magic != wire::kFrameMagic ||
      !received->header.Is(wire::FrameType::kMessage)) {
    return Corrupt("a block that holds no message");
  }
  LeaseDescriptor lease;
  lease.offset = fields.offset;
  lease.length = fields.length;
  lease.segment = fields.segment;
  lease.slot = fields.slot;
  lease.generation = fields.generation;
  lease.readonly = true;
  received->block = lease;
  return true;
}

StatusOr<bool> LaneCarrier::HandleEnd(ByteSpan bytes, Received* received) {
  if (bytes.size() != kHeader || pieces_.empty()) return Corrupt("the end of no message");
  std::memcpy(pieces_.data(), bytes.data(), kHeader);
  received->bytes = Buffer::CopyOf(AsBytes(pieces_));
  received->block.reset();
  pieces_ = std::string();
  std::memcpy(&received->header, received->bytes.data(), kHeader);
  return true;
}

}  // namespace pannier

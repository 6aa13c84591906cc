#include "pannier/transport/lane_carrier.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"

namespace pannier {
namespace {

enum Kind : uint8_t { kFrame = 1, kBlock = 2, kBeside = 3, kPlain = 4 };

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

// A record's copy. Its bytes are not aligned, which buffers that lie in them do not need: they are
// copied once more. So a message costs one plain allocation.
class FrameOwner final : public BufferOwner {
 public:
  static Buffer Copy(ByteSpan bytes) {
    auto* owner = new (::operator new(sizeof(FrameOwner) + bytes.size())) FrameOwner;
    auto* at = reinterpret_cast<std::byte*>(owner + 1);
    if (!bytes.empty()) std::memcpy(at, bytes.data(), bytes.size());
    return Buffer(at, bytes.size(), /*readonly=*/false, owner);
  }

 private:
  FrameOwner() = default;
  ~FrameOwner() = default;
  void Dispose() noexcept override {
    this->~FrameOwner();
    ::operator delete(this);
  }
};

// Errors: CorruptMessage.
template <typename Fields>
StatusOr<Fields> ReadFields(ByteSpan bytes, const wire::FrameHeader& header) {
  Fields fields;
  if (bytes.size() != kHeader + sizeof(fields) || header.magic != wire::kFrameMagic ||
      !header.Is(wire::FrameType::kMessage)) {
    return Corrupt("a record of a message elsewhere that is none");
  }
  std::memcpy(&fields, bytes.data() + kHeader, sizeof(fields));
  return fields;
}

// Errors: CorruptMessage.
Status ReadPlain(ByteSpan record, LaneCarrier::Received* received) {
  uint32_t envelope_size;
  if (record.size() < sizeof(envelope_size)) return Corrupt("a message without its first field");
  std::memcpy(&envelope_size, record.data(), sizeof(envelope_size));
  const ByteSpan rest = record.subspan(sizeof(envelope_size));
  if (envelope_size > rest.size() || envelope_size > wire::kMaxEnvelope) {
    return Corrupt(
        absl::StrCat("an envelope of ", envelope_size, " bytes in a message of ", rest.size()));
  }
  received->plain = true;
  received->envelope_size = envelope_size;
  received->bytes = FrameOwner::Copy(rest);
  return absl::OkStatus();
}

StatusOr<LeaseDescriptor> BlockOf(ByteSpan bytes, const wire::FrameHeader& header) {
  PANNIER_ASSIGN_OR_RETURN(const BlockFields fields, ReadFields<BlockFields>(bytes, header));
  if (fields.zero != 0 || fields.generation == 0 || fields.length == 0) {
    return Corrupt("a block that holds no message");
  }
  LeaseDescriptor lease;
  lease.offset = fields.offset;
  lease.length = fields.length;
  lease.segment = fields.segment;
  lease.slot = fields.slot;
  lease.generation = fields.generation;
  lease.readonly = true;
  return lease;
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

bool LaneCarrier::WritePlain(ByteSpan envelope, ByteSpan stream) {
  const auto envelope_size = static_cast<uint32_t>(envelope.size());
  std::byte* at = Begin(sizeof(envelope_size) + envelope.size() + stream.size(),
                        /*may_use_reserve=*/false);
  if (at == nullptr) return false;
  std::memcpy(at, &envelope_size, sizeof(envelope_size));
  at += sizeof(envelope_size);
  if (!envelope.empty()) std::memcpy(at, envelope.data(), envelope.size());
  if (!stream.empty()) std::memcpy(at + envelope.size(), stream.data(), stream.size());
  outbox_->writer().Commit(kPlain);
  return true;
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

bool LaneCarrier::WriteFields(uint8_t kind, const wire::FrameHeader& header, ByteSpan fields) {
  std::byte* at = Begin(kHeader + fields.size(), /*may_use_reserve=*/true);
  if (at == nullptr) return false;
  std::memcpy(at, &header, kHeader);
  if (!fields.empty()) std::memcpy(at + kHeader, fields.data(), fields.size());
  outbox_->writer().Commit(kind);
  return true;
}

bool LaneCarrier::WriteControl(const wire::FrameHeader& header, ByteSpan body) {
  return WriteFields(kFrame, header, body);
}

bool LaneCarrier::WriteBlock(const wire::FrameHeader& header, const LeaseDescriptor& block) {
  BlockFields fields;
  fields.offset = block.offset;
  fields.length = block.length;
  fields.segment = block.segment;
  fields.slot = block.slot;
  fields.generation = block.generation;
  return WriteFields(kBlock, header, std::as_bytes(std::span(&fields, 1)));
}

bool LaneCarrier::WriteBeside(const wire::FrameHeader& header, uint64_t size) {
  return WriteFields(kBeside, header, std::as_bytes(std::span(&size, 1)));
}

// ---- Reading ------------------------------------------------------------------------

StatusOr<bool> LaneCarrier::Read(Received* received) {
  LaneReader::Record record;
  PANNIER_ASSIGN_OR_RETURN(const bool found, inbox_->reader().Peek(&record));
  if (!found) return false;
  if (record.kind == kPlain) {
    PANNIER_RETURN_IF_ERROR(ReadPlain(record.bytes, received));
    inbox_->reader().Pop();
    return true;
  }
  if (record.bytes.size() < kHeader) return Corrupt("a frame shorter than its header");
  const Buffer bytes = FrameOwner::Copy(record.bytes);
  inbox_->reader().Pop();
  received->plain = false;
  received->block.reset();
  received->beside = 0;
  std::memcpy(&received->header, bytes.data(), kHeader);
  switch (record.kind) {
    case kFrame:
      received->bytes = bytes;
      return true;
    case kBlock: {
      PANNIER_ASSIGN_OR_RETURN(received->block, BlockOf(bytes.span(), received->header));
      received->bytes = bytes.Slice(0, kHeader);
      return true;
    }
    case kBeside: {
      PANNIER_ASSIGN_OR_RETURN(received->beside,
                               ReadFields<uint64_t>(bytes.span(), received->header));
      if (received->beside < kHeader) return Corrupt("a message shorter than its header");
      received->bytes = bytes.Slice(0, kHeader);
      return true;
    }
    default:
      return Corrupt(absl::StrCat("a record of unknown kind ", record.kind));
  }
}

}  // namespace pannier

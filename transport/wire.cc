#include "pannier/transport/wire.h"

#include <cstddef>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace pannier::wire {
namespace {

Status Corrupt(size_t offset, const std::string& what) {
  return MakeError(ErrorKind::kCorruptMessage, absl::StrCat("frame, offset ", offset, ": ", what));
}

// The fields that a record's place forbids must be zero, so that a frame has one meaning.
Status CheckRecord(const BufferRecord& record, size_t offset) {
  static constexpr uint8_t kZero[sizeof(record.reserved)] = {};
  if (record.readonly > 1 || std::memcmp(record.reserved, kZero, sizeof(kZero)) != 0) {
    return Corrupt(offset, "record with unknown flags");
  }
  switch (static_cast<Place>(record.place)) {
    case Place::kLeased:
      if (record.generation == 0) return Corrupt(offset, "lease of generation 0");
      if (record.length == 0) return Corrupt(offset, "lease of no bytes");
      return absl::OkStatus();
    case Place::kInline:
    case Place::kPart:
      if (record.offset != 0 || record.segment != 0 || record.slot != 0 || record.generation != 0) {
        return Corrupt(offset, "buffer in the frame with the fields of a lease");
      }
      return absl::OkStatus();
  }
  return Corrupt(offset, absl::StrCat("unknown place ", record.place));
}

// Checks every record; sums what stands inline; matches the parts.
StatusOr<uint64_t> CheckRecords(std::span<const BufferRecord> records,
                                std::span<const uint64_t> part_sizes) {
  uint64_t inline_size = 0;
  size_t parts = 0;
  for (size_t i = 0; i < records.size(); ++i) {
    const BufferRecord& record = records[i];
    const size_t offset = sizeof(FrameHeader) + i * sizeof(BufferRecord);
    PANNIER_RETURN_IF_ERROR(CheckRecord(record, offset));
    if (record.place == static_cast<uint8_t>(Place::kInline)) {
      const auto padded = CheckedAdd(record.length, kInlineAlignment - 1);
      const auto sum = padded ? CheckedAdd(inline_size, InlineSize(record.length)) : std::nullopt;
      if (!sum) return Corrupt(offset, "inline lengths overflow");
      inline_size = *sum;
    } else if (record.place == static_cast<uint8_t>(Place::kPart)) {
      if (parts == part_sizes.size()) return Corrupt(offset, "a part is missing");
      if (part_sizes[parts] != record.length) {
        return Corrupt(offset, absl::StrCat("part of ", part_sizes[parts], " bytes, ",
                                            record.length, " announced"));
      }
      ++parts;
    }
  }
  if (parts != part_sizes.size()) {
    return Corrupt(0, absl::StrCat(part_sizes.size() - parts, " parts too many"));
  }
  return inline_size;
}

}  // namespace

StatusOr<Frame> ParseFrame(ByteSpan head, std::span<const uint64_t> part_sizes) {
  ByteReader reader(head);
  Frame frame;
  FrameHeader& header = frame.header;
  header = reader.Read<FrameHeader>();
  if (!reader.ok()) return Corrupt(head.size(), "shorter than a header");
  if (header.magic != kFrameMagic) return Corrupt(0, "not a frame (magic)");
  if (header.type < static_cast<uint8_t>(FrameType::kHello) ||
      header.type > static_cast<uint8_t>(FrameType::kOffer)) {
    return Corrupt(6, absl::StrCat("unknown type ", header.type));
  }
  if (header.flags != 0 || header.reserved != 0) return Corrupt(7, "unknown flags");
  if (header.envelope_size > kMaxEnvelope) {
    return Corrupt(32, absl::StrCat("envelope of ", header.envelope_size, " bytes"));
  }
  if (header.buffer_count > kMaxBuffers) {
    return Corrupt(36, absl::StrCat(header.buffer_count, " buffers"));
  }
  // The records are there before memory is taken for them.
  const ByteSpan records = reader.ReadSpan(uint64_t{header.buffer_count} * sizeof(BufferRecord));
  frame.envelope = reader.ReadSpan(header.envelope_size);
  frame.stream = reader.ReadSpan(header.stream_size);
  if (!reader.ok()) return Corrupt(head.size(), "shorter than its header says");
  frame.records.resize(header.buffer_count);
  if (!records.empty()) std::memcpy(frame.records.data(), records.data(), records.size());
  PANNIER_ASSIGN_OR_RETURN(const uint64_t inline_size, CheckRecords(frame.records, part_sizes));
  if (inline_size != reader.remaining()) {
    return Corrupt(reader.offset(), absl::StrCat(reader.remaining(), " bytes of inline buffers, ",
                                                 inline_size, " announced"));
  }
  frame.inline_bytes = reader.ReadSpan(inline_size);
  return frame;
}

}  // namespace pannier::wire

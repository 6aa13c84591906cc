#include "pannier/transport/inbound.h"

#include <cstdint>
#include <cstring>
#include <utility>

namespace pannier {
namespace {

// Parts of ZeroMQ's are aligned so, but for short ones, which stand where they arrived.
constexpr uintptr_t kPartAlignment = 8;

LeaseDescriptor DescriptorOf(const wire::BufferRecord& record) {
  LeaseDescriptor lease;
  lease.offset = record.offset;
  lease.length = record.length;
  lease.segment = record.segment;
  lease.slot = record.slot;
  lease.generation = record.generation;
  lease.readonly = record.readonly != 0;
  return lease;
}

bool IsLeased(const wire::BufferRecord& record) {
  return record.place == static_cast<uint8_t>(wire::Place::kLeased);
}

void HandBackFrom(const wire::Frame& frame, size_t first, Link* link) {
  if (link == nullptr) return;
  for (size_t i = first; i < frame.records.size(); ++i) {
    if (IsLeased(frame.records[i])) link->import().HandBack(DescriptorOf(frame.records[i]));
  }
}

Buffer View(const Buffer& buffer, bool readonly) { return readonly ? buffer.AsReadonly() : buffer; }

// Copies what lies in the block, which goes home, and takes the frame apart. Errors:
// CorruptMessage; kSystem (the block could not be mapped, and is home).
Status Fetch(InboundFrame* inbound) {
  if (!inbound->block) return absl::OkStatus();
  const LeaseDescriptor lease = *std::exchange(inbound->block, std::nullopt);
  if (inbound->link == nullptr) {
    return MakeError(ErrorKind::kCorruptMessage, "a block on a connection without a link");
  }
  PANNIER_ASSIGN_OR_RETURN(const Buffer block, inbound->link->Open(lease, /*writable=*/false));
  const ByteSpan header = inbound->raw.head.span();
  const Buffer whole = Buffer::OfHeap(header.size() + block.size());
  std::memcpy(whole.mutable_data(), header.data(), header.size());
  std::memcpy(whole.mutable_data() + header.size(), block.data(), block.size());
  inbound->raw.head = whole;
  PANNIER_ASSIGN_OR_RETURN(inbound->frame, wire::ParseFrame(whole.span(), {}));
  return absl::OkStatus();
}

}  // namespace

void Inbound::HandBack() {
  if (framed != nullptr && Fetch(framed.get()).ok()) {
    HandBackFrom(framed->frame, 0, framed->link.get());
  }
}

Message PlainMessage(Inbound inbound) {
  Message message;
  const size_t envelope_size = inbound.envelope_size;
  if (envelope_size > 0) message.envelope = inbound.bytes.Slice(0, envelope_size);
  const size_t stream_size = inbound.bytes.size() - envelope_size;
  if (stream_size > 0) {
    message.stream = std::move(inbound.bytes).Slice(envelope_size, stream_size);
  }
  return message;
}

StatusOr<Message> OpenMessage(InboundFrame inbound, bool readonly, ConnectionStats* stats) {
  PANNIER_RETURN_IF_ERROR(Fetch(&inbound));
  Link* const link = inbound.link.get();
  const wire::Frame& frame = inbound.frame;
  const Buffer& head = inbound.raw.head;
  const auto slice = [&head](ByteSpan span) {
    if (span.empty()) return Buffer();
    return head.Slice(static_cast<size_t>(span.data() - head.data()), span.size());
  };
  Message message;
  message.envelope = slice(frame.envelope);
  message.stream = slice(frame.stream);
  message.buffers.reserve(frame.records.size());
  size_t inline_offset = 0;
  size_t part = 0;
  for (size_t i = 0; i < frame.records.size(); ++i) {
    const wire::BufferRecord& record = frame.records[i];
    const bool as_readonly = readonly || record.readonly != 0;
    if (IsLeased(record)) {
      StatusOr<Buffer> buffer =
          link == nullptr
              ? MakeError(ErrorKind::kCorruptMessage, "a lease on a connection without a link")
              : link->Open(DescriptorOf(record), !as_readonly);
      if (!buffer.ok()) {
        HandBackFrom(frame, i + 1, link);
        return std::move(buffer).status();
      }
      stats->leased_bytes_received += record.length;
      message.buffers.push_back(*std::move(buffer));
      continue;
    }
    stats->inline_bytes_received += record.length;
    Buffer buffer;
    if (record.place == static_cast<uint8_t>(wire::Place::kInline)) {
      buffer = Buffer::CopyOf(frame.inline_bytes.subspan(inline_offset, record.length));
      inline_offset += wire::InlineSize(record.length);
      stats->copied_bytes += record.length;
    } else {
      buffer = inbound.raw.parts[part++];
      if (reinterpret_cast<uintptr_t>(buffer.data()) % kPartAlignment != 0) {
        buffer = Buffer::CopyOf(buffer.span());
        stats->copied_bytes += record.length;
      }
    }
    message.buffers.push_back(View(buffer, as_readonly));
  }
  ++stats->messages_received;
  stats->stream_bytes_received += frame.stream.size();
  return message;
}

}  // namespace pannier

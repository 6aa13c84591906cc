#include "pannier/rpc/envelope.h"

#include <algorithm>
#include <chrono>
#include <limits>

#include "absl/strings/str_cat.h"

namespace pannier::rpc {
namespace {

// Texts of an error envelope, in bytes. Together with the header they stay below the most that an
// envelope may have (65,536).
constexpr size_t kMaxTypeBytes = 1024;  // module and qualified name each
constexpr size_t kMaxErrorMessageBytes = 16 << 10;
constexpr size_t kMaxTracebackBytes = 40 << 10;

constexpr uint8_t kKnownFlags = kFlagKeywords | kFlagItems | kFlagOneWay;

bool IsUtf8Tail(char c) { return (static_cast<uint8_t>(c) & 0xC0) == 0x80; }

// At most `most` bytes, whole characters.
std::string Beginning(const std::string& text, size_t most) {
  if (text.size() <= most) return text;
  while (most > 0 && IsUtf8Tail(text[most])) --most;
  return text.substr(0, most);
}
std::string Ending(const std::string& text, size_t most) {
  if (text.size() <= most) return text;
  size_t start = text.size() - most;
  while (start < text.size() && IsUtf8Tail(text[start])) ++start;
  return text.substr(start);
}

uint64_t MonotonicNanos() {
  // libstdc++'s and libc++'s steady_clock is CLOCK_MONOTONIC, in nanoseconds.
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                   std::chrono::steady_clock::now().time_since_epoch())
                                   .count());
}

Status Corrupt(std::string_view what) { return MakeError(ErrorKind::kCorruptMessage, what); }

}  // namespace

bool Envelope::known() const {
  if (header.version != kEnvelopeVersion) return false;
  switch (kind()) {
    case EnvelopeKind::kRequest:
      return (header.flags & ~kKnownFlags) == 0 &&
             (header.flags & (kFlagItems | kFlagOneWay)) != (kFlagItems | kFlagOneWay);
    case EnvelopeKind::kCancel:
      return (header.flags & ~kFlagExpired) == 0;
    case EnvelopeKind::kReply:
    case EnvelopeKind::kError:
    case EnvelopeKind::kItem:
    case EnvelopeKind::kCredit:
      return header.flags == 0;
  }
  return false;
}

StatusOr<Envelope> ParseEnvelope(ByteSpan bytes) {
  ByteReader reader(bytes);
  Envelope envelope;
  EnvelopeHeader& header = envelope.header;
  header.magic = reader.Read<uint32_t>();
  header.version = reader.Read<uint16_t>();
  header.kind = reader.Read<uint8_t>();
  header.flags = reader.Read<uint8_t>();
  header.call_id = reader.Read<uint64_t>();
  if (!reader.ok()) {
    return Corrupt(absl::StrCat("envelope of ", bytes.size(), " bytes, too short for a call's"));
  }
  if (header.magic != kEnvelopeMagic) {
    return Corrupt(absl::StrCat("envelope starts with 0x", absl::Hex(header.magic),
                                ", which is not that of a call"));
  }
  if (!envelope.known()) return envelope;
  header.remaining_ns = reader.Read<uint64_t>();
  header.sent_at_ns = reader.Read<uint64_t>();
  header.method_size = reader.Read<uint16_t>();
  reader.ReadSpan(sizeof(header.reserved));
  header.credit = reader.Read<uint32_t>();
  envelope.method = AsText(reader.ReadSpan(header.method_size));
  if (!reader.ok()) {
    return Corrupt(absl::StrCat("envelope of ", bytes.size(), " bytes ends in its header"));
  }
  if (header.method_size > kMaxMethodBytes ||
      (envelope.kind() == EnvelopeKind::kRequest) != (header.method_size != 0)) {
    return Corrupt(absl::StrCat("method name of ", header.method_size,
                                " bytes in envelope of kind ", header.kind));
  }
  envelope.rest = reader.ReadSpan(reader.remaining());
  return envelope;
}

std::string DescribeUnknown(const Envelope& envelope) {
  const EnvelopeHeader& header = envelope.header;
  if (header.version != kEnvelopeVersion) {
    return absl::StrCat("version ", header.version, " of calls is not spoken here, only ",
                        kEnvelopeVersion);
  }
  return absl::StrCat("kind ", header.kind, " with flags 0x", absl::Hex(header.flags),
                      " is unknown here");
}

EnvelopeBytes::EnvelopeBytes(const EnvelopeHeader& header, std::string_view rest) {
  bytes_.reserve(sizeof(header) + rest.size());
  const ByteSpan first = std::as_bytes(std::span(&header, 1)), second = AsBytes(rest);
  bytes_.assign(first.begin(), first.end());
  bytes_.insert(bytes_.end(), second.begin(), second.end());
}

EnvelopeBytes RequestEnvelope(uint64_t call_id, std::string_view method, uint8_t flags,
                              Deadline deadline, uint32_t credit) {
  EnvelopeHeader header;
  header.kind = static_cast<uint8_t>(EnvelopeKind::kRequest);
  header.flags = flags;
  header.call_id = call_id;
  if (!deadline.never()) {
    header.remaining_ns = static_cast<uint64_t>(absl::ToInt64Nanoseconds(deadline.Remaining()));
  }
  header.sent_at_ns = MonotonicNanos();
  header.method_size = static_cast<uint16_t>(method.size());
  header.credit = credit;
  return {header, method};
}

EnvelopeBytes PlainEnvelope(EnvelopeKind kind, uint64_t call_id, uint32_t credit) {
  EnvelopeHeader header;
  header.kind = static_cast<uint8_t>(kind);
  header.call_id = call_id;
  header.credit = credit;
  return {header, {}};
}

EnvelopeBytes CancelEnvelope(uint64_t call_id, bool expired) {
  EnvelopeHeader header;
  header.kind = static_cast<uint8_t>(EnvelopeKind::kCancel);
  header.flags = expired ? kFlagExpired : 0;
  header.call_id = call_id;
  return {header, {}};
}

EnvelopeBytes ErrorEnvelope(uint64_t call_id, const RemoteFailure& failure) {
  EnvelopeHeader header;
  header.kind = static_cast<uint8_t>(EnvelopeKind::kError);
  header.call_id = call_id;
  RemoteFailure cut;
  cut.kind = failure.kind;
  cut.module = Beginning(failure.module, kMaxTypeBytes);
  cut.qualname = Beginning(failure.qualname, kMaxTypeBytes);
  cut.message = Beginning(failure.message, kMaxErrorMessageBytes);
  cut.traceback = Ending(failure.traceback, kMaxTracebackBytes);
  return {header, SerializeFailure(cut)};
}

std::string SerializeFailure(const RemoteFailure& failure) {
  std::string out;
  ByteWriter writer(&out);
  writer.Write(static_cast<uint32_t>(failure.kind));
  const std::string* const texts[] = {&failure.module, &failure.qualname, &failure.message,
                                      &failure.traceback};
  for (const std::string* text : texts) writer.Write(static_cast<uint32_t>(text->size()));
  for (const std::string* text : texts) out.append(*text);
  return out;
}

StatusOr<RemoteFailure> ParseFailure(ByteSpan bytes, ByteSpan* rest) {
  ByteReader reader(bytes);
  RemoteFailure failure;
  const auto kind = reader.Read<uint32_t>();
  // A kind of a later version is a failure all the same.
  failure.kind =
      kind == 0 || kind > kLastErrorKind ? ErrorKind::kRemote : static_cast<ErrorKind>(kind);
  std::string* const texts[] = {&failure.module, &failure.qualname, &failure.message,
                                &failure.traceback};
  uint32_t sizes[std::size(texts)];
  for (uint32_t& size : sizes) size = reader.Read<uint32_t>();
  for (size_t i = 0; i < std::size(texts); ++i) *texts[i] = AsText(reader.ReadSpan(sizes[i]));
  if (!reader.ok()) {
    return Corrupt(absl::StrCat("error of ", bytes.size(), " bytes, less than its lengths say"));
  }
  if (rest != nullptr) *rest = reader.ReadSpan(reader.remaining());
  return failure;
}

Deadline DeadlineOf(const EnvelopeHeader& header, bool same_host) {
  if (header.remaining_ns == kNoDeadline) return Deadline::Never();
  constexpr uint64_t kMost = std::numeric_limits<int64_t>::max();
  uint64_t remaining = std::min(header.remaining_ns, kMost);
  const uint64_t now = MonotonicNanos();
  if (same_host && now > header.sent_at_ns) {
    remaining -= std::min(remaining, now - header.sent_at_ns);
  }
  return Deadline::After(absl::Nanoseconds(static_cast<int64_t>(remaining)));
}

}  // namespace pannier::rpc

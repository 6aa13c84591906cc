#include "pannier/transport/handshake.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "pannier/transport/wire.h"

namespace pannier::wire {
namespace {

constexpr size_t kMaxText = 1024;

void WriteText(ByteWriter& writer, std::string_view text) {
  text = text.substr(0, kMaxText);
  writer.Write<uint16_t>(static_cast<uint16_t>(text.size()));
  writer.WriteSpan(AsBytes(text));
}

std::string ReadText(ByteReader& reader) {
  const uint16_t size = reader.Read<uint16_t>();
  return std::string(AsText(reader.ReadSpan(size)));
}

void WriteLimits(ByteWriter& writer, const Limits& limits) {
  writer.Write(limits.max_message_bytes);
  writer.Write(limits.window_messages);
  writer.Write(limits.window_bytes);
}

Limits ReadLimits(ByteReader& reader) {
  Limits limits;
  limits.max_message_bytes = reader.Read<uint64_t>();
  limits.window_messages = reader.Read<uint32_t>();
  limits.window_bytes = reader.Read<uint64_t>();
  return limits;
}

// Where a link is to be made: the same in welcome and offer.
void WriteLinkName(ByteWriter& writer, const Token& token, const std::string& name) {
  writer.Write(token);
  writer.Write<uint8_t>(static_cast<uint8_t>(name.size()));
  writer.WriteSpan(AsBytes(name));
}

void ReadLinkName(ByteReader& reader, Token* token, std::string* name) {
  *token = reader.Read<Token>();
  const uint8_t size = reader.Read<uint8_t>();
  *name = AsText(reader.ReadSpan(size));
}

template <typename T>
StatusOr<T> Checked(const ByteReader& reader, bool valid, T value, std::string_view what) {
  if (reader.ok() && valid) return value;
  return MakeError(ErrorKind::kCorruptMessage,
                   absl::StrCat(ToAbsl(what), " frame, body offset ", reader.offset(), ": ",
                                reader.ok() ? "value out of range" : "too short"));
}

bool Usable(const Limits& limits) { return limits.window_messages > 0 && limits.window_bytes > 0; }

}  // namespace

std::string Serialize(const Hello& hello) {
  std::string body;
  ByteWriter writer(&body);
  writer.Write(hello.least_version);
  writer.Write(hello.greatest_version);
  writer.Write<uint8_t>(hello.wants_link);
  WriteLimits(writer, hello.limits);
  WriteText(writer, hello.name);
  writer.Write<uint8_t>(hello.takes_lane);
  return body;
}

std::string Serialize(const Welcome& welcome) {
  std::string body;
  ByteWriter writer(&body);
  writer.Write(welcome.version);
  WriteLimits(writer, welcome.limits);
  WriteLinkName(writer, welcome.token, welcome.link_name);
  writer.Write<uint8_t>(welcome.lane);
  return body;
}

std::string Serialize(const Offer& offer) {
  std::string body;
  ByteWriter writer(&body);
  WriteLinkName(writer, offer.token, offer.link_name);
  return body;
}

std::string Serialize(const Reason& reason) {
  std::string body;
  ByteWriter writer(&body);
  writer.Write(static_cast<uint8_t>(reason.kind));
  WriteText(writer, reason.text);
  return body;
}

std::string Serialize(const Ready& ready) {
  std::string body;
  ByteWriter writer(&body);
  writer.Write<uint8_t>(ready.has_link);
  WriteText(writer, ready.no_link_reason);
  return body;
}

std::string Serialize(const Credit& credit) {
  std::string body;
  ByteWriter writer(&body);
  writer.Write(credit.messages);
  writer.Write(credit.bytes);
  return body;
}

StatusOr<Hello> ParseHello(ByteSpan body) {
  ByteReader reader(body);
  Hello hello;
  hello.least_version = reader.Read<uint16_t>();
  hello.greatest_version = reader.Read<uint16_t>();
  hello.wants_link = reader.Read<uint8_t>() != 0;
  hello.limits = ReadLimits(reader);
  hello.name = ReadText(reader);
  hello.takes_lane = reader.Read<uint8_t>() != 0;
  return Checked(reader, Usable(hello.limits), std::move(hello), "hello");
}

StatusOr<Welcome> ParseWelcome(ByteSpan body) {
  ByteReader reader(body);
  Welcome welcome;
  welcome.version = reader.Read<uint16_t>();
  welcome.limits = ReadLimits(reader);
  ReadLinkName(reader, &welcome.token, &welcome.link_name);
  welcome.lane = reader.Read<uint8_t>() != 0;
  const bool valid = Usable(welcome.limits) && welcome.version >= kLeastVersion &&
                     welcome.version <= kGreatestVersion;
  return Checked(reader, valid, std::move(welcome), "welcome");
}

StatusOr<Reason> ParseReason(ByteSpan body) {
  ByteReader reader(body);
  Reason reason;
  const uint8_t kind = reader.Read<uint8_t>();
  reason.kind = static_cast<ErrorKind>(kind);
  reason.text = ReadText(reader);
  return Checked(reader, kind <= kLastErrorKind, std::move(reason), "reason");
}

StatusOr<Ready> ParseReady(ByteSpan body) {
  ByteReader reader(body);
  Ready ready;
  ready.has_link = reader.Read<uint8_t>() != 0;
  ready.no_link_reason = ReadText(reader);
  return Checked(reader, true, std::move(ready), "ready");
}

StatusOr<Offer> ParseOffer(ByteSpan body) {
  ByteReader reader(body);
  Offer offer;
  ReadLinkName(reader, &offer.token, &offer.link_name);
  return Checked(reader, true, std::move(offer), "offer");
}

StatusOr<Credit> ParseCredit(ByteSpan body) {
  ByteReader reader(body);
  Credit credit;
  credit.messages = reader.Read<uint64_t>();
  credit.bytes = reader.Read<uint64_t>();
  return Checked(reader, true, credit, "credit");
}

StatusOr<uint16_t> AgreeOnVersion(const Hello& hello) {
  const uint16_t greatest = std::min(hello.greatest_version, kGreatestVersion);
  const uint16_t least = std::max(hello.least_version, kLeastVersion);
  if (greatest >= least) return greatest;
  return MakeError(ErrorKind::kRefused,
                   absl::StrCat("no common version: the connecting side speaks ",
                                hello.least_version, " to ", hello.greatest_version,
                                ", the listening side ", kLeastVersion, " to ", kGreatestVersion));
}

}  // namespace pannier::wire

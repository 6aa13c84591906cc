#include "pannier/codec/position.h"

#include <string>
#include <utility>

#include "absl/strings/cord.h"
#include "pannier/base/bytes.h"
#include "pannier/codec/opcodes.h"

namespace pannier::codec {
namespace {

constexpr char kPayload[] = "pannier/position";

}  // namespace

Status WithPosition(Status status, const StreamPosition& position) {
  std::string payload;
  ByteWriter writer(&payload);
  writer.Write(static_cast<uint64_t>(position.offset));
  if (position.opcode && !InfoOf(*position.opcode).name.empty()) writer.Write(*position.opcode);
  status.SetPayload(kPayload, absl::Cord(payload));
  return status;
}

std::optional<StreamPosition> PositionOf(const Status& status) {
  const auto payload = status.GetPayload(kPayload);
  if (!payload) return std::nullopt;
  const std::string bytes(*payload);
  ByteReader reader(AsBytes(bytes));
  StreamPosition position;
  position.offset = reader.Read<uint64_t>();
  if (!reader.ok()) return std::nullopt;
  if (reader.remaining() != 0) position.opcode = reader.Read<uint8_t>();
  return position;
}

}  // namespace pannier::codec

// Frames: docs/wire_format.md, "Frames". Pure functions over bytes; no socket here.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "pannier/base/bytes.h"
#include "pannier/base/status.h"

namespace pannier::wire {

inline constexpr uint32_t kFrameMagic = 0x524E4E50;  // "PNNR"
inline constexpr uint16_t kLeastVersion = 1;
inline constexpr uint16_t kGreatestVersion = 1;
inline constexpr uint32_t kMaxEnvelope = 65536;
inline constexpr uint32_t kMaxBuffers = 1 << 20;
inline constexpr size_t kInlineAlignment = 8;

enum class FrameType : uint8_t {
  kHello = 1,
  kWelcome = 2,
  kRefuse = 3,
  kReady = 4,
  kMessage = 5,
  kCredit = 6,
  kBye = 7,
  kPing = 8,
  kRelink = 9,
  kOffer = 10,
};

struct FrameHeader {
  uint32_t magic = kFrameMagic;
  uint16_t version = kGreatestVersion;
  uint8_t type = 0;
  uint8_t flags = 0;
  uint64_t connection = 0;
  uint64_t sequence = 0;
  uint64_t stream_size = 0;
  uint32_t envelope_size = 0;
  uint32_t buffer_count = 0;
  uint64_t reserved = 0;

  bool Is(FrameType wanted) const { return type == static_cast<uint8_t>(wanted); }
};
static_assert(sizeof(FrameHeader) == 48);

enum class Place : uint8_t { kLeased = 0, kInline = 1, kPart = 2 };

struct BufferRecord {
  uint64_t offset = 0;
  uint64_t length = 0;
  uint32_t segment = 0;
  uint32_t slot = 0;
  uint32_t generation = 0;
  uint8_t place = 0;
  uint8_t readonly = 0;
  uint8_t reserved[10] = {};
};
static_assert(sizeof(BufferRecord) == 40);

// A frame taken apart. The spans borrow from the first part.
struct Frame {
  FrameHeader header;
  std::vector<BufferRecord> records;
  ByteSpan envelope;
  ByteSpan stream;        // the body, for frames that are not messages
  ByteSpan inline_bytes;  // with padding; in record order
};

// Takes a frame apart and checks all that can be checked without knowing the
// connection: magic, known type, sizes that add up, records well formed, as many further
// parts of the right sizes as records ask for. `part_sizes` are those of the parts after
// the first. The version is not checked. Errors: CorruptMessage, with the offset.
StatusOr<Frame> ParseFrame(ByteSpan head, std::span<const uint64_t> part_sizes);

// Bytes that an inline buffer takes up.
constexpr uint64_t InlineSize(uint64_t length) { return RoundUp(length, kInlineAlignment); }

}  // namespace pannier::wire

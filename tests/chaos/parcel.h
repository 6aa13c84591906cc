// What the processes of the chaos test send each other: a stream that says how long each
// buffer is and what must be in it, so that whoever receives it can tell whether every byte
// is as it was sent, now or after it was held for a while. worker.py has the same in Python.
//
//   stream: u32 'PCHA' | u32 count | u64 number | count times: u64 size, u64 seed
//   buffer: word i is seed + i * kStep, little-endian, the last one cut
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "pannier/base/buffer.h"
#include "pannier/base/bytes.h"

namespace pannier::chaos {

inline constexpr uint32_t kParcelMagic = 0x41484350;  // "PCHA"
inline constexpr uint64_t kStep = 0x9E3779B97F4A7C15;

inline void FillPattern(std::span<std::byte> bytes, uint64_t seed) {
  for (size_t at = 0; at < bytes.size(); at += sizeof(seed), seed += kStep) {
    std::memcpy(bytes.data() + at, &seed, std::min(sizeof(seed), bytes.size() - at));
  }
}

inline bool HasPattern(ByteSpan bytes, uint64_t seed) {
  for (size_t at = 0; at < bytes.size(); at += sizeof(seed), seed += kStep) {
    if (std::memcmp(bytes.data() + at, &seed, std::min(sizeof(seed), bytes.size() - at)) != 0) {
      return false;
    }
  }
  return true;
}

struct Parcel {
  struct Piece {
    uint64_t size = 0;
    uint64_t seed = 0;
  };
  uint64_t number = 0;
  std::vector<Piece> pieces;

  std::string Stream() const {
    std::string stream;
    ByteWriter writer(&stream);
    writer.Write(kParcelMagic);
    writer.Write(static_cast<uint32_t>(pieces.size()));
    writer.Write(number);
    for (const Piece& piece : pieces) writer.Write(piece);
    return stream;
  }

  static std::optional<Parcel> Parse(ByteSpan stream) {
    ByteReader reader(stream);
    const uint32_t magic = reader.Read<uint32_t>();
    const uint32_t count = reader.Read<uint32_t>();
    Parcel parcel;
    parcel.number = reader.Read<uint64_t>();
    if (!reader.ok() || magic != kParcelMagic || reader.remaining() != count * sizeof(Piece)) {
      return std::nullopt;
    }
    for (uint32_t i = 0; i < count; ++i) parcel.pieces.push_back(reader.Read<Piece>());
    return parcel;
  }

  // Empty if every byte of the buffers is right, else what is wrong.
  std::string Fault(const std::vector<Buffer>& buffers) const {
    if (buffers.size() != pieces.size()) {
      return std::to_string(buffers.size()) + " buffers, not " + std::to_string(pieces.size());
    }
    for (size_t i = 0; i < buffers.size(); ++i) {
      if (buffers[i].size() != pieces[i].size) return "buffer " + std::to_string(i) + ": its size";
      if (!HasPattern(buffers[i].span(), pieces[i].seed)) {
        return "buffer " + std::to_string(i) + " of " + std::to_string(pieces[i].size) +
               " bytes: its contents";
      }
    }
    return "";
  }
};

}  // namespace pannier::chaos

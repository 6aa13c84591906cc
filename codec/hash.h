// The hash behind the key index: two multiplications for short keys, seeded.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace pannier::codec::internal {

struct HashSeed {
  uint64_t a;
  uint64_t b;
};
// Random bits, drawn when the library is loaded.
extern const HashSeed kHashSeed;

inline uint64_t Fold(uint64_t a, uint64_t b) {
  const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

inline uint64_t Load64(const char* data) {
  uint64_t word;
  std::memcpy(&word, data, 8);
  return word;
}
inline uint64_t Load32(const char* data) {
  uint32_t word;
  std::memcpy(&word, data, 4);
  return word;
}

inline constexpr uint64_t kMix = 0x9e3779b97f4a7c15u;

inline uint64_t HashWord(uint64_t word, uint64_t salt) {
  return Fold(Fold(word ^ kHashSeed.a, kHashSeed.b ^ salt), kMix);
}

inline uint64_t HashText(std::string_view text, uint64_t salt) {
  const char* data = text.data();
  size_t size = text.size();
  uint64_t state = kHashSeed.b ^ salt;
  while (size > 16) {
    state = Fold(Load64(data) ^ kHashSeed.a, Load64(data + 8) ^ state);
    data += 16;
    size -= 16;
  }
  uint64_t low = 0;
  uint64_t high = 0;
  if (size >= 8) {
    low = Load64(data);
    high = Load64(data + size - 8);
  } else if (size >= 4) {
    low = Load32(data) | Load32(data + size - 4) << 32;
  } else if (size > 0) {
    low = static_cast<uint8_t>(data[0]) |
          static_cast<uint64_t>(static_cast<uint8_t>(data[size / 2])) << 8 |
          static_cast<uint64_t>(static_cast<uint8_t>(data[size - 1])) << 16;
  }
  return Fold(Fold(low ^ kHashSeed.a, high ^ state) ^ text.size(), kMix);
}

}  // namespace pannier::codec::internal

// Readers of opcode arguments, shared by tokenizer and decoder. Each reads at *next, which
// lies in [start, limit], and moves *next past the argument, or leaves it and says why not.
// None reads a byte at or past `limit`, and none trusts a length before it is compared.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "pannier/base/status.h"

namespace pannier::codec::internal {

enum class ArgError : uint8_t { kNone, kTruncated, kNegative };

using BytePtr = const uint8_t*;

template <typename T>
inline ArgError TakeFixed(BytePtr* next, BytePtr limit, T* value) {
  if (static_cast<size_t>(limit - *next) < sizeof(T)) return ArgError::kTruncated;
  std::memcpy(value, *next, sizeof(T));
  *next += sizeof(T);
  return ArgError::kNone;
}

inline ArgError TakeFloat8(BytePtr* next, BytePtr limit, double* value) {
  uint64_t bits;
  if (TakeFixed(next, limit, &bits) != ArgError::kNone) return ArgError::kTruncated;
  *value = std::bit_cast<double>(__builtin_bswap64(bits));
  return ArgError::kNone;
}

// A length of type T (signed for the two opcodes where it is) and as many bytes.
template <typename T>
inline ArgError TakeCounted(BytePtr* next, BytePtr limit, std::string_view* bytes) {
  T length;
  const size_t room = static_cast<size_t>(limit - *next);
  if (room < sizeof(T)) return ArgError::kTruncated;
  std::memcpy(&length, *next, sizeof(T));
  if constexpr (std::is_signed_v<T>) {
    if (length < 0) return ArgError::kNegative;
  }
  if (static_cast<uint64_t>(length) > room - sizeof(T)) return ArgError::kTruncated;
  const size_t size = static_cast<size_t>(length);
  *bytes = {reinterpret_cast<const char*>(*next + sizeof(T)), size};
  *next += sizeof(T) + size;
  return ArgError::kNone;
}

// A line without its '\n'.
inline ArgError TakeLine(BytePtr* next, BytePtr limit, std::string_view* line) {
  const size_t room = static_cast<size_t>(limit - *next);
  const void* end = room == 0 ? nullptr : std::memchr(*next, '\n', room);
  if (end == nullptr) return ArgError::kTruncated;
  const size_t size = static_cast<size_t>(static_cast<BytePtr>(end) - *next);
  *line = {reinterpret_cast<const char*>(*next), size};
  *next += size + 1;
  return ArgError::kNone;
}

// Unpickling errors, with their position (position.h): "byte 12, BINGET: what". `byte` is the
// opcode's.
Status StreamError(size_t offset, uint8_t byte, std::string_view what);
// The same for an argument. `frame_limits`: what stopped the reader was the end of a frame,
// not that of the stream.
Status ArgumentError(size_t offset, uint8_t byte, ArgError error, bool frame_limits);
Status NoStopError(size_t offset);
Status NoOpcodeError(size_t offset, uint8_t byte);

}  // namespace pannier::codec::internal

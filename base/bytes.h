// Bytes, bounds and byte order. Everything that was written by another process is
// read through ByteReader, which fails instead of running past the end, or checked
// with the overflow-free predicates here.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

namespace pannier {

static_assert(std::endian::native == std::endian::little,
              "the formats are little-endian; a big-endian port must convert in this file");

using ByteSpan = std::span<const std::byte>;

inline ByteSpan AsBytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
inline std::string_view AsText(ByteSpan bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// a + b and a * b, or nothing on overflow.
inline std::optional<uint64_t> CheckedAdd(uint64_t a, uint64_t b) {
  uint64_t sum;
  return __builtin_add_overflow(a, b, &sum) ? std::nullopt : std::optional(sum);
}
inline std::optional<uint64_t> CheckedMul(uint64_t a, uint64_t b) {
  uint64_t product;
  return __builtin_mul_overflow(a, b, &product) ? std::nullopt : std::optional(product);
}

// True if [offset, offset + length) lies in [0, size). Cannot overflow.
inline bool RangeInside(uint64_t offset, uint64_t length, uint64_t size) {
  return offset <= size && length <= size - offset;
}

// value rounded up to a multiple of `unit`, a power of two. REQUIRES: no overflow.
constexpr uint64_t RoundUp(uint64_t value, uint64_t unit) {
  return (value + unit - 1) & ~(unit - 1);
}

// Reads little-endian fields in sequence. After a read past the end every further
// read fails too and ok() is false: read all, then check once. Borrows the bytes.
class ByteReader {
 public:
  explicit ByteReader(ByteSpan bytes) : bytes_(bytes) {}

  template <typename T>
  requires std::is_trivially_copyable_v<T> T Read() {
    T value{};
    const ByteSpan raw = ReadSpan(sizeof(T));
    if (!raw.empty()) std::memcpy(&value, raw.data(), sizeof(T));
    return value;
  }
  // `size` bytes as a view of the source; empty, and ok() false, if there are fewer.
  ByteSpan ReadSpan(uint64_t size) {
    if (!ok_ || size > bytes_.size() - offset_) {
      ok_ = false;
      return {};
    }
    const ByteSpan span = bytes_.subspan(offset_, size);
    offset_ += size;
    return span;
  }
  bool ok() const { return ok_; }
  size_t offset() const { return offset_; }
  size_t remaining() const { return bytes_.size() - offset_; }

 private:
  ByteSpan bytes_;
  size_t offset_ = 0;
  bool ok_ = true;
};

// Appends little-endian fields to a string.
class ByteWriter {
 public:
  explicit ByteWriter(std::string* out) : out_(out) {}
  template <typename T>
  requires std::is_trivially_copyable_v<T>
  void Write(T value) { out_->append(reinterpret_cast<const char*>(&value), sizeof(T)); }
  void WriteSpan(ByteSpan bytes) { out_->append(AsText(bytes)); }

 private:
  std::string* out_;
};

}  // namespace pannier

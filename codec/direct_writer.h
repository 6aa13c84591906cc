// The direct way from C++ values to a stream: Dumps of a few numbers, bools and short texts, and of
// tuples of these, which is what most calls are made of, with no Document in between. Its bytes are
// those of the general way, which tests/codec/direct_writer_test.cc compares; what it has no short
// form for it leaves to that.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

#include "pannier/codec/convert_scalar.h"
#include "pannier/codec/opcodes.h"

namespace pannier::codec {

// One pickle of protocol 5. Not thread-safe. Each Write is false if the value has no short form or
// there is no room; then the whole is to be given up.
class DirectWriter {
 public:
  bool WriteNone() { return Put(Opcode::kNone); }
  bool WriteBool(bool value) { return Put(value ? Opcode::kNewTrue : Opcode::kNewFalse); }
  bool WriteInt(int64_t value);
  bool WriteFloat(double value);
  // ASCII of at most 255 bytes, which needs no look at its encoding.
  bool WriteText(std::string_view text);
  // Before and after the items of a tuple.
  bool BeginTuple(size_t size) { return size <= 3 || Put(Opcode::kMark); }
  bool EndTuple(size_t size);

  // The stream. Once.
  std::string Finish();

 private:
  static constexpr size_t kHead = 2 + 9;  // PROTO, FRAME
  static constexpr size_t kRoom = 512;

  size_t left() const { return bytes_.size() - 1 - used_; }  // but for STOP
  bool Put(Opcode opcode) {
    if (left() == 0) return false;
    bytes_[used_++] = static_cast<char>(opcode);
    return true;
  }

  std::array<char, kHead + kRoom> bytes_;
  size_t used_ = kHead;
};

namespace internal {

// As `plain` of a type, or nothing: no Convert of the program's own may stand in between.
template <class T>
struct DirectWriting {
  static constexpr bool kKnown = false;
};
template <class T>
requires(kIsNumberInteger<T> || std::is_floating_point_v<T> || std::is_same_v<T, bool> ||
         std::is_same_v<T, std::nullptr_t> || std::is_same_v<T, std::string> ||
         std::is_same_v<T, std::string_view> || std::is_same_v<T, const char*> ||
         std::is_same_v<T, char*>) struct DirectWriting<T> {
  static constexpr bool kKnown = true;
  static bool Write(DirectWriter& out, const T& object) {
    if constexpr (std::is_same_v<T, bool>) {
      return out.WriteBool(object);
    } else if constexpr (std::is_same_v<T, std::nullptr_t>) {
      return out.WriteNone();
    } else if constexpr (kIsNumberInteger<T>) {
      return std::in_range<int64_t>(object) && out.WriteInt(static_cast<int64_t>(object));
    } else if constexpr (std::is_floating_point_v<T>) {
      return out.WriteFloat(static_cast<double>(object));
    } else {
      return out.WriteText(object);
    }
  }
};
template <size_t kSize>
struct DirectWriting<char[kSize]> : DirectWriting<const char*> {};
template <class... T>
struct DirectWriting<std::tuple<T...>> {
  static constexpr bool kKnown = (DirectWriting<std::remove_cvref_t<T>>::kKnown && ...);
  static bool Write(DirectWriter& out, const std::tuple<T...>& tuple) {
    return std::apply(
        [&](const auto&... items) {
          return out.BeginTuple(sizeof...(T)) &&
                 (DirectWriting<std::remove_cvref_t<T>>::Write(out, items) && ...) &&
                 out.EndTuple(sizeof...(T));
        },
        tuple);
  }
};

}  // namespace internal

// True if DirectWriter may know values of this type.
template <class T>
inline constexpr bool kWritesDirectly = internal::DirectWriting<std::remove_cvref_t<T>>::kKnown;

}  // namespace pannier::codec

// Where a pickler writes: collects a frame, and adds it to the stream with its header when it
// is full. The frames are those of _pickle: at least 64 KiB but for the last, none around a
// text of 64 KiB or more, no header on fewer than 4 bytes. Below protocol 4 there are none,
// and the same memory is only a way station.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include "pannier/base/status.h"
#include "pannier/codec/opcodes.h"
#include "pannier/codec/sink.h"

namespace pannier::codec::internal {

class Output {
 public:
  static constexpr size_t kFrameTarget = size_t{64} << 10;
  static constexpr size_t kFrameMinimum = 4;

  // Appends to `*stream` from here on. With a sink, `*stream` is only a way station, which is
  // emptied into it when a frame ends.
  void Start(std::string* stream, bool framed, const Sink* sink = nullptr) {
    stream_ = stream;
    framed_ = framed;
    sink_ = sink;
    sunk_ = 0;
    sink_status_ = absl::OkStatus();
    next_ = begin_.get();
  }
  // Of the sink, which is not called again after an error.
  const Status& sink_status() const { return sink_status_; }

  // Room for `size` bytes at the place returned; what was written is made known by Advance().
  char* Reserve(size_t size) {
    if (size > static_cast<size_t>(limit_ - next_)) Grow(size);
    return next_;
  }
  void Advance(char* next) { next_ = next; }

  void Byte(uint8_t byte) {
    *Reserve(1) = static_cast<char>(byte);
    ++next_;
  }
  void Op(Opcode opcode) { Byte(static_cast<uint8_t>(opcode)); }
  // An opcode and a little-endian number.
  template <typename T>
  void Op(Opcode opcode, T number) {
    char* at = Reserve(1 + sizeof(T));
    at[0] = static_cast<char>(opcode);
    std::memcpy(at + 1, &number, sizeof(T));
    next_ = at + 1 + sizeof(T);
  }
  void Bytes(std::string_view bytes) {
    char* at = Reserve(bytes.size());
    if (!bytes.empty()) std::memcpy(at, bytes.data(), bytes.size());
    next_ = at + bytes.size();
  }

  // Between two objects: the one place where a frame may end.
  void Boundary() {
    if (static_cast<size_t>(next_ - begin_.get()) >= kFrameTarget) [[unlikely]]
      Commit();
  }
  // Ends the frame.
  void Commit();
  // An opcode with its length, and its bytes, which stand outside of any frame.
  // REQUIRES: bytes.size() >= kFrameTarget.
  void Large(std::string_view header, std::string_view bytes);

  // Of the stream and what is not yet in it.
  size_t size() const {
    return sunk_ + stream_->size() + static_cast<size_t>(next_ - begin_.get());
  }

 private:
  void Grow(size_t size);
  void Drain(std::string_view bytes);

  std::unique_ptr<char[]> begin_;
  char* next_ = nullptr;
  char* limit_ = nullptr;
  std::string* stream_ = nullptr;
  bool framed_ = false;
  const Sink* sink_ = nullptr;
  size_t sunk_ = 0;  // bytes that the sink has
  Status sink_status_;
};

}  // namespace pannier::codec::internal

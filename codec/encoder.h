// From Values to a pickle stream, protocols 0 to 5: byte for byte what CPython's _pickle
// writes for the objects that the Values stand for (docs/codec.md, "Encoding"). Identity
// decides what is written once and referred to later. Nothing recurses: a list in a list a
// million times is written like any other.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "pannier/base/buffer.h"
#include "pannier/base/status.h"
#include "pannier/codec/document.h"

namespace pannier::codec {

inline constexpr int kHighestProtocol = 5;

// Where a Buffer value goes. Pickle's buffer_callback: a true result means in band.
enum class BufferPlace : uint8_t { kInBand, kOutOfBand };

struct EncodeOptions {
  int protocol = kHighestProtocol;
  // Asked once for each occurrence of a Buffer value, in stream order. Unset: in band.
  // With a protocol below 5 it may not be set. An error ends the encoding.
  std::function<StatusOr<BufferPlace>(const Buffer&)> place_buffer = nullptr;
  // Names of Python 3's modules become those of Python 2 in protocols 0 to 2.
  bool fix_imports = true;
  // No memo: sharing is lost, and a graph that contains itself is an error (Pickling).
  bool fast = false;
  // Bytes of stream; Limit beyond it. 0: none.
  uint64_t max_stream_bytes = 0;
};

struct Encoded {
  std::string stream;
  std::vector<Buffer> buffers;  // out of band, in stream order
};

// Every Buffer out of band: for EncodeOptions::place_buffer.
StatusOr<BufferPlace> OutOfBand(const Buffer& buffer);

// Encodes `value` of `document`. Errors: Pickling (what this protocol cannot say, with the
// reason), InvalidArgument (options), Limit.
StatusOr<Encoded> Encode(const Document& document, const Value& value,
                         const EncodeOptions& options = {});
StatusOr<Encoded> Encode(const Document& document, const EncodeOptions& options = {});

// An encoder that is used again and again: its memo and buffers stay warm. Not thread-safe.
class Encoder {
 public:
  Encoder();
  ~Encoder();
  Encoder(Encoder&&) noexcept;
  Encoder& operator=(Encoder&&) noexcept;

  // Overwrites `*out`, whose memory is used again.
  Status Encode(const Document& document, const Value& value, const EncodeOptions& options,
                Encoded* out);
  // Appends a further pickle to `*out`, with the memo of the calls before, as one Pickler
  // does that dumps again. REQUIRES: same Document, protocol and options as before.
  Status EncodeNext(const Document& document, const Value& value, const EncodeOptions& options,
                    Encoded* out);

 private:
  struct Scratch;
  std::unique_ptr<Scratch> scratch_;
};

}  // namespace pannier::codec

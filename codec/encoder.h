// From Values to a pickle stream, protocols 0 to 5: byte for byte what CPython's _pickle
// writes for the objects that the Values stand for (docs/codec.md, "Encoding"). Identity
// decides what is written once and referred to later. Nothing recurses: a list in a list a
// million times is written like any other.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "pannier/base/buffer.h"
#include "pannier/base/status.h"
#include "pannier/codec/document.h"
#include "pannier/codec/sink.h"

namespace pannier::codec {

class ExtensionRegistry;

inline constexpr int kHighestProtocol = 5;

// Where a Buffer value goes. Pickle's buffer_callback: a true result means in band.
enum class BufferPlace : uint8_t { kInBand, kOutOfBand };

// Asked about a value that is to be written: another to write instead, or nothing, and it is
// written as it is. The other one may be made of any values of the Document that is encoded, and
// of new ones made in `made`, which the encoder keeps. An error ends the encoding.
using EncodeHook =
    std::function<StatusOr<std::optional<Value>>(const Value& value, Document& made)>;

// What Python's __reduce__ returns, up to six items; NewReduction() makes the Value that a
// reducer returns.
struct Reduction {
  Value callee;  // called; copyreg.__newobj__ and __newobj_ex__ become opcodes
  Value args;    // a Tuple
  std::optional<Value> state = std::nullopt;
  std::vector<Value> items = {};               // appended
  std::vector<DictEntry> entries = {};         // set as obj[key] = value
  std::optional<Value> setter = std::nullopt;  // called with (obj, state), in place of BUILD
};
Value NewReduction(Document& made, const Reduction& reduction);

// Reducers by the class of the object: its callee, by module and qualified name as Python 3 has
// them.
using DispatchTable = absl::flat_hash_map<std::pair<std::string, std::string>, EncodeHook>;

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

  // Asked about every value but the ids themselves, scalars too and again each time: what it
  // returns is written as a persistent id. In protocol 0 an id is an int, or one line of ASCII.
  EncodeHook persistent_id = nullptr;
  // Asked about every object that is not in the memo (Global, Reduce, NewObj, NewObjEx,
  // Instance): a Reduce, NewObj, NewObjEx or Global to write in its place. The object itself is
  // memoised, so one that is shared stays so. What it is made of is asked about in turn.
  EncodeHook reducer_override = nullptr;
  // The same by class, for instances, if reducer_override returns nothing.
  const DispatchTable* dispatch = nullptr;
  // Globals that are registered are written as their codes, from protocol 2 on.
  const ExtensionRegistry* extensions = nullptr;
  // Set: the stream goes there, as its frames end, and Encoded::stream stays empty. After an
  // error, some of it has gone.
  Sink sink = nullptr;
};

struct Encoded {
  std::string stream;
  std::vector<Buffer> buffers;  // out of band, in stream order
};

// Every Buffer out of band: for EncodeOptions::place_buffer.
StatusOr<BufferPlace> OutOfBand(const Buffer& buffer);

// Encodes the root of `document`, or `value` in it. Errors: Pickling (what this protocol cannot
// say, with the reason), InvalidArgument (options), Limit, those of hooks and of the sink.
StatusOr<Encoded> Encode(const Document& document, const EncodeOptions& options = {});
StatusOr<Encoded> EncodeValue(const Document& document, const Value& value,
                              const EncodeOptions& options);
// A template, so that Encode(document, {}) is the one above.
StatusOr<Encoded> Encode(const Document& document, const std::same_as<Value> auto& value,
                         const EncodeOptions& options = {}) {
  return EncodeValue(document, value, options);
}

// Where in the encoded value an error lies, as Python would get there from `value`:
// value["a"][3].__dict__["x"]. Empty for an error that lies nowhere. Its text says so too.
std::string PicklingPathOf(const Status& status);

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
  // does that dumps again. REQUIRES: same Document, protocol and options as before. As with
  // Python's, an object that was written before is only referred to, though it changed since:
  // ClearMemo(), to write it again.
  Status EncodeNext(const Document& document, const Value& value, const EncodeOptions& options,
                    Encoded* out);
  // Forgets what was written: pickler.clear_memo(). Its reader clears its memo there too
  // (Decoder::ClearMemo()), if the protocol is 4 or newer: a memo entry has no number there.
  void ClearMemo();

 private:
  struct Scratch;
  std::unique_ptr<Scratch> scratch_;
};

}  // namespace pannier::codec

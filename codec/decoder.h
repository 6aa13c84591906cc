// From a pickle stream, protocols 0 to 5, to Values. Nothing is executed or imported: what a
// stream would call becomes a value that says so. What _pickle refuses is refused, and what
// it accepts is accepted, but for the list in docs/codec.md, "Deviations".
//
// The stream is untrusted: every length is checked before it is used, nothing is allocated
// for a length that the stream only declares, work and memory are linear in its size, and
// nesting costs no C++ stack.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pannier/base/buffer.h"
#include "pannier/base/status.h"
#include "pannier/codec/document.h"

namespace pannier::codec {

class AllowList;
class ClassRegistry;
class ExtensionRegistry;
class Visitor;

// What becomes of Python 2's 8-bit strings (STRING, BINSTRING, SHORT_BINSTRING).
enum class Str8Encoding : uint8_t {
  kAscii,   // Str; the default, as in Python
  kLatin1,  // Str
  kUtf8,    // Str
  kBytes,   // Bytes
  kKeep,    // Str8, so that the stream can be written again
};
// What to do with bytes that the encoding does not have.
enum class Str8Errors : uint8_t { kStrict, kIgnore, kReplace, kSurrogateEscape };

// 0 stands for the default in each.
struct DecodeLimits {
  uint64_t stream_bytes = 0;  // default: none
  uint64_t opcodes = 0;       // default: none; a stream has no more than bytes
  uint64_t objects = 0;       // values with an identity; default: 2^32 - 2
  uint64_t memo_entries = 0;  // default: none; there are no more than opcodes
  uint64_t arena_bytes = 0;   // default: none; linear in the stream, see docs/codec.md
  uint64_t depth = 0;         // nesting of the result; default: none
  // Of one argument: a text, bytes, a number's digits or a line; default: none, it ends with
  // the stream.
  uint64_t argument_bytes = 0;
  // Elements looked at in comparing dict keys and set elements beyond the first look;
  // default: 64 for each byte of the stream, and at least 2^20.
  uint64_t comparisons = 0;

  bool operator==(const DecodeLimits&) const = default;
};

struct DecodeOptions {
  // For NEXT_BUFFER, in order. The Document takes a reference of each one used. Unset: the
  // stream may not ask for any.
  std::optional<std::span<const Buffer>> buffers = std::nullopt;
  Str8Encoding encoding = Str8Encoding::kAscii;
  Str8Errors errors = Str8Errors::kStrict;
  // If set, what an 8-bit string says, in UTF-8, in place of these two. An error ends the decoding.
  std::function<StatusOr<std::string>(std::string_view bytes)> decode_str8 = nullptr;
  // Names of Python 2's modules become those of Python 3 in streams of protocols 0 to 2.
  bool fix_imports = true;
  DecodeLimits limits = {};

  // What a persistent id stands for: called with the id (a Str, where protocol 0 wrote it), what
  // it returns takes its place. Values that it makes are made in `document`, which holds what
  // the stream described so far; it changes nothing else there. An error ends the decoding.
  // Unset: the id becomes a Persistent value.
  std::function<StatusOr<Value>(const Value& id, Document& document)> persistent_load = nullptr;
  // The names that the stream may use; another is an error (ForbiddenGlobal) where it stands.
  // Unset: all, since nothing is imported or called.
  const AllowList* allow = nullptr;
  // What extension codes stand for: they become Globals, and one that is not registered is an
  // error. Unset: they become Extension values, or are forbidden, if `allow` is set.
  const ExtensionRegistry* extensions = nullptr;
  // C++ types for Python classes: instances get an object attached (Document::Attached()).
  const ClassRegistry* classes = nullptr;
  // If set: gets every global, call, persistent id and extension code that the stream makes, in
  // that order, also those that the result does not hold, since an unpickler would run them.
  std::vector<Value>* made = nullptr;
  // If set: gets every tuple that becomes a dict key or an element of a set, each time that it
  // does, for those who ask what hashing them would cost an unpickler.
  std::vector<Value>* keys = nullptr;
  // Items that are set again are an error: no pickler does that to a dict or list, and what they
  // were before is seen by nobody who looks at the result.
  bool refuse_overwriting = false;
  // Kept by the Document, so that `stream` need not outlive it. `stream` must lie in it.
  Buffer stream_owner = {};
};

struct DecodeResult {
  size_t consumed = 0;      // bytes up to and with STOP; what follows was not looked at
  size_t buffers_used = 0;  // of DecodeOptions::buffers
  uint8_t protocol = 0;     // of the last PROTO
};

// Decodes one pickle at the start of `stream`, which must outlive the Document (see
// Document). Errors: Unpickling, with byte offset, opcode and reason; Limit.
StatusOr<Document> Decode(ByteSpan stream, const DecodeOptions& options = {});

// A decoder that is used again and again: its stack and memo stay warm.
// Not thread-safe.
class Decoder {
 public:
  Decoder();
  ~Decoder();
  Decoder(Decoder&&) noexcept;
  Decoder& operator=(Decoder&&) noexcept;

  // Clears `*document` and decodes into its memory. On error the Document is empty.
  StatusOr<DecodeResult> Decode(ByteSpan stream, const DecodeOptions& options, Document* document);

  // The next pickle of one Pickler that dumped several times: the memo of the calls before
  // is kept, `*document` is added to, and its root replaced. REQUIRES: the same Document as
  // in the call before, which has not been cleared; the earlier streams still there. On error
  // the root is None, and Values of the calls before stay valid.
  StatusOr<DecodeResult> DecodeNext(ByteSpan stream, const DecodeOptions& options,
                                    Document* document);

  // Decode(), but that `visitor` makes what holds other values (visitor.h). The root is what it
  // made last; without handles it is a Value like any other.
  StatusOr<DecodeResult> Visit(ByteSpan stream, const DecodeOptions& options, Visitor& visitor,
                               Document* document);

  // Forgets what the streams so far memoised: DecodeNext() then reads a stream of its own.
  void ClearMemo();

 private:
  StatusOr<DecodeResult> Run(ByteSpan stream, const DecodeOptions& options, Visitor* visitor,
                             Document* document);
  struct Scratch;
  std::unique_ptr<Scratch> scratch_;
};

}  // namespace pannier::codec

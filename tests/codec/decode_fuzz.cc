// Any bytes: decoded or refused; what is decoded is written in every protocol, and what was
// written with protocol 5 decodes to the same graph and is written the same again.
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "pannier/codec/compare.h"
#include "pannier/codec/decoder.h"
#include "pannier/codec/dis.h"
#include "pannier/codec/encoder.h"
#include "pannier/codec/globals.h"
#include "pannier/codec/optimize.h"
#include "pannier/codec/repr.h"
#include "pannier/codec/tokenizer.h"

using namespace pannier;         // NOLINT: a program of its own
using namespace pannier::codec;  // NOLINT

namespace {

void Require(bool condition, const char* what, const Document& document) {
  if (condition) return;
  std::fprintf(stderr, "%s: %s\n", what, Repr(document.root()).c_str());
  std::abort();
}

void CheckTokens(ByteSpan stream, size_t consumed, const Document& document) {
  Tokenizer tokenizer(stream);
  Token token;
  while (tokenizer.Next(&token)) {
  }
  Require(tokenizer.status().ok() && tokenizer.offset() == consumed, "tokens", document);
}

void CheckGraph(const Document& document) {
  Encoder encoder;
  EncodeOptions options;
  options.max_stream_bytes = 1 << 20;
  Encoded encoded;
  for (options.protocol = 0; options.protocol < 5; ++options.protocol) {
    if (!encoder.Encode(document, document.root(), options, &encoded).ok()) continue;
    DecodeOptions again;
    again.encoding = Str8Encoding::kKeep;
    Require(Decode(AsBytes(encoded.stream), again).ok(), "old protocol", document);
  }
  options.place_buffer = OutOfBand;
  const Status status = encoder.Encode(document, document.root(), options, &encoded);
  if (KindOf(status) == ErrorKind::kLimit) return;
  Require(status.ok(), "encode", document);
  DecodeOptions again;
  again.buffers = encoded.buffers;
  again.encoding = Str8Encoding::kKeep;
  const auto second = Decode(AsBytes(encoded.stream), again);
  Require(second.ok(), "decode again", document);
  Require(Isomorphic(document, *second), "graph", document);
  Require(Equal(document, *second), "equality", document);
  // From here on every text has an identity, and the stream no longer changes.
  const auto twice = Encode(*second, options);
  Require(twice.ok(), "encode again", document);
  again.buffers = twice->buffers;
  const auto third = Decode(AsBytes(twice->stream), again);
  Require(third.ok() && Isomorphic(*second, *third), "decode a third time", document);
  const auto thrice = Encode(*third, options);
  Require(thrice.ok() && thrice->stream == twice->stream, "encode a third time", document);
}

// The tools take anything; what they make of a good stream is good.
void CheckTools(ByteSpan stream, const DecodeOptions& options, const Document* document) {
  std::string text;
  (void)Dis(stream, {}, &text).ok();
  const GlobalsReport globals = FindGlobals(stream);
  const auto optimized = Optimize(stream);
  if (document == nullptr) return;
  Require(globals.status.ok(), "globals", *document);
  if (!optimized.ok()) return;
  const auto again = Decode(AsBytes(*optimized), options);
  Require(again.ok() && Isomorphic(*document, *again), "optimized", *document);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::vector<Buffer> buffers = {Buffer::CopyOf(AsBytes("one")),
                                              Buffer::CopyOf(AsBytes("two")).AsReadonly()};
  if (size == 0) return 0;
  DecodeOptions options;
  options.encoding = static_cast<Str8Encoding>(data[0] % 5);
  options.errors = static_cast<Str8Errors>(data[0] / 5 % 4);
  options.fix_imports = data[0] < 128;
  options.buffers = buffers;
  const ByteSpan stream(reinterpret_cast<const std::byte*>(data + 1), size - 1);
  Decoder decoder;
  Document document;
  const auto result = decoder.Decode(stream, options, &document);
  CheckTools(stream, options, result.ok() ? &document : nullptr);
  if (!result.ok()) return 0;
  CheckTokens(stream, result->consumed, document);
  CheckGraph(document);
  Document copy;
  copy.set_root(copy.CopyFrom(document, document.root()));
  Require(Isomorphic(document, copy), "copy", document);
  return 0;
}

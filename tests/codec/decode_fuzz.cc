// Any bytes: decoded or refused; what is decoded is written in every protocol, and what was
// written with protocol 5 decodes to the same graph and is written the same again.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "pannier/codec/allow_list.h"
#include "pannier/codec/class_registry.h"
#include "pannier/codec/compare.h"
#include "pannier/codec/decoder.h"
#include "pannier/codec/dis.h"
#include "pannier/codec/encoder.h"
#include "pannier/codec/extension_registry.h"
#include "pannier/codec/globals_scan.h"
#include "pannier/codec/optimize.h"
#include "pannier/codec/persistent_ids.h"
#include "pannier/codec/repr.h"
#include "pannier/codec/tokenizer.h"
#include "pannier/codec/visitor.h"

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
  EncodeOptions hooked = options;
  std::string sunk;
  hooked.sink = SinkToString(&sunk);
  hooked.reducer_override = [](const Value& value, Document&) -> StatusOr<std::optional<Value>> {
    return value;
  };
  Require(Encode(document, hooked).ok() && sunk == encoded.stream, "sink", document);
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

// Nothing passes the gate that the list does not name.
void CheckGate(ByteSpan stream, const DecodeOptions& options, const Document* document) {
  static const AllowList allow = AllowList::SafeSet().Add("m", "f").Add("a", "b");
  DecodeOptions gated = options;
  std::vector<Value> made;
  gated.allow = &allow;
  gated.made = &made;
  const auto passed = Decode(stream, gated);
  if (!passed.ok()) {
    if (document == nullptr) return;
    Require(KindOf(passed.status()) == ErrorKind::kForbiddenGlobal, "gate", *document);
    return;
  }
  Require(document != nullptr && Isomorphic(*document, *passed), "passed", *passed);
  for (const Value& value : made) {
    const bool call = value.kind() >= Kind::kReduce && value.kind() <= Kind::kInstance;
    const Value named = call ? value.callee() : value;
    if (named.is(Kind::kPersistent) && !call) continue;
    Require(named.is(Kind::kGlobal) && named.parts().empty() &&
                allow.Allows(named.module_name(), named.global_name()),
            "forbidden", *passed);
  }
}

struct Thing {
  std::vector<std::shared_ptr<Thing>> others;
};

// Objects for classes, codes for names, ids for what they stand for: whatever comes.
void CheckHooks(ByteSpan stream, const DecodeOptions& options) {
  static const auto* const classes = [] {
    auto* registry = new ClassRegistry;
    ClassHooks<Thing> hooks;
    hooks.make = [](const ClassCall& call) -> StatusOr<std::shared_ptr<Thing>> {
      auto thing = std::make_shared<Thing>();
      for (const Value& arg : call.args) {
        if (auto other = call.document.Attached<Thing>(arg)) thing->others.push_back(other);
      }
      return thing;
    };
    hooks.set_attribute = [](Thing&, std::string_view, const Value&, Document&) {
      return absl::OkStatus();
    };
    hooks.append = [](Thing&, const Value&, Document&) { return absl::OkStatus(); };
    registry->Add<Thing>("m", "f", hooks);
    registry->Add<int>("a", "b", {});
    return registry;
  }();
  static const auto* const extensions = [] {
    auto* registry = new ExtensionRegistry;
    (void)registry->Add("m", "f", 1).ok();
    return registry;
  }();
  DecodeOptions hooked = options;
  size_t ids = 0;
  hooked.persistent_load = [&](const Value& id, Document& document) -> StatusOr<Value> {
    return ++ids % 2 == 0 ? id : document.NewList({{id}});
  };
  hooked.classes = classes;
  hooked.extensions = extensions;
  const auto document = Decode(stream, hooked);
  const auto found = FindPersistentIds(stream, options);
  if (document.ok()) (void)Encode(*document).ok();
  if (document.ok() && found.ok()) Require(found->ids.size() == ids, "ids", *document);
}

// A visitor that changes nothing, and one that keeps nothing.
void CheckVisitors(ByteSpan stream, const DecodeOptions& options, const Document* document) {
  Visitor plain;
  Decoder decoder;
  Document visited;
  const auto result = decoder.Visit(stream, options, plain, &visited);
  if (document == nullptr) {
    Require(!result.ok(), "visited", visited);
    return;
  }
  Require(result.ok() && Isomorphic(*document, visited), "visit", *document);
  Require(FindPersistentIds(stream, options).ok(), "noload", *document);
}

// The scan says what the machine says, or nothing.
GlobalsReport CheckGlobals(ByteSpan stream, bool fix_imports) {
  const GlobalsOptions options{.fix_imports = fix_imports};
  GlobalsReport machine = internal::RunForGlobals(stream, options);
  GlobalsReport scan;
  if (!internal::ScanGlobals(stream, options, &scan)) return machine;
  const auto same = [](const GlobalUse& a, const GlobalUse& b) {
    return a.module == b.module && a.name == b.name && a.offset == b.offset &&
           a.opcode == b.opcode && a.extension_code == b.extension_code;
  };
  Require(machine.status.ok() && scan.status.ok() && scan.consumed == machine.consumed &&
              std::ranges::equal(scan.uses, machine.uses, same),
          "scan", Document());
  return machine;
}

// The tools take anything; what they make of a good stream is good.
void CheckTools(ByteSpan stream, const DecodeOptions& options, const Document* document) {
  std::string text;
  (void)Dis(stream, {}, &text).ok();
  const GlobalsReport globals = CheckGlobals(stream, options.fix_imports);
  const auto optimized = Optimize(stream);
  if (document == nullptr) return;
  // It reads 8-bit strings as latin1, so what only bytes allow is an error to it.
  DecodeOptions latin1 = options;
  latin1.encoding = Str8Encoding::kLatin1;
  Require(globals.status.ok() || !Decode(stream, latin1).ok(), "globals", *document);
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
  CheckGate(stream, options, result.ok() ? &document : nullptr);
  CheckVisitors(stream, options, result.ok() ? &document : nullptr);
  CheckHooks(stream, options);
  if (!result.ok()) return 0;
  CheckTokens(stream, result->consumed, document);
  CheckGraph(document);
  Document copy;
  copy.set_root(copy.CopyFrom(document, document.root()));
  Require(Isomorphic(document, copy), "copy", document);
  return 0;
}

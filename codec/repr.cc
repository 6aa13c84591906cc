#include "pannier/codec/repr.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "pannier/codec/numerals.h"
#include "pannier/codec/printable.h"
#include "pannier/codec/value_access.h"

namespace pannier::codec {
namespace {

using internal::IsLeaf;
using internal::KeyedNode;
using internal::ObjectNode;
using internal::PartNode;

constexpr size_t kUnbounded = ~size_t{0};

class Printer {
 public:
  explicit Printer(const ReprOptions& options)
      : most_(options.max_bytes == 0 ? kUnbounded : options.max_bytes),
        deepest_(options.max_depth == 0 ? kUnbounded : options.max_depth) {}

  std::string Run(const Value& value) {
    Print(value);
    while (!frames_.empty() && out_.size() <= most_) Step();
    if (out_.size() > most_) {
      size_t end = most_;
      while (end > 0 && (static_cast<uint8_t>(out_[end]) & 0xc0) == 0x80) --end;
      out_.resize(end);
      out_ += "...";
    }
    return std::move(out_);
  }

 private:
  // An object whose text is begun: what is left of the values between two brackets.
  struct Frame {
    Value value;
    const Value* next;
    const Value* end;
    const PartNode* part;  // follows after these values
    std::string_view close;
    bool pairs;  // key: value
    bool started;
    bool key;  // pairs: a key is next
  };

  void Open(const Value& value, std::string_view open, std::span<const Value> values,
            std::string_view close, bool pairs = false, const PartNode* part = nullptr) {
    out_ += open;
    frames_.push_back(
        {value, values.data(), values.data() + values.size(), part, close, pairs, false, true});
    inside_.insert(ValueAccess::Payload(value));
  }

  void Print(const Value& value) {
    if (IsLeaf(value)) {
      PrintLeaf(value);
      return;
    }
    if (value.is(Kind::kTuple) && value.size() == 0) {
      out_ += "()";
      return;
    }
    if (frames_.size() >= deepest_ || inside_.contains(ValueAccess::Payload(value))) {
      out_ += Elided(value);
      return;
    }
    switch (value.kind()) {
      case Kind::kTuple:
        Open(value, "(", value.items(), value.size() == 1 ? ",)" : ")");
        return;
      case Kind::kList:
        Open(value, "[", value.items(), "]");
        return;
      case Kind::kDict: {
        const auto* dict = ValueAccess::Node<KeyedNode>(value);
        Open(value, "{", {dict->values, size_t{2} * dict->size}, "}", true);
        return;
      }
      case Kind::kSet:
        Open(value, value.size() == 0 ? "set(" : "{", value.items(), value.size() == 0 ? ")" : "}");
        return;
      case Kind::kFrozenSet:
        Open(value, value.size() == 0 ? "frozenset(" : "frozenset({", value.items(),
             value.size() == 0 ? ")" : "})");
        return;
      default:
        OpenObject(value);
    }
  }

  void OpenObject(const Value& value) {
    const auto* node = ValueAccess::Node<ObjectNode>(value);
    const auto open = [&](std::string_view name, size_t fields) {
      Open(value, name, {node->fields, fields}, ")", false, node->first_part);
    };
    switch (value.kind()) {
      case Kind::kGlobal:
        return open("Global(", 2);
      case Kind::kReduce:
        return open("Reduce(", 2);
      case Kind::kNewObj:
        return open("NewObj(", 2);
      case Kind::kNewObjEx:
        return open("NewObjEx(", 3);
      case Kind::kInstance:
        return open("Instance(", 2);
      case Kind::kPersistent:
        return open("Persistent(", 1);
      default:
        return open("Extension(", 1);
    }
  }

  static std::string_view Elided(const Value& value) {
    switch (value.kind()) {
      case Kind::kTuple:
        return "(...)";
      case Kind::kList:
        return "[...]";
      case Kind::kDict:
      case Kind::kSet:
        return "{...}";
      case Kind::kFrozenSet:
        return "frozenset(...)";
      default:
        return "<...>";
    }
  }

  void Step() {
    Frame& frame = frames_.back();
    if (frame.next == frame.end) {
      out_ += frame.close;
      if (frame.part != nullptr) return OpenPart(frame);
      inside_.erase(ValueAccess::Payload(frame.value));
      frames_.pop_back();
      return;
    }
    if (frame.pairs && !frame.key) {
      out_ += ": ";
    } else if (frame.started) {
      out_ += ", ";
    }
    frame.started = true;
    frame.key = !frame.key;
    Print(*frame.next++);
  }

  void OpenPart(Frame& frame) {
    static constexpr std::string_view kNames[] = {".state(", ".append(", ".setitem({", ".add(",
                                                  ".setter("};
    const PartNode& part = *frame.part;
    out_ += kNames[static_cast<size_t>(part.kind)];
    frame.next = part.values;
    frame.end = part.values + part.size;
    frame.part = part.next;
    frame.pairs = part.kind == PartKind::kSetItem;
    frame.close = frame.pairs ? "})" : ")";
    frame.started = false;
    frame.key = true;
  }

  void PrintLeaf(const Value& value) {
    switch (value.kind()) {
      case Kind::kNone:
        out_ += "None";
        return;
      case Kind::kBool:
        out_ += value.bool_value() ? "True" : "False";
        return;
      case Kind::kInt:
        absl::StrAppend(&out_, value.int_value());
        return;
      case Kind::kBigInt:
        return PrintBigInt(value.text());
      case Kind::kFloat:
        out_ += internal::FormatFloat(value.float_value());
        return;
      case Kind::kStr:
        return internal::AppendStrRepr(value.text(), most_, &out_);
      case Kind::kBytes:
        return internal::AppendBytesRepr(value.text(), most_, &out_);
      case Kind::kByteArray:
        return internal::AppendByteArrayRepr(value.text(), most_, &out_);
      case Kind::kStr8:
        out_ += "str8(";
        internal::AppendBytesRepr(value.text(), most_, &out_);
        out_ += ')';
        return;
      case Kind::kHandle:
        absl::StrAppend(&out_, "Handle(", value.handle(), ")");
        return;
      default:
        absl::StrAppend(&out_, "Buffer(", value.buffer_index(),
                        value.buffer_readonly_view() ? ", readonly)" : ")");
    }
  }

  void PrintBigInt(std::string_view bytes) {
    if (const auto digits = internal::FormatInteger(bytes)) {
      out_ += *digits;
      return;
    }
    // Too long for decimal; the bytes as they are, most significant first, with their sign.
    const bool negative = (static_cast<uint8_t>(bytes.back()) & 0x80) != 0;
    const std::string_view shown =
        bytes.substr(bytes.size() - std::min(bytes.size(), Room() / 2 + 1));
    std::string hex = absl::BytesToHexString(ToAbsl(std::string(shown.rbegin(), shown.rend())));
    out_ +=
        absl::StrCat(negative ? "-2**" : "", negative ? absl::StrCat(8 * bytes.size(), " + ") : "",
                     "0x", hex, shown.size() < bytes.size() ? "..." : "");
  }

  // Bytes that may still be wanted; no text need be escaped further.
  size_t Room() const { return most_ - std::min(most_, out_.size()); }

  const size_t most_;
  const size_t deepest_;
  std::string out_;
  std::vector<Frame> frames_;
  absl::flat_hash_set<uint64_t> inside_;  // the objects of frames_
};

}  // namespace

std::string Repr(const Value& value, const ReprOptions& options) {
  return Printer(options).Run(value);
}

}  // namespace pannier::codec

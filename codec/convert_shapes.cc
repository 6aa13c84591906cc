#include "pannier/codec/convert_shapes.h"

#include <string>

namespace pannier::codec {
namespace {

bool IsLatin1Name(const Value& value) {
  if (!value.is(Kind::kStr) && !value.is(Kind::kStr8)) return false;
  const std::string_view name = value.text();
  return name == "latin1" || name == "latin-1";
}

// The bytes that Latin-1 makes of UTF-8 text; nothing if it cannot.
std::optional<std::string> EncodeLatin1(std::string_view utf8) {
  std::string bytes;
  bytes.reserve(utf8.size());
  for (size_t i = 0; i < utf8.size(); ++i) {
    const auto c = static_cast<unsigned char>(utf8[i]);
    if (c < 0x80) {
      bytes.push_back(utf8[i]);
      continue;
    }
    // Two bytes at most: U+0080 to U+00FF begin with 0xc2 or 0xc3.
    if ((c != 0xc2 && c != 0xc3) || ++i == utf8.size()) return std::nullopt;
    const auto low = static_cast<unsigned char>(utf8[i]);
    bytes.push_back(static_cast<char>((c & 0x03) << 6 | (low & 0x3f)));
  }
  return bytes;
}

BytesLike Owned(std::string_view bytes, bool mutable_type) {
  return {Buffer::CopyOf(AsBytes(bytes)), false, mutable_type, false};
}

// The arguments of encode(text, 'latin1') and bytearray(text, 'latin-1').
std::optional<BytesLike> Latin1Call(std::span<const Value> args, bool mutable_type) {
  if (args.size() != 2 || !IsLatin1Name(args[1])) return std::nullopt;
  if (args[0].is(Kind::kStr8)) return Owned(args[0].text(), mutable_type);
  if (!args[0].is(Kind::kStr)) return std::nullopt;
  const auto bytes = EncodeLatin1(args[0].text());
  if (!bytes) return std::nullopt;
  return Owned(*bytes, mutable_type);
}

// _codecs.encode(text, 'latin1'): bytes, in protocols 0 to 2.
std::optional<BytesLike> EncodeCall(const Value& call, bool mutable_type) {
  const auto args = ArgumentsOf(call);
  if (!args || !call.callee().IsGlobal("_codecs", "encode")) return std::nullopt;
  return Latin1Call(*args, mutable_type);
}

std::optional<BytesLike> BytesCall(const Value& call, const Document& document) {
  const auto args = ArgumentsOf(call);
  if (!args) return std::nullopt;
  const Value callee = call.callee();
  const bool bytes = IsBuiltin(callee, "bytes");
  if (!bytes && !IsBuiltin(callee, "bytearray")) return EncodeCall(call, false);
  if (args->empty()) return Owned({}, !bytes);
  if (args->size() == 1 && (*args)[0].is(Kind::kBuffer)) {
    return BytesLike{document.buffer((*args)[0]), false, !bytes, true};
  }
  if (bytes) return std::nullopt;
  const Value& source = (*args)[0];
  if (args->size() == 1 && source.is(Kind::kBytes)) {
    return BytesLike{Buffer::Unowned(source.bytes()), true, true, false};
  }
  return args->size() == 1 ? EncodeCall(source, true) : Latin1Call(*args, true);
}

// The parts of an object that fill it: `wanted`, as one range; nothing if there are others.
std::optional<std::span<const Value>> FilledWith(const Value& object, PartKind wanted) {
  std::span<const Value> values;
  for (const Part part : object.parts()) {
    if (part.kind() != wanted || !values.empty()) return std::nullopt;
    values = part.values();
  }
  return values;
}

}  // namespace

bool IsBuiltin(const Value& value, std::string_view name) {
  return value.IsGlobal("builtins", name) || value.IsGlobal("__builtin__", name);
}

bool IsCopyreg(const Value& value, std::string_view name) {
  return value.IsGlobal("copyreg", name) || value.IsGlobal("copy_reg", name);
}

std::optional<std::span<const Value>> ArgumentsOf(const Value& object) {
  if (object.kind() < Kind::kReduce || object.kind() > Kind::kInstance ||
      object.is(Kind::kNewObjEx)) {
    return std::nullopt;
  }
  const Value args = object.args();
  if (!args.is(Kind::kTuple)) return std::nullopt;
  return args.items();
}

std::optional<BytesLike> BytesLikeOf(const Value& value, const Document& document) {
  switch (value.kind()) {
    case Kind::kBytes:
    case Kind::kStr8:
      return BytesLike{Buffer::Unowned(value.bytes()), true, false, false};
    case Kind::kByteArray:
      return BytesLike{Buffer::Unowned(value.bytes()), true, true, false};
    case Kind::kBuffer: {
      Buffer buffer = document.buffer(value);
      const bool writable = !buffer.readonly();
      return BytesLike{std::move(buffer), false, writable, true};
    }
    case Kind::kReduce:
      return BytesCall(value, document);
    default:
      return std::nullopt;
  }
}

std::optional<BytesLike> OldBytesOf(const Value& value, const Document& document) {
  if (!value.is(Kind::kStr)) return BytesLikeOf(value, document);
  const auto bytes = EncodeLatin1(value.text());
  if (!bytes) return std::nullopt;
  return Owned(*bytes, false);
}

std::optional<std::span<const Value>> SequenceItems(const Value& value) {
  if (value.is(Kind::kList) || value.is(Kind::kTuple)) return value.items();
  if (!value.is(Kind::kReduce) || !value.callee().IsGlobal("collections", "deque")) {
    return std::nullopt;
  }
  const auto args = ArgumentsOf(value);
  const auto appended = FilledWith(value, PartKind::kAppend);
  if (!args || !appended) return std::nullopt;
  if (args->empty()) return appended;
  // Given to the constructor by Python 2, appended by Python 3.
  const Value& first = (*args)[0];
  if (!first.is(Kind::kList) && !first.is(Kind::kTuple)) return std::nullopt;
  if (first.size() == 0) return appended;
  return appended->empty() ? std::optional(first.items()) : std::nullopt;
}

std::optional<std::span<const Value>> SetItems(const Value& value) {
  if (value.is(Kind::kSet) || value.is(Kind::kFrozenSet)) return value.items();
  if (!value.is(Kind::kReduce)) return std::nullopt;
  const Value callee = value.callee();
  if (!IsBuiltin(callee, "set") && !IsBuiltin(callee, "frozenset")) return std::nullopt;
  const auto args = ArgumentsOf(value);
  if (!args || !value.parts().empty()) return std::nullopt;
  if (args->empty()) return std::span<const Value>();
  if (args->size() != 1 || !(*args)[0].is(Kind::kList)) return std::nullopt;
  return (*args)[0].items();
}

std::optional<std::span<const DictEntry>> DictEntries(const Value& value) {
  if (value.is(Kind::kDict)) return value.entries();
  if (!value.is(Kind::kReduce)) return std::nullopt;
  const Value callee = value.callee();
  const auto args = ArgumentsOf(value);
  if (!args) return std::nullopt;
  const bool is_default = callee.IsGlobal("collections", "defaultdict");
  if (callee.IsGlobal("collections", "OrderedDict") ? args->empty() : is_default) {
    const auto pairs = FilledWith(value, PartKind::kSetItem);
    if (!pairs) return std::nullopt;
    return std::span(reinterpret_cast<const DictEntry*>(pairs->data()), pairs->size() / 2);
  }
  if (callee.IsGlobal("collections", "Counter") && args->size() == 1 &&
      (*args)[0].is(Kind::kDict) && value.parts().empty()) {
    return (*args)[0].entries();
  }
  return std::nullopt;
}

}  // namespace pannier::codec

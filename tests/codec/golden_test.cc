// Streams that CPython wrote (golden/make_golden.py says which): decoded, compared with what
// Python shows of the objects, and written again byte for byte.
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "golden_vectors.h"
#include "pannier/codec/compare.h"
#include "pannier/codec/decoder.h"
#include "pannier/codec/encoder.h"
#include "pannier/codec/repr.h"
#include "pannier/codec/tokenizer.h"

namespace pannier::codec {
namespace {

struct Name {
  std::string object;
  bool python2 = false;
  int protocol = 0;
  bool same = false;
  bool from5 = false;
};

Name ParseName(const std::string& text) {
  const std::vector<std::string> parts = absl::StrSplit(text, ':');
  Name name;
  name.object = parts[0];
  name.python2 = parts[1].starts_with("2.7");
  name.protocol = parts[2][1] - '0';
  for (size_t i = 3; i < parts.size(); ++i) {
    name.same |= parts[i] == "same";
    name.from5 |= parts[i] == "from5";
  }
  return name;
}

DecodeOptions OptionsFor(const GoldenVector& vector, const Name& name) {
  DecodeOptions options;
  if (!vector.buffers.empty()) options.buffers = vector.buffers;
  if (name.python2) options.encoding = Str8Encoding::kKeep;
  return options;
}

TEST(Golden, EveryStreamDecodesAndIsCutIntoTokens) {
  for (const char* file :
       {"pickles.txt", "convert.txt", "arrays_numpy1.txt", "arrays_numpy2.txt"}) {
    for (const GoldenVector& vector : ReadGoldenVectors(file)) {
      DecodeOptions options;
      if (!vector.buffers.empty()) options.buffers = vector.buffers;
      options.encoding = Str8Encoding::kLatin1;
      Decoder decoder;
      Document document;
      const auto result = decoder.Decode(AsBytes(vector.stream), options, &document);
      ASSERT_TRUE(result.ok()) << vector.name << ": " << result.status();
      EXPECT_EQ(result->consumed, vector.stream.size()) << vector.name;
      EXPECT_EQ(result->buffers_used, vector.buffers.size()) << vector.name;

      Tokenizer tokenizer(AsBytes(vector.stream));
      Token token;
      size_t end = 0;
      while (tokenizer.Next(&token)) {
        EXPECT_EQ(token.offset, end) << vector.name;
        end = token.end;
      }
      EXPECT_TRUE(tokenizer.status().ok()) << vector.name << ": " << tokenizer.status();
      EXPECT_EQ(end, vector.stream.size()) << vector.name;
    }
  }
}

TEST(Golden, EveryPrefixOfAStreamIsRefused) {
  for (const GoldenVector& vector : ReadGoldenVectors("pickles.txt")) {
    const size_t step = vector.stream.size() < 600 ? 1 : vector.stream.size() / 97;
    for (size_t size = 0; size < vector.stream.size(); size += step) {
      DecodeOptions options = OptionsFor(vector, ParseName(vector.name));
      const auto document = Decode(AsBytes(vector.stream).first(size), options);
      EXPECT_EQ(KindOf(document.status()), ErrorKind::kUnpickling) << vector.name << " " << size;
    }
  }
}

TEST(Golden, WrittenAgainByteForByte) {
  int count = 0;
  for (const GoldenVector& vector : ReadGoldenVectors("pickles.txt")) {
    const Name name = ParseName(vector.name);
    if (!name.same && vector.buffers.empty()) continue;
    const auto document = Decode(AsBytes(vector.stream), OptionsFor(vector, name));
    ASSERT_TRUE(document.ok()) << vector.name << ": " << document.status();
    EncodeOptions options;
    options.protocol = name.protocol;
    if (!vector.buffers.empty()) options.place_buffer = OutOfBand;
    const auto encoded = Encode(*document, options);
    ASSERT_TRUE(encoded.ok()) << vector.name << ": " << encoded.status();
    EXPECT_EQ(absl::BytesToHexString(encoded->stream), absl::BytesToHexString(vector.stream))
        << vector.name;
    ASSERT_EQ(encoded->buffers.size(), vector.buffers.size()) << vector.name;
    for (size_t i = 0; i < vector.buffers.size(); ++i) {
      EXPECT_EQ(encoded->buffers[i].data(), vector.buffers[i].data()) << vector.name;
      EXPECT_EQ(encoded->buffers[i].readonly(), vector.buffers[i].readonly()) << vector.name;
    }
    ++count;
  }
  EXPECT_GT(count, 300);
}

TEST(Golden, AllProtocolsAreWrittenFromProtocol5) {
  std::map<std::string, GoldenVector> at_5;
  const std::vector<GoldenVector> vectors = ReadGoldenVectors("pickles.txt");
  for (const GoldenVector& vector : vectors) {
    const Name name = ParseName(vector.name);
    if (name.protocol == 5) at_5.emplace(name.object, vector);
  }
  int count = 0;
  for (const GoldenVector& vector : vectors) {
    const Name name = ParseName(vector.name);
    if (!name.from5) continue;
    const auto document = Decode(AsBytes(at_5.at(name.object).stream));
    ASSERT_TRUE(document.ok()) << document.status();
    EncodeOptions options;
    options.protocol = name.protocol;
    const auto encoded = Encode(*document, options);
    ASSERT_TRUE(encoded.ok()) << vector.name << ": " << encoded.status();
    EXPECT_EQ(absl::BytesToHexString(encoded->stream), absl::BytesToHexString(vector.stream))
        << vector.name;
    ++count;
  }
  EXPECT_GT(count, 120);
}

TEST(Golden, EncodingAndDecodingKeepsTheGraph) {
  for (const GoldenVector& vector : ReadGoldenVectors("pickles.txt")) {
    const Name name = ParseName(vector.name);
    const auto document = Decode(AsBytes(vector.stream), OptionsFor(vector, name));
    ASSERT_TRUE(document.ok()) << document.status();
    EncodeOptions options;
    options.place_buffer = OutOfBand;
    const auto encoded = Encode(*document, options);
    ASSERT_TRUE(encoded.ok()) << vector.name << ": " << encoded.status();
    DecodeOptions again;
    again.buffers = encoded->buffers;
    again.encoding = Str8Encoding::kKeep;
    const auto second = Decode(AsBytes(encoded->stream), again);
    ASSERT_TRUE(second.ok()) << vector.name << ": " << second.status();
    EXPECT_TRUE(Isomorphic(*document, *second)) << vector.name;
    EXPECT_TRUE(Equal(*document, *second)) << vector.name;
  }
}

TEST(Golden, ShowsWhatPythonShows) {
  std::map<std::string, std::string> reprs;
  std::ifstream file(std::string(PANNIER_GOLDEN_DIR) + "/reprs.txt");
  for (std::string line; std::getline(file, line);) {
    const std::vector<std::string> words = absl::StrSplit(line, ' ');
    ASSERT_EQ(words.size(), 2u);
    reprs[words[0]] = FromBase64(words[1]);
  }
  ASSERT_GT(reprs.size(), 15u);
  int count = 0;
  for (const GoldenVector& vector : ReadGoldenVectors("pickles.txt")) {
    const Name name = ParseName(vector.name);
    // Below protocol 5 some builtins are calls, which are shown as such.
    if (name.python2 || name.protocol < 5 || !reprs.contains(name.object)) continue;
    const auto document = Decode(AsBytes(vector.stream));
    ASSERT_TRUE(document.ok()) << document.status();
    EXPECT_EQ(Repr(document->root(), {0, 0}), reprs[name.object]) << vector.name;
    ++count;
  }
  EXPECT_GT(count, 15);
}

uint64_t Fnv(std::string_view bytes) {
  uint64_t value = 0xcbf29ce484222325;
  for (const char c : bytes) value = (value ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  return value;
}

// The objects of large_objects() in make_golden.py.
Value MakeLarge(const std::string& name, Document* d) {
  const auto bytes = [](const std::string& text) { return AsBytes(text); };
  if (name == "ints") {
    const Value list = d->NewList();
    for (int i = 0; i < 20000; ++i) d->Append(list, Value::Int(i));
    return list;
  }
  if (name == "str65535") return d->NewStr(std::string(65535, 'a'));
  if (name == "str65536") {
    return d->NewList(
        std::vector<Value>{d->NewStr("b"), d->NewStr(std::string(65536, 'a')), d->NewStr("c")});
  }
  if (name == "bytes65536") {
    return d->NewList(
        std::vector<Value>{d->NewBytes(bytes("b")), d->NewBytes(bytes(std::string(65536, 'a'))),
                           d->NewBytes(bytes("c")), d->NewBytes(bytes(std::string(100, 'a')))});
  }
  if (name == "bytearray65536") {
    return d->NewList(
        std::vector<Value>{d->NewByteArray(bytes(std::string(65536, '\0'))), Value::Int(1)});
  }
  if (name == "strs") {
    const Value list = d->NewList();
    for (int i = 0; i < 10000; ++i) d->Append(list, d->NewStr(absl::StrCat("item ", i)));
    return list;
  }
  if (name == "dict") {
    const Value dict = d->NewDict();
    for (int i = 0; i < 5000; ++i)
      EXPECT_TRUE(d->SetItem(dict, Value::Int(i), Value::Int(-i)).ok());
    return dict;
  }
  if (name == "text_then_large") {
    return d->NewList(std::vector<Value>{d->NewStr(std::string(60000, 'a')),
                                         d->NewStr(std::string(60000, 'b')),
                                         d->NewStr(std::string(70000, 'c')), Value::None()});
  }
  EXPECT_EQ(name, "deep");
  Value deep = d->NewList();
  for (int i = 0; i < 300; ++i) deep = d->NewList({&deep, 1});
  return deep;
}

TEST(Golden, LargeStreamsAreFramedAndBatchedAlike) {
  std::ifstream file(std::string(PANNIER_GOLDEN_DIR) + "/large.txt");
  int count = 0;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string name;
    size_t size = 0;
    uint64_t hash = 0;
    words >> name >> size >> std::hex >> hash;
    const size_t colon = name.find(':');
    Document document;
    document.set_root(MakeLarge(name.substr(0, colon), &document));
    EncodeOptions options;
    options.protocol = name.back() - '0';
    const auto encoded = Encode(document, options);
    ASSERT_TRUE(encoded.ok()) << encoded.status();
    EXPECT_EQ(encoded->stream.size(), size) << name;
    EXPECT_EQ(Fnv(encoded->stream), hash) << name;
    const auto decoded = Decode(AsBytes(encoded->stream));
    ASSERT_TRUE(decoded.ok()) << name << decoded.status();
    EXPECT_TRUE(options.protocol < 3 || Isomorphic(document, *decoded)) << name;
    ++count;
  }
  EXPECT_GT(count, 30);
}

}  // namespace
}  // namespace pannier::codec

// Streams made to hurt: deep ones, false lengths, wild memo indices, keys that are dear to
// compare; and the limits that a caller may set.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>

#include "absl/strings/str_cat.h"
#include "pannier/codec/compare.h"
#include "pannier/codec/decoder.h"
#include "pannier/codec/encoder.h"
#include "pannier/codec/repr.h"

namespace pannier::codec {
namespace {

using std::string_literals::operator""s;
using std::string_view_literals::operator""sv;

#ifdef NDEBUG
constexpr size_t kDeep = 1'000'000;
#else  // the containers of a debug build are slow; a recursion would not survive this either
constexpr size_t kDeep = 300'000;
#endif

std::string Repeat(const std::string& text, size_t count) {
  std::string out;
  out.reserve(text.size() * count);
  for (size_t i = 0; i < count; ++i) out += text;
  return out;
}

struct Nest {
  const char* name;
  std::string stream;
};
void PrintTo(const Nest& nest, std::ostream* out) { *out << nest.name; }

class Deep : public ::testing::TestWithParam<Nest> {};

// Decoded, written, compared, shown, copied and destroyed, each without recursion.
TEST_P(Deep, NothingRecurses) {
  const auto document = Decode(AsBytes(GetParam().stream));
  ASSERT_TRUE(document.ok()) << document.status();
  for (const int protocol : {0, 5}) {
    EncodeOptions options;
    options.protocol = protocol;
    const auto encoded = Encode(*document, options);
    if (!encoded.ok()) {  // not everything can be said in the old protocols
      EXPECT_LT(protocol, 4) << encoded.status();
      continue;
    }
    const auto again = Decode(AsBytes(encoded->stream));
    ASSERT_TRUE(again.ok()) << again.status();
    if (protocol == 5) {
      EXPECT_TRUE(Equal(*document, *again));
    }
  }
  EXPECT_GT(Repr(document->root(), {0, 0}).size(), kDeep);
  EXPECT_LT(Repr(document->root()).size(), 5000u);
  Document copy;
  copy.set_root(copy.CopyFrom(*document, document->root()));
  EXPECT_TRUE(Isomorphic(*document, copy));
}

INSTANTIATE_TEST_SUITE_P(
    Million, Deep,
    ::testing::Values(Nest{"lists", Repeat("]", kDeep) + Repeat("a", kDeep - 1) + "."},
                      Nest{"tuples", ")" + Repeat("\x85", kDeep) + "."},
                      Nest{"long_tuples", Repeat("(NNN", kDeep) + "N" + Repeat("t", kDeep) + "."},
                      Nest{"dicts", Repeat("}N", kDeep) + "N" + Repeat("s", kDeep) + "."},
                      Nest{"frozensets", Repeat("(", kDeep) + "N" + Repeat("\x91", kDeep) + "."},
                      Nest{"calls", "cm\nf\n" + Repeat(")R", kDeep) + "."},
                      Nest{"arguments",
                           Repeat("cm\nf\n", kDeep) + ")" + Repeat("R\x85", kDeep) + "."},
                      Nest{"states", Repeat("cm\nf\n)R", kDeep) + "N" + Repeat("b", kDeep) + "."},
                      Nest{"persistent", "N" + Repeat("Q", kDeep) + "."}),
    [](const auto& nest) { return nest.param.name; });

TEST(Deep, KeysToo) {
  // Two equal keys, each a tuple (and a frozenset) in itself a million times.
  for (const auto& [open, close] : {std::pair(""s, "\x85"s), std::pair("("s, "\x91"s)}) {
    const std::string key = Repeat(open, kDeep) + "K\1" + Repeat(close, kDeep);
    const auto document = Decode(AsBytes("}(" + key + "K\1" + key + "K\2u."));
    ASSERT_TRUE(document.ok()) << document.status();
    ASSERT_EQ(document->root().size(), 1u);
    EXPECT_EQ(document->root().entries()[0].value.int_value(), 2);
  }
}

// Values whose every level holds the one below twice: 2^1000 leaves, were they counted.
TEST(Doubling, SharingIsNotUnfolded) {
  const std::string doubled = Repeat("2\x86\x94", 1000);
  const auto tuples = Decode(AsBytes("K\1" + doubled + "."));
  ASSERT_TRUE(tuples.ok());
  const auto same = Decode(AsBytes("K\1" + doubled + "."));
  EXPECT_TRUE(Equal(*tuples, *same));
  EXPECT_TRUE(Isomorphic(*tuples, *same));
  const auto encoded = Encode(*tuples);
  ASSERT_TRUE(encoded.ok());
  EXPECT_LT(encoded->stream.size(), 10'000u);
  EXPECT_LT(Repr(tuples->root()).size(), 5000u);
  // As keys, twice: hashed and compared in the same measure.
  const auto dict = Decode(AsBytes("}(K\1" + doubled + "NK\1" + doubled + "Nu."));
  ASSERT_TRUE(dict.ok()) << dict.status();
  EXPECT_EQ(dict->root().size(), 1u);
  const auto other = Decode(AsBytes("}(K\1" + doubled + "NK\2" + doubled + "Nu."));
  ASSERT_TRUE(other.ok());
  EXPECT_EQ(other->root().size(), 2u);
}

size_t PeakMemory() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<size_t>(usage.ru_maxrss) * 1024;
}

TEST(FalseLengths, AllocateNothing) {
  const size_t before = PeakMemory();
  for (const std::string& start :
       {"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f"s, "\x8d\xff\xff\xff\xff\xff\xff\xff\xff"s,
        "\x96\xff\xff\xff\xff\xff\xff\xff\x7f"s, "B\xff\xff\xff\xff"s, "X\xff\xff\xff\xff"s,
        "T\xff\xff\xff\x7f"s, "\x8b\xff\xff\xff\x7f"s, "\x95\xff\xff\xff\xff\xff\xff\xff\xff"s,
        "Nr\xff\xff\xff\xff"s, "Np9223372036854775806\n"s}) {
    (void)Decode(AsBytes(start + "0.")).ok();
    (void)Decode(AsBytes(start + "N.")).ok();
  }
  EXPECT_LT(PeakMemory(), before + (size_t{16} << 20));
}

TEST(WildMemo, TakesMemoryForWhatIsStored) {
  const size_t before = PeakMemory();
  std::string stream = "Vx\n";
  for (int i = 0; i < 2000; ++i) absl::StrAppend(&stream, "p", int64_t{i} * 1'000'000'007, "\n");
  for (int i = 0; i < 2000; ++i) absl::StrAppend(&stream, "g", int64_t{i} * 1'000'000'007, "\n0");
  EXPECT_TRUE(Decode(AsBytes(stream + ".")).ok());
  // Descending, so that each comes within reach of the array after it was stored elsewhere.
  stream = "";
  for (int i = 3000; i >= 0; --i) absl::StrAppend(&stream, "I", i + 5, "\np", i, "\n0");
  for (int i = 0; i <= 3000; i += 1000) absl::StrAppend(&stream, "g", i, "\n");
  const auto document = Decode(AsBytes("(" + stream + "t."));
  ASSERT_TRUE(document.ok()) << document.status();
  EXPECT_EQ(Repr(document->root()), "(5, 1005, 2005, 3005)");
  EXPECT_LT(PeakMemory(), before + (size_t{16} << 20));
}

TEST(WildMemo, MemoizeCountsEntriesOnce) {
  // Written: 3000 (far), 3000 again, 0; so MEMOIZE stores at 2.
  const auto document =
      Decode(AsBytes("Vx\np3000\np3000\np0\n0Vy\n\x94"
                     "0h\2."));
  ASSERT_TRUE(document.ok()) << document.status();
  EXPECT_EQ(Repr(document->root()), "'y'");
}

TEST(Comparisons, AreBounded) {
  // Two long equal keys that are not one object, compared again and again: quadratic.
  const std::string key = "(" + Repeat("K\1", 200'000) + "t";
  std::string stream = "}" + key + "NsVx\n0" + key +
                       "q\0"
                       "0"s;
  stream += Repeat("h\0Ns"s, 200'000) + ".";
  const auto start = std::chrono::steady_clock::now();
  const auto document = Decode(AsBytes(stream));
  EXPECT_EQ(KindOf(document.status()), ErrorKind::kLimit) << document.status();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(30));
}

TEST(Limits, AreKept) {
  const std::string stream = Repeat("]\x94", 20'000) + Repeat("a", 19'999) + ".";
  const auto kind_with = [&](auto set) {
    DecodeOptions options;
    set(options.limits);
    return KindOf(Decode(AsBytes(stream), options).status());
  };
  using L = DecodeLimits;
  EXPECT_EQ(kind_with([](L&) {}), ErrorKind::kNone);
  EXPECT_EQ(kind_with([&](L& l) { l.stream_bytes = stream.size() - 1; }), ErrorKind::kLimit);
  EXPECT_EQ(kind_with([&](L& l) { l.stream_bytes = stream.size(); }), ErrorKind::kNone);
  EXPECT_EQ(kind_with([](L& l) { l.opcodes = 59'999; }), ErrorKind::kLimit);
  EXPECT_EQ(kind_with([](L& l) { l.opcodes = 60'000; }), ErrorKind::kNone);
  EXPECT_EQ(kind_with([](L& l) { l.objects = 19'999; }), ErrorKind::kLimit);
  EXPECT_EQ(kind_with([](L& l) { l.objects = 20'000; }), ErrorKind::kNone);
  EXPECT_EQ(kind_with([](L& l) { l.memo_entries = 19'999; }), ErrorKind::kLimit);
  EXPECT_EQ(kind_with([](L& l) { l.memo_entries = 20'000; }), ErrorKind::kNone);
  EXPECT_EQ(kind_with([](L& l) { l.depth = 19'999; }), ErrorKind::kLimit);
  EXPECT_EQ(kind_with([](L& l) { l.depth = 20'000; }), ErrorKind::kNone);
  EXPECT_EQ(kind_with([](L& l) { l.arena_bytes = 100'000; }), ErrorKind::kLimit);
  EXPECT_EQ(kind_with([](L& l) { l.arena_bytes = 10'000'000; }), ErrorKind::kNone);
  EXPECT_EQ(kind_with([](L& l) { l.argument_bytes = 1; }), ErrorKind::kNone);
}

TEST(Limits, OfOneArgument) {
  for (const std::string& stream : {"\x8c\5hello."s,
                                    "X\5\0\0\0hello."s,
                                    "\x8d\5\0\0\0\0\0\0\0hello."s,
                                    "C\5hello."s,
                                    "B\5\0\0\0hello."s,
                                    "\x8e\5\0\0\0\0\0\0\0hello."s,
                                    "\x96\5\0\0\0\0\0\0\0hello."s,
                                    "U\5hello."s,
                                    "T\5\0\0\0hello."s,
                                    "\x8a\5\1\1\1\1\1."s,
                                    "\x8b\5\0\0\0\1\1\1\1\1."s,
                                    "I12345\n."s,
                                    "L12345\n."s,
                                    "F1.234\n."s,
                                    "S'abc'\n."s,
                                    "Vhello\n."s,
                                    "Phello\n."s,
                                    "chello\nhello\n."s,
                                    "(ihello\nhello\n."s,
                                    "Np00000\n."s}) {
    DecodeOptions options;
    options.limits.argument_bytes = 5;
    EXPECT_TRUE(Decode(AsBytes(stream), options).ok()) << stream;
    options.limits.argument_bytes = 4;
    EXPECT_EQ(KindOf(Decode(AsBytes(stream), options).status()), ErrorKind::kLimit) << stream;
  }
}

// Memory and work follow the stream, whatever the limits say: none is set here.
TEST(Limits, DefaultsFollowTheStream) {
  for (const std::string& pattern :
       {"]"s, "}"s, "\x8f"s, ")"s, "N\x85"s, "N2\x86"s, "\x97"s, "cm\nf\n"s, "Pa\n"s, "(lN"s,
        "(dN"s, "]\x94"s, "\x8c\1a"s, "(((("s}) {
    const std::string stream = "N" + Repeat(pattern, 50'000) + ".";
    Decoder decoder;
    Document document;
    (void)decoder.Decode(AsBytes(stream), {}, &document).ok();
    EXPECT_LT(document.capacity(), 1'000'000 + 130 * stream.size()) << pattern;
  }
}

TEST(Limits, DepthOfScalarsAndCycles) {
  DecodeOptions options;
  options.limits.depth = 1;
  EXPECT_TRUE(Decode(AsBytes("K\1."), options).ok());
  EXPECT_TRUE(Decode(AsBytes("](K\1K\2e."), options).ok());
  EXPECT_TRUE(Decode(AsBytes("]\x94h\0a."sv), options).ok());
  EXPECT_FALSE(Decode(AsBytes("]]a."), options).ok());
}

TEST(Limits, OfTheEncoder) {
  Document document;
  document.set_root(document.NewStr(std::string(1000, 'x')));
  EncodeOptions options;
  options.max_stream_bytes = 1000;
  EXPECT_EQ(KindOf(Encode(document, options).status()), ErrorKind::kLimit);
  options.max_stream_bytes = 1100;
  EXPECT_TRUE(Encode(document, options).ok());
}

}  // namespace
}  // namespace pannier::codec

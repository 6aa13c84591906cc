// dis, optimize and globals against what Python 3.11 made of the same streams
// (golden/make_tools.py).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "golden_vectors.h"
#include "pannier/codec/compare.h"
#include "pannier/codec/decoder.h"
#include "pannier/codec/dis.h"
#include "pannier/codec/encoder.h"
#include "pannier/codec/globals.h"
#include "pannier/codec/optimize.h"

namespace pannier::codec {
namespace {

using ::testing::HasSubstr;
using std::string_literals::operator""s;
using std::string_view_literals::operator""sv;

uint64_t Fnv(std::string_view bytes) {
  uint64_t value = 0xcbf29ce484222325;
  for (const char c : bytes) value = (value ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  return value;
}

// The streams that make_tools.py makes and does not keep.
std::string MadeStream(int number) {
  Document d;
  const Value list = d.NewList();
  int protocol = 4;
  if (number == 0) {
    for (const size_t size : {65535, 65536, 65537, 200000}) {
      d.Append(list, d.NewStr(std::string(size, 'a')));
    }
    d.set_root(d.NewList(std::vector<Value>{list, list.items()[0]}));
  } else {
    const int count = number == 1 ? 9000 : number == 2 ? 700 : 300;
    protocol = number == 1 ? 4 : number == 2 ? 2 : 0;
    for (int i = 0; i < count; ++i) {
      const Value item = Value::Int(i);
      d.Append(list, number == 1 ? d.NewStr(absl::StrCat("item ", i)) : d.NewList({&item, 1}));
    }
    const std::vector<Value> once(list.items().begin(), list.items().end());
    d.Extend(list, once);
    d.set_root(list);
  }
  return Encode(d, d.root(), {.protocol = protocol})->stream;
}

struct ToolsLine {
  std::string stream;
  std::string shown;
  std::vector<std::string> words;
};

std::vector<ToolsLine> ReadTools() {
  std::map<std::string, std::string> named;
  for (const GoldenVector& vector : ReadGoldenVectors("pickles.txt")) {
    named[vector.name] = vector.stream;
  }
  std::ifstream file(std::string(PANNIER_GOLDEN_DIR) + "/tools.txt");
  std::vector<ToolsLine> lines;
  for (std::string line; std::getline(file, line);) {
    ToolsLine entry;
    entry.words = absl::StrSplit(line, ' ');
    EXPECT_EQ(entry.words.size(), 9u) << line;
    entry.shown = entry.words[0];
    if (entry.shown[0] == '@') {
      EXPECT_TRUE(named.contains(entry.shown.substr(1))) << entry.shown;
      entry.stream = named[entry.shown.substr(1)];
    } else if (entry.shown[0] == '#') {
      entry.stream = MadeStream(entry.shown[1] - '0');
    } else {
      entry.stream = FromBase64(entry.shown);
    }
    lines.push_back(std::move(entry));
  }
  EXPECT_GT(lines.size(), 1000u);
  return lines;
}

TEST(Dis, TextIsThatOfPickletools) {
  for (const ToolsLine& line : ReadTools()) {
    std::string text;
    const Status status = Dis(AsBytes(line.stream), {}, &text);
    EXPECT_EQ(status.ok() ? "ok" : "bad", line.words[1]) << line.shown << "\n" << text << status;
    EXPECT_EQ(absl::StrCat(text.size()), line.words[2]) << line.shown << "\n" << text << status;
    EXPECT_EQ(absl::StrCat(absl::Hex(Fnv(text), absl::kZeroPad16)), line.words[3])
        << line.shown << "\n"
        << text << status;
    EXPECT_TRUE(status.ok() || KindOf(status) == ErrorKind::kUnpickling);
  }
}

TEST(Dis, Example) {
  std::string text;
  EXPECT_TRUE(Dis(AsBytes("\x80\4]\x94(K\1\x8c\2hi\x94h\1e."), {}, &text).ok());
  EXPECT_EQ(text,
            "    0: \\x80 PROTO      4\n"
            "    2: ]    EMPTY_LIST\n"
            "    3: \\x94 MEMOIZE    (as 0)\n"
            "    4: (    MARK\n"
            "    5: K        BININT1    1\n"
            "    7: \\x8c     SHORT_BINUNICODE 'hi'\n"
            "   11: \\x94     MEMOIZE    (as 1)\n"
            "   12: h        BINGET     1\n"
            "   14: e        APPENDS    (MARK at 4)\n"
            "   15: .    STOP\n"
            "highest protocol among opcodes = 4\n");
  text.clear();
  EXPECT_TRUE(Dis(AsBytes("(K\1l."), {.indent = 1}, &text).ok());
  EXPECT_THAT(text, HasSubstr("    1: K     BININT1    1\n"));
}

TEST(Optimize, BytesAreThoseOfPickletools) {
  for (const ToolsLine& line : ReadTools()) {
    const auto made = Optimize(AsBytes(line.stream));
    // pickletools reads each argument; here those that are copied are not looked at.
    if (line.words[4] == "bad" && made.ok()) continue;
    ASSERT_EQ(made.ok() ? "ok" : "bad", line.words[4]) << line.shown << made.status();
    if (!made.ok()) continue;
    EXPECT_EQ(absl::StrCat(made->size()), line.words[5]) << line.shown;
    EXPECT_EQ(absl::StrCat(absl::Hex(Fnv(*made), absl::kZeroPad16)), line.words[6]) << line.shown;
  }
}

TEST(Optimize, TheObjectStays) {
  for (const GoldenVector& vector : ReadGoldenVectors("pickles.txt")) {
    DecodeOptions options;
    options.encoding = Str8Encoding::kKeep;
    if (!vector.buffers.empty()) options.buffers = vector.buffers;
    const auto before = Decode(AsBytes(vector.stream), options);
    const auto made = Optimize(AsBytes(vector.stream));
    ASSERT_TRUE(made.ok()) << vector.name << made.status();
    EXPECT_LE(made->size(), vector.stream.size() + 9) << vector.name;
    const auto after = Decode(AsBytes(*made), options);
    ASSERT_TRUE(before.ok() && after.ok()) << vector.name << after.status();
    EXPECT_TRUE(Isomorphic(*before, *after)) << vector.name;
  }
}

TEST(Optimize, Refuses) {
  for (const auto stream : {"h\0."sv, "N"sv, "g0\n."sv, "\x80\6N."sv, "Nh\1q\1."sv, "gx\n."sv}) {
    EXPECT_EQ(KindOf(Optimize(AsBytes(stream)).status()), ErrorKind::kUnpickling) << stream;
  }
}

std::string Shown(const GlobalsReport& report) {
  std::string text;
  for (const GlobalUse& use : report.uses) {
    absl::StrAppend(&text, text.empty() ? "" : ",", use.offset, "|");
    if (use.extension_code != 0) {
      absl::StrAppend(&text, "extension|", use.extension_code);
    } else {
      absl::StrAppend(&text, use.module, "|", use.name);
    }
  }
  return text.empty() ? "-" : text;
}

TEST(Globals, AreThoseThatTheUnpicklerLooksUp) {
  int refused = 0;
  int seen = 0;
  for (const ToolsLine& line : ReadTools()) {
    if (line.words[7] == "odd") continue;
    // find_class() is given the names before they are mapped.
    const GlobalsReport report = FindGlobals(AsBytes(line.stream), {.fix_imports = false});
    const std::string shown = Shown(report);
    if (line.words[7] == "ok") {
      // What Python takes is taken, but for frames (docs/codec.md, "Deviations").
      if (absl::StrContains(report.status.message(), "frame")) continue;
      EXPECT_TRUE(report.status.ok()) << line.shown << report.status;
      EXPECT_EQ(shown, line.words[8]) << line.shown;
      ++seen;
    } else if (report.status.ok()) {
      // An unknown extension code, or a call that Python's stand-in did not take.
      EXPECT_TRUE(line.words[8] == "-" || shown.starts_with(line.words[8])) << line.shown << shown;
    } else {
      ++refused;
    }
  }
  EXPECT_GT(seen, 500);
  EXPECT_GT(refused, 200);
}

TEST(Globals, ThroughEveryDoor) {
  const auto shown = [](std::string_view stream) { return Shown(FindGlobals(AsBytes(stream))); };
  EXPECT_EQ(shown("cos\nsystem\n."), "0|os|system");
  EXPECT_EQ(shown("(ios\nsystem\n."), "1|os|system");
  EXPECT_EQ(shown("\x8c\2os\x94\x8c\6system\x94"
                  "00h\0h\1\x93."sv),
            "20|os|system");
  EXPECT_EQ(shown("\x8c\1x\x8c\2osp9\n0\x8c\6systemp0\n0g9\ng0\n\x93."), "29|os|system");
  EXPECT_EQ(shown("\x84\1\0\1\0."sv), "0|extension|65537");
  EXPECT_EQ(shown("c__builtin__\neval\n."), "0|builtins|eval");
  const GlobalsReport as_is = FindGlobals(AsBytes("c__builtin__\neval\n."), {.fix_imports = false});
  EXPECT_EQ(as_is.uses[0].module, "__builtin__");
  // Buffers need not be there, and what stands before an error is told.
  EXPECT_EQ(shown("\x97\x98\x97"
                  "cm\nf\n."),
            "3|m|f");
  const GlobalsReport broken = FindGlobals(AsBytes("cos\nsystem\n)R}]K\1s."));
  EXPECT_EQ(KindOf(broken.status), ErrorKind::kUnpickling);
  EXPECT_EQ(Shown(broken), "0|os|system");
  // A name that only a call would tell is no name: refused.
  EXPECT_FALSE(FindGlobals(AsBytes("cm\nf\n)R\x8c\1x\x93.")).status.ok());
  const GlobalsReport first = FindGlobals(AsBytes("cm\nf\n.cos\nsystem\n."));
  EXPECT_EQ(first.consumed, 6u);
  EXPECT_EQ(first.uses.size(), 1u);
}

}  // namespace
}  // namespace pannier::codec

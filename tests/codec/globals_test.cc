// FindGlobals by the scan, against FindGlobals by the decoder's machine.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "golden_vectors.h"
#include "pannier/codec/globals_scan.h"

namespace pannier::codec {
namespace {

using std::string_literals::operator""s;

enum class Way { kScan, kMachine };

// Whose answer FindGlobals gives, which must be what the machine says in all it says.
Way Compare(std::string_view stream, bool fix_imports = true) {
  const GlobalsOptions options{.fix_imports = fix_imports};
  const GlobalsReport wanted = internal::RunForGlobals(AsBytes(stream), options);
  const GlobalsReport found = FindGlobals(AsBytes(stream), options);
  EXPECT_EQ(found.status, wanted.status);
  EXPECT_EQ(found.consumed, wanted.consumed);
  EXPECT_EQ(found.uses.size(), wanted.uses.size());
  for (size_t i = 0; i < std::min(found.uses.size(), wanted.uses.size()); ++i) {
    const GlobalUse& a = found.uses[i];
    const GlobalUse& b = wanted.uses[i];
    EXPECT_EQ(a.module, b.module);
    EXPECT_EQ(a.name, b.name);
    EXPECT_EQ(a.offset, b.offset);
    EXPECT_EQ(a.opcode, b.opcode);
    EXPECT_EQ(a.extension_code, b.extension_code);
  }
  GlobalsReport scanned;
  return internal::ScanGlobals(AsBytes(stream), options, &scanned) ? Way::kScan : Way::kMachine;
}

std::vector<std::string> Corpus() {
  std::vector<std::string> streams;
  for (const char* file : {"pickles.txt", "arrays_numpy1.txt", "arrays_numpy2.txt"}) {
    for (GoldenVector& vector : ReadGoldenVectors(file))
      streams.push_back(std::move(vector.stream));
  }
  return streams;
}

TEST(GlobalsScan, AgreesOnTheCorpus) {
  size_t newer = 0;
  size_t scanned = 0;
  for (const std::string& stream : Corpus()) {
    SCOPED_TRACE(absl::StrCat("of ", stream.size(), " bytes"));
    const Way way = Compare(stream);
    Compare(stream, false);
    if (stream.size() > 2 && stream[0] == '\x80' && stream[1] >= 4) {
      ++newer;
      scanned += way == Way::kScan;
    }
    if (testing::Test::HasFailure()) return;
  }
  // What it gives up is rare: long keys, extension codes, keys of tuples in tuples.
  EXPECT_GT(newer, 300u);
  EXPECT_GT(scanned, newer * 9 / 10);
}

// Bytes changed, dropped, doubled, cut off: most are refused, and in all ways.
TEST(GlobalsScan, AgreesOnDamagedStreams) {
  std::mt19937_64 random(20);
  const auto below = [&](size_t bound) { return static_cast<size_t>(random() % bound); };
  static constexpr std::string_view kOpcodes =
      "(.0N2Ra]}esu)hqcb\x81\x85\x86\x87\x88\x8f\x90\x91\x92\x93\x94\x97\x98";
  size_t refused = 0;
  for (const std::string& stream : Corpus()) {
    if (stream.size() > 2000) continue;
    for (int round = 0; round < 60; ++round) {
      std::string damaged = stream;
      for (size_t i = 0; i <= below(3) && !damaged.empty(); ++i) {
        const size_t at = below(damaged.size());
        switch (below(5)) {
          case 0:
            damaged[at] = static_cast<char>(below(256));
            break;
          case 1:
            damaged[at] = kOpcodes[below(kOpcodes.size())];
            break;
          case 2:
            damaged.insert(at, 1, kOpcodes[below(kOpcodes.size())]);
            break;
          case 3:
            damaged.erase(at, 1 + below(4));
            break;
          case 4:
            damaged.resize(at);
        }
      }
      Compare(damaged);
      refused += !FindGlobals(AsBytes(damaged)).status.ok();
      if (testing::Test::HasFailure()) {
        ADD_FAILURE() << absl::Base64Escape(damaged);
        return;
      }
    }
  }
  EXPECT_GT(refused, 1000u);
}

std::string Str(std::string_view text) {
  std::string stream = "X";
  const auto size = static_cast<uint32_t>(text.size());
  stream.append(reinterpret_cast<const char*>(&size), sizeof(size));
  return stream.append(text);
}

std::string Framed(uint64_t length, std::string_view stream) {
  std::string framed = "\x95";
  framed.append(reinterpret_cast<const char*>(&length), sizeof(length));
  return framed.append(stream);
}

TEST(GlobalsScan, IsUsed) {
  EXPECT_EQ(Compare("cos\nsystem\n."), Way::kScan);
  EXPECT_EQ(Compare("\x80\2c__builtin__\neval\n(K\1K\2tR}b."), Way::kScan);
  EXPECT_EQ(Compare(Str("os") + "q\0"s + Str("system") + "q\1" + "h\0h\1\x93."s), Way::kScan);
  EXPECT_EQ(Compare("}G@\t!\xfbTD-\x18Ns."), Way::kScan);
  EXPECT_EQ(Compare("}(K\1\x85NK\1K\2\x86NNN\x89\x88)NC\1aNu."), Way::kScan);
  EXPECT_EQ(Compare("\x8f(NK\1\x90(K\1\x91\x97\x98"s + "C\1a\x98\x87."), Way::kScan);
  EXPECT_EQ(Compare("]((NN010."), Way::kScan);
  EXPECT_EQ(Compare(Framed(2, "N.")), Way::kScan);
  EXPECT_EQ(Compare(Framed(0, Framed(1, "N.")) + "trailing"), Way::kScan);
}

TEST(GlobalsScan, GivesUpWhereItIsNotSure) {
  // NaN, a long text, a tuple in a tuple, a frozenset: keys of which many may be compared.
  EXPECT_EQ(Compare("}G\x7f\xf8\0\0\0\0\0\0Ns."s), Way::kMachine);
  EXPECT_EQ(Compare("}" + Str(std::string(256, 'a')) + "Ns."), Way::kMachine);
  EXPECT_EQ(Compare("}))\x85\x85Ns."), Way::kMachine);
  EXPECT_EQ(Compare("}(\x91Ns."), Way::kMachine);
  // Names that are no str, or not plainly one.
  EXPECT_EQ(Compare("Nh\0."s), Way::kMachine);
  EXPECT_EQ(Compare("Vos\nVsystem\n\x93."), Way::kMachine);
  EXPECT_EQ(Compare(Str("os") + "C\6system\x93."), Way::kMachine);
  EXPECT_EQ(Compare(Str("\xff") + "."), Way::kMachine);
  EXPECT_EQ(Compare("c\nsystem\n."), Way::kMachine);
  EXPECT_EQ(Compare("\x82\1."), Way::kMachine);
  // Unhashable, not callable, not containers.
  for (const char* stream :
       {"}]Ns.", "})]\x86Ns.", "}}Ns.", "N)R.", "N)\x81.", "cm\nf\nNR.", "NNa.", "NNNs.", "N}b.",
        "N(Ne.", "N(NNu.", "N(N\x90.", "}(Nu.", "N\x98."}) {
    EXPECT_EQ(Compare(stream), Way::kMachine) << stream;
  }
  // Too little on the stack, or a mark where a value should be.
  for (const char* stream :
       {".", "(.", "N(.", "0", "1.", "t.", "N(a.", "(e.", "(u.", "\x94.", "(N(\x94.", "N\x86."}) {
    EXPECT_EQ(Compare(stream), Way::kMachine) << stream;
  }
  EXPECT_EQ(Compare(""), Way::kMachine);
  EXPECT_EQ(Compare("\x80\6N."), Way::kMachine);
}

// A number or text may end past its frame, or past the stream.
TEST(GlobalsScan, SeesWhereFramesEnd) {
  const std::string body = "J\1\2\3\4G\0\0\0\0\0\0\0\0M\1\2K\1h\0X\1\0\0\0aC\1b\x8c\1c\x94"s +
                           "cm\nf\n\x86\x96\1\0\0\0\0\0\0\0a\x8e\1\0\0\0\0\0\0\0b."s;
  for (const std::string& stream : {"Nq\0"s + body, "N\x94"s + body + std::string(20, 'N')}) {
    for (size_t size = 0; size <= stream.size(); ++size) {
      Compare(stream.substr(0, size));
      Compare(Framed(size, stream));
      Compare(Framed(1, "N" + Framed(size, stream)));
      Compare(Framed(stream.size(), stream).substr(0, size));
    }
  }
}

// The numbers of MEMOIZE count what was stored, and a slot may be written again.
TEST(GlobalsScan, KeepsTheMemo) {
  const std::string os = Str("os");
  const std::string path = Str("path");
  EXPECT_EQ(Compare(os + "q\0"s + path + "q\0\x94h\0h\1\x93."s), Way::kScan);
  EXPECT_EQ(Compare(os + "q\1"s + path + "\x94h\0h\1\x93."s), Way::kMachine);
  EXPECT_EQ(Compare(os + "\x94r\0\0\0\0j\0\0\0\0\x93."s), Way::kScan);
  std::string many;
  for (int i = 0; i < 5000; ++i) many += "N\x94";
  EXPECT_EQ(Compare(many + os + "\x94" + path + "\x94j\x88\x13\0\0j\x89\x13\0\0\x93."s),
            Way::kScan);
}

// The stack moves when it grows, marks and all, and a thread has memory of its own.
TEST(GlobalsScan, GrowsItsMemory) {
  std::string deep;
  for (int i = 0; i < 100000; ++i) deep += "(N";
  for (int i = 0; i < 99999; ++i) deep += "t";
  EXPECT_EQ(Compare(deep + "t."), Way::kScan);
  EXPECT_EQ(Compare(deep + "tt."), Way::kMachine);
  std::thread([&] { EXPECT_EQ(Compare(deep + "t."), Way::kScan); }).join();
  EXPECT_EQ(Compare("cos\nsystem\n."), Way::kScan);
}

// What the scan is sure of never reaches the machine's bound of comparisons.
TEST(GlobalsScan, CheapKeysStayWithinTheBound) {
  // Dicts of 8 keys of 255 bytes, without a table, in which each is set again by an equal one.
  std::string stream;
  for (int i = 0; i < 8; ++i) {
    std::string text(255, 'a');
    text[0] = static_cast<char>('a' + i);
    stream += Str(text) + "\x94";
  }
  for (int i = 0; i < 8; ++i) {
    std::string text(255, 'a');
    text[0] = static_cast<char>('a' + i);
    stream += Str(text) + "\x94";
  }
  stream += "]";
  for (int dict = 0; dict < 3000; ++dict) {
    stream += "}(";
    for (const int first : {0, 8}) {
      for (int i = 0; i < 8; ++i)
        stream += absl::StrCat("h", std::string(1, static_cast<char>(first + i)), "N");
    }
    stream += "ua";
  }
  EXPECT_EQ(Compare(stream + "."), Way::kScan);
}

}  // namespace
}  // namespace pannier::codec

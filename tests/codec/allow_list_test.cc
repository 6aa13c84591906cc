// The gate of names: each door, and the attacks that others' gates let through.
#include "pannier/codec/allow_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pannier/codec/decoder.h"
#include "pannier/codec/extension_registry.h"
#include "pannier/codec/position.h"
#include "pannier/codec/repr.h"

namespace pannier::codec {
namespace {

using ::testing::HasSubstr;
using std::string_literals::operator""s;

StatusOr<Document> DecodeWith(const std::string& stream, const AllowList& allow,
                              const ExtensionRegistry* extensions = nullptr) {
  DecodeOptions options;
  options.allow = &allow;
  options.extensions = extensions;
  options.stream_owner = Buffer::CopyOf(AsBytes(stream));
  return Decode(options.stream_owner.span(), options);
}

// The name that a stream is refused for; "" if for none, "ok" if it is not refused.
std::string RefusedFor(const std::string& stream, const AllowList& allow,
                       const ExtensionRegistry* extensions = nullptr) {
  const auto document = DecodeWith(stream, allow, extensions);
  if (document.ok()) return "ok";
  EXPECT_EQ(KindOf(document.status()), ErrorKind::kForbiddenGlobal) << document.status();
  EXPECT_TRUE(PositionOf(document.status()).has_value()) << document.status();
  const auto name = ForbiddenNameOf(document.status());
  return name ? name->module + " " + name->name : "";
}

TEST(AllowList, IsExact) {
  AllowList list{{"m", "A"}};
  list.Add("m", "A").Add("m", "A.B");
  EXPECT_EQ(list.size(), 2u);
  EXPECT_TRUE(list.Allows("m", "A"));
  EXPECT_TRUE(list.Allows("m", "A.B"));
  EXPECT_FALSE(list.Allows("m", "A.C"));
  EXPECT_FALSE(list.Allows("m", "B"));
  EXPECT_FALSE(list.Allows("m", ""));
  EXPECT_FALSE(list.Allows("m.A", "B"));
  EXPECT_FALSE(list.Allows("", "m.A"));
}

// The manual's restricted unpickler.
TEST(RestrictedUnpickler, TakesFewBuiltinsAlone) {
  const AllowList safe{{"builtins", "range"},
                       {"builtins", "complex"},
                       {"builtins", "set"},
                       {"builtins", "frozenset"},
                       {"builtins", "slice"}};
  const auto loaded = DecodeWith(
      "\x80\3]q\0(K\1K\2cbuiltins\nrange\nq\1K\0K\17K\1\x87q\2Rq\3"
      "e."s,
      safe);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(Repr(loaded->root()), "[1, 2, Reduce(Global('builtins', 'range'), (0, 15, 1))]");

  const auto system = DecodeWith("cos\nsystem\n(S'echo hello world'\ntR.", safe);
  EXPECT_THAT(std::string(system.status().message()),
              HasSubstr("byte 0, GLOBAL: global 'os.system' is forbidden"));
  EXPECT_EQ(ForbiddenNameOf(system.status())->module, "os");
  EXPECT_EQ(ForbiddenNameOf(system.status())->name, "system");
  EXPECT_EQ(PositionOf(system.status())->offset, 0u);
  EXPECT_EQ(RefusedFor("cbuiltins\neval\n(S'getattr(__import__(\"os\"), \"system\")(\"echo hello "
                       "world\")'\ntR.",
                       safe),
            "builtins eval");
}

struct Door {
  std::string stream;
  std::string refused;
};
void PrintTo(const Door& door, std::ostream* out) { *out << ::testing::PrintToString(door.stream); }
class Doors : public ::testing::TestWithParam<Door> {};

TEST_P(Doors, AreShut) {
  const AllowList allow{{"m", "f"}, {"builtins", "getattr"}, {"pathlib", "Path"}};
  EXPECT_EQ(RefusedFor(GetParam().stream, allow), GetParam().refused);
}

INSTANTIATE_TEST_SUITE_P(
    Names, Doors,
    ::testing::Values(
        Door{"cm\nf\n.", "ok"}, Door{"cos\nsystem\n.", "os system"},
        Door{"\x8c\x02os\x8c\x06system\x93.", "os system"}, Door{"(ios\nsystem\n.", "os system"},
        // Nothing of it is in the result.
        Door{"cos\nsystem\n0N.", "os system"}, Door{"(ios\nsystem\n0N.", "os system"},
        Door{"(cos\nsystem\n1N.", "os system"},
        // The names of Python 2, as they are looked up.
        Door{"c__builtin__\neval\n.", "builtins eval"}, Door{"ccopy_reg\nf\n.", "copyreg f"},
        // An attribute of what is allowed, or of its module.
        Door{"\x8c\x07pathlib\x8c\x09os.system\x93.", "pathlib os.system"},
        Door{"\x8c\x07pathlib\x8c\x11Path.__subclasses\x93.", "pathlib Path.__subclasses"},
        Door{"\x8c\x07pathlib\x8c\x02os\x93.", "pathlib os"},
        // The strings come through the memo, in mixed numbering: MEMOIZE counts entries.
        Door{"\x8c\x02os\x94\x8c\x06systemq\x05\x8c\x01xr\x02\0\0\0"
             "000h\0h\5\x93."s,
             "os system"},
        Door{"\x8c\x01m\x94\x8c\x01"
             "f\x94\x8c\x02os\x8c\x06system\x94"
             "0q\0"
             "00h\0h\2\x93."s,
             "os system"}));

INSTANTIATE_TEST_SUITE_P(
    Calls, Doors,
    ::testing::Values(
        Door{"cm\nf\n)R.", "ok"}, Door{"cm\nf\n)\x81.", "ok"}, Door{"cm\nf\n)}\x92.", "ok"},
        Door{"(cm\nf\no.", "ok"}, Door{"(im\nf\n.", "ok"},
        // What a call returned: getattr is allowed, and what it finds may not be called.
        Door{"cbuiltins\ngetattr\ncm\nf\nVx\n\x86R)R.", ""},
        Door{"cbuiltins\ngetattr\ncm\nf\nVx\n\x86R)\x81.", ""},
        Door{"cbuiltins\ngetattr\ncm\nf\nVx\n\x86R)}\x92.", ""},
        Door{"(cbuiltins\ngetattr\ncm\nf\nVx\n\x86Ro.", ""}, Door{"cm\nf\n)R)R0N.", ""},
        // What a persistent id stands for.
        Door{"Pid\n)R.", ""}, Door{"Vid\nQ.", "ok"}));

INSTANTIATE_TEST_SUITE_P(
    Changes, Doors,
    ::testing::Values(
        // BUILD sets attributes; of an instance it may, of what is named it may not.
        Door{"cm\nf\n)R}b.", "ok"}, Door{"cm\nf\n}Vx\nNsb.", "m f"},
        Door{"cm\nf\nq\0"
             "0h\0}b0N."s,
             "m f"},
        Door{"cm\nf\nNa.", "m f"}, Door{"cm\nf\nNNs.", "m f"}, Door{"cm\nf\n(N\x90.", "m f"},
        Door{"cm\nf\n(Ne.", "m f"},
        // A state setter is a call, and what it sets must not be a name.
        Door{"cm\nf\n)Rcm\nf\n2N\x86R0.", "m f"}, Door{"cm\nf\n)Rcos\nset\nN\x86R0.", "os set"}));

// Nothing is allocated for an argument, whoever is called with it, and nothing is run.
TEST(Attacks, ArgumentsThatAllocateAreInert) {
  const auto document =
      DecodeWith("cbuiltins\nbytearray\n\x8a\x05\0\xe4\x0b\x54\x02\x85R."s, AllowList::SafeSet());
  ASSERT_TRUE(document.ok()) << document.status();
  EXPECT_EQ(Repr(document->root()), "Reduce(Global('builtins', 'bytearray'), (10000000000,))");
  EXPECT_LT(document->capacity(), 100'000u);
}

TEST(Attacks, NestedLoadersAreRefused) {
  const AllowList safe = AllowList::SafeSet();
  EXPECT_EQ(RefusedFor("cpickle\nloads\nC\x02N.\x85R.", safe), "pickle loads");
  EXPECT_EQ(RefusedFor("c_pickle\nloads\nC\x02N.\x85R.", safe), "_pickle loads");
  EXPECT_EQ(RefusedFor("ctorch.storage\n_load_from_bytes\nC\x02N.\x85R.", safe),
            "torch.storage _load_from_bytes");
  EXPECT_EQ(RefusedFor("cnumpy\nload\nVx\n\x85R.", safe), "numpy load");
  EXPECT_EQ(RefusedFor("cbuiltins\ngetattr\n.", safe), "builtins getattr");
}

TEST(Attacks, ExtensionCodesAreNames) {
  const AllowList allow{{"m", "f"}};
  for (const std::string& opcode : {"\x82\x05"s, "\x83\x05\0"s, "\x84\x05\0\0\0"s}) {
    EXPECT_EQ(RefusedFor(opcode + ".", allow), "");  // no registry: it may stand for anything
    ExtensionRegistry extensions;
    ASSERT_TRUE(extensions.Add("os", "system", 5).ok());
    EXPECT_EQ(RefusedFor(opcode + ".", allow, &extensions), "os system");
    EXPECT_EQ(RefusedFor(opcode + ")R0N.", allow, &extensions), "os system");
    ASSERT_TRUE(extensions.Remove("os", "system", 5).ok());
    ASSERT_TRUE(extensions.Add("m", "f", 5).ok());
    EXPECT_EQ(RefusedFor(opcode + ")R.", allow, &extensions), "ok");
  }
}

// A name that an earlier pickle memoised, under no list or another, is looked at where it is
// called.
TEST(AllowList, HoldsForWhatEarlierPicklesMemoised) {
  const std::string first = "cos\nsystem\nq\0."s;
  const std::string second = "h\0)R."s;
  const AllowList allow{{"m", "f"}};
  Decoder decoder;
  Document document;
  ASSERT_TRUE(decoder.Decode(AsBytes(first), {}, &document).ok());
  DecodeOptions options;
  options.allow = &allow;
  const auto result = decoder.DecodeNext(AsBytes(second), options, &document);
  ASSERT_EQ(KindOf(result.status()), ErrorKind::kForbiddenGlobal);
  EXPECT_EQ(PositionOf(result.status())->offset, 3u);
}

TEST(AllowList, HoldsForWhatPersistentLoadReturns) {
  const AllowList allow{{"m", "f"}};
  DecodeOptions options;
  options.allow = &allow;
  options.persistent_load = [](const Value& id, Document& document) -> StatusOr<Value> {
    return document.NewGlobal("m", id.text());
  };
  EXPECT_TRUE(Decode(AsBytes("Pf\n)R."), options).ok());
  EXPECT_EQ(ForbiddenNameOf(Decode(AsBytes("Pg\n)R."), options).status())->name, "g");
}

TEST(SafeSet, IsData) {
  const AllowList safe = AllowList::SafeSet();
  for (const auto& [module, name] :
       std::initializer_list<AllowList::Name>{{"builtins", "set"},
                                              {"datetime", "timezone"},
                                              {"numpy", "dtype"},
                                              {"numpy.core.multiarray", "_reconstruct"},
                                              {"numpy._core.numeric", "_frombuffer"},
                                              {"collections", "deque"},
                                              {"uuid", "UUID"}}) {
    EXPECT_TRUE(safe.Allows(module, name)) << module << "." << name;
  }
  for (const auto& [module, name] :
       std::initializer_list<AllowList::Name>{{"builtins", "getattr"},
                                              {"builtins", "eval"},
                                              {"builtins", "type"},
                                              {"builtins", "open"},
                                              {"copyreg", "_reconstructor"},
                                              {"functools", "partial"},
                                              {"operator", "attrgetter"},
                                              {"types", "CodeType"},
                                              {"numpy", "memmap"}}) {
    EXPECT_FALSE(safe.Allows(module, name)) << module << "." << name;
  }
  EXPECT_EQ(RefusedFor("c__builtin__\nset\n(lq\0\x85R."s, safe), "ok");  // as protocol 2 has it
}

}  // namespace
}  // namespace pannier::codec

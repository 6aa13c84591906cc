// What the decoder takes and what it refuses, opcode by opcode.
#include "pannier/codec/decoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "pannier/codec/position.h"
#include "pannier/codec/repr.h"

namespace pannier::codec {
namespace {

using ::testing::HasSubstr;
using std::string_literals::operator""s;
using std::string_view_literals::operator""sv;

std::string Shown(const std::string& stream, const DecodeOptions& options = {}) {
  const auto document = Decode(AsBytes(stream), options);
  if (!document.ok()) return std::string(document.status().message());
  return Repr(document->root());
}

struct Case {
  std::string stream;
  std::string result;  // the repr, or a part of the error
};

void PrintTo(const Case& c, std::ostream* out) { *out << ::testing::PrintToString(c.stream); }

class Accepts : public ::testing::TestWithParam<Case> {};
TEST_P(Accepts, Stream) { EXPECT_EQ(Shown(GetParam().stream), GetParam().result); }

INSTANTIATE_TEST_SUITE_P(
    Scalars, Accepts,
    ::testing::Values(
        Case{"N.", "None"}, Case{"I00\n.", "False"}, Case{"I01\n.", "True"}, Case{"I1\n.", "1"},
        Case{"I 1\n.", "True"}, Case{"I+1\n.", "True"}, Case{"I0x1f\n.", "31"},
        Case{"I1_000\n.", "1000"}, Case{"I010\n.", "8"}, Case{"I12\0rest\n."s, "12"},
        Case{"I99999999999999999999\n.", "99999999999999999999"},
        Case{"I-9223372036854775808\n.", "-9223372036854775808"}, Case{"L12\n.", "12"},
        Case{"L12L\n.", "12"}, Case{"L-0x10L\n.", "-16"}, Case{"F1.5\n.", "1.5"},
        Case{"F+1e3\n.", "1000.0"}, Case{"F-Infinity\n.", "-inf"}, Case{"FNAN\n.", "nan"},
        Case{"F1e-400\n.", "0.0"}, Case{"K\xff.", "255"}, Case{"M\xff\xff.", "65535"},
        Case{"J\xff\xff\xff\xff.", "-1"}, Case{"\x8a\x00."s, "0"}, Case{"\x8a\x01\xff.", "-1"},
        Case{"\x8a\x09\x05\0\0\0\0\0\0\0\0."s, "5"},
        Case{"\x8b\x09\0\0\0\0\0\0\0\0\0\0\x80\0."s, "9223372036854775808"},
        Case{"G\x3f\xf8\0\0\0\0\0\0."s, "1.5"}, Case{"\x88.", "True"}, Case{"\x89.", "False"}));

INSTANTIATE_TEST_SUITE_P(
    Texts, Accepts,
    ::testing::Values(
        Case{"Vabc\n.", "'abc'"}, Case{"V\\u20ac\\U0001f600\n.", "'\u20ac\U0001f600'"},
        Case{"V\xe9\n.", "'\u00e9'"}, Case{"V\\\\u0041\n.", "'\\\\\\\\u0041'"},
        Case{"V\\ud83d\\ude00\n.", "'\\ud83d\\ude00'"}, Case{"V\n.", "''"},
        Case{"X\x03\0\0\0\xed\xa0\x80."s, "'\\ud800'"}, Case{"\x8c\x02\xc3\xa9.", "'\u00e9'"},
        Case{"\x8d\x01\0\0\0\0\0\0\0q."s, "'q'"}, Case{"S'a\\x41\\n\\101\\q'\n.", "'aA\\nA\\\\q'"},
        Case{"S\"it's\"\n.", "\"it's\""}, Case{"U\x01z.", "'z'"}, Case{"T\x01\0\0\0z."s, "'z'"},
        Case{"C\x01\xff.", "b'\\xff'"}, Case{"B\x01\0\0\0z."s, "b'z'"},
        Case{"\x8e\x01\0\0\0\0\0\0\0z."s, "b'z'"},
        Case{"\x96\x01\0\0\0\0\0\0\0z."s, "bytearray(b'z')"}));

INSTANTIATE_TEST_SUITE_P(
    Containers, Accepts,
    ::testing::Values(Case{"(t.", "()"}, Case{").", "()"}, Case{"K\1\x85.", "(1,)"},
                      Case{"(K\1K\2t.", "(1, 2)"}, Case{"K\1K\2K\3\x87.", "(1, 2, 3)"},
                      Case{"(l.", "[]"}, Case{"(K\1K\2l.", "[1, 2]"},
                      Case{"](K\1K\2e(e.", "[1, 2]"}, Case{"(d.", "{}"},
                      Case{"(K\1K\2d.", "{1: 2}"}, Case{"}(K\1K\2u(u.", "{1: 2}"},
                      Case{"\x8f(K\1K\1K\2\x90.", "{1, 2}"}, Case{"\x8f.", "set()"},
                      Case{"(K\1K\1\x91.", "frozenset({1})"}, Case{"(\x91.", "frozenset()"},
                      Case{"]\x94h\0a."s, "[[...]]"}, Case{"]K\1aK\0K\7s."s, "[7]"},
                      Case{"]K\1aJ\xff\xff\xff\xffK\7s.", "[7]"}, Case{"]Nb.", "[]"},
                      Case{"](N}tb.", "[]"},
                      // An equal key keeps its first form and takes the last value.
                      Case{"}(K\1Va\nG\x3f\xf0\0\0\0\0\0\0Vb\n\x88Vc\nu."s, "{1: 'c'}"},
                      Case{"}((K\1t(\x88tu.", "{(1,): (True,)}"},
                      Case{"}(K\1\x85K\1\x88\x85K\2u.", "{(1,): 2}"}));

INSTANTIATE_TEST_SUITE_P(
    Machine, Accepts,
    ::testing::Values(Case{"K\1.left over", "1"}, Case{"NK\1.", "1"}, Case{"(K\1.", "1"},
                      Case{"K\1K\0000."s, "1"}, Case{"K\1(0.", "1"}, Case{"K\1(K\2K\0031."s, "1"},
                      Case{"]2K\1a.", "[1]"},
                      Case{"Vx\nq\5Vy\nq\5"
                           "00h\5."s,
                           "'y'"},
                      Case{"Vx\np7\ng7\n.", "'x'"},
                      Case{"Vx\nr\xff\xff\xff\x7fj\xff\xff\xff\x7f.", "'x'"},
                      Case{"Vx\np9223372036854775807\ng9223372036854775807\n.", "'x'"},
                      // MEMOIZE numbers by the entries there are.
                      Case{"Vx\nq\5\x94h\1."s, "'x'"}, Case{"\x80\5N.", "None"},
                      Case{"N\x80\2.", "None"}, Case{"\x80\4\x95\3\0\0\0\0\0\0\0K\1.rest"s, "1"},
                      Case{"\x80\4\x95\2\0\0\0\0\0\0\0K\1\x95\1\0\0\0\0\0\0\0."s, "1"},
                      Case{"\x95\0\0\0\0\0\0\0\0N."s, "None"}));

INSTANTIATE_TEST_SUITE_P(
    Objects, Accepts,
    ::testing::Values(
        Case{"cos\nsystem\n.", "Global('os', 'system')"},
        Case{"\x80\4Vos\nVpath.join\n\x93.", "Global('os', 'path.join')"},
        Case{"cm\nf\n(K\1tR.", "Reduce(Global('m', 'f'), (1,))"},
        Case{"cm\nf\n)RK\1b.", "Reduce(Global('m', 'f'), ()).state(1)"}, Case{"\x88Nb.", "True"},
        Case{"\x88N}\x86"
             "b.",
             "True"},
        Case{"cm\nC\n)\x81}b.", "NewObj(Global('m', 'C'), ()).state({})"},
        Case{"cm\nC\n)}\x92.", "NewObjEx(Global('m', 'C'), (), {})"},
        Case{"(K\1im\nC\n.", "Instance(Global('m', 'C'), (1,))"},
        Case{"(cm\nC\nK\1o.", "Instance(Global('m', 'C'), (1,))"},
        Case{"cm\nf\n)R(K\1K\2eK\3a.", "Reduce(Global('m', 'f'), ()).append(1, 2, 3)"},
        Case{"cm\nf\n)R(K\1K\2uNb.", "Reduce(Global('m', 'f'), ()).setitem({1: 2}).state(None)"},
        Case{"cm\nf\n)R(K\1\x90.", "Reduce(Global('m', 'f'), ()).add(1)"},
        Case{"cm\nf\n)Rq\0cm\nset\nh\0K\1\x86R0."s,
             "Reduce(Global('m', 'f'), ()).setter(Global('m', 'set'), 1)"},
        Case{"cm\nf\nN b."s.replace(6, 1, ""), "Global('m', 'f').state(None)"},
        Case{"Pid\n.", "Persistent('id')"}, Case{"K\1Q.", "Persistent(1)"},
        Case{"\x82\7.", "Extension(7)"}, Case{"\x83\1\1.", "Extension(257)"},
        Case{"\x84\1\0\0\1."s, "Extension(16777217)"},
        Case{"cm\nf\n)R)R.", "Reduce(Reduce(Global('m', 'f'), ()), ())"},
        Case{"c__builtin__\nxrange\n.", "Global('builtins', 'range')"},
        Case{"ccopy_reg\n_reconstructor\n.", "Global('copyreg', '_reconstructor')"},
        Case{"\x80\3c__builtin__\nxrange\n.", "Global('__builtin__', 'xrange')"}));

class Refuses : public ::testing::TestWithParam<Case> {};
TEST_P(Refuses, Stream) {
  const auto document = Decode(AsBytes(GetParam().stream));
  ASSERT_FALSE(document.ok()) << Repr(document->root());
  EXPECT_EQ(KindOf(document.status()), ErrorKind::kUnpickling);
  EXPECT_THAT(std::string(document.status().message()), HasSubstr(GetParam().result));
}

INSTANTIATE_TEST_SUITE_P(
    Streams, Refuses,
    ::testing::Values(
        Case{"", "byte 0: the stream ends without STOP"}, Case{"N", "byte 1: the stream ends"},
        Case{"\x80\6N.", "byte 0, PROTO: unsupported pickle protocol: 6"},
        Case{"N!", "byte 1: 0x21 is no opcode"}, Case{"\xff.", "0xff is no opcode"},
        Case{".", "too few values"}, Case{"K\1(.", "byte 3, STOP: a mark lies"},
        Case{"K", "byte 0, BININT1: the stream ends inside"},
        Case{"\x80\4\x95\x09\0\0\0\0\0\0\0N."s, "FRAME: a frame of 9 bytes, but 2 are left"},
        Case{"\x95\xff\xff\xff\xff\xff\xff\xff\x7fN."s, "a frame of 9223372036854775807"},
        Case{"\x95\2\0\0\0\0\0\0\0M\1\2."s, "BININT2: the frame ends inside this opcode"},
        Case{"\x95\1\0\0\0\0\0\0\0K\1."s, "BININT1: the frame ends inside this opcode"},
        Case{"\x95\x0b\0\0\0\0\0\0\0\x95\1\0\0\0\0\0\0\0N."s, "a frame begins inside another"}));

INSTANTIATE_TEST_SUITE_P(
    Arguments, Refuses,
    ::testing::Values(
        Case{"I\n.", "INT: no digits"}, Case{"I08\n.", "not an integer"},
        Case{"Iabc\n.", "not an integer"}, Case{"I1__0\n.", "not an integer"},
        Case{"L01L\n.", "not an integer"}, Case{"L\n.", "no digits"},
        Case{"I" + std::string(4301, '9') + "\n.", "longer than 4300 digits"},
        Case{"F\n.", "FLOAT"}, Case{"F 1.0\n.", "not a float"}, Case{"F1e400\n.", "out of range"},
        Case{"F0x1p3\n.", "not a float"}, Case{"F1_0\n.", "not a float"},
        Case{"Sabc\n.", "not quoted"}, Case{"S'abc\n.", "not quoted"},
        Case{"S'\\x4'\n.", "invalid \\x escape"}, Case{"S'\\'\n.", "a backslash ends"},
        Case{"S'\xe9'\n.", "not ASCII"}, Case{"U\1\xe9.", "not ASCII"},
        Case{"V\\u12\n.", "truncated \\uXXXX"}, Case{"V\\U00110000\n.", "past 0x10ffff"},
        Case{"X\1\0\0\0\xff."s, "invalid UTF-8 at byte 0"},
        Case{"\x8c\2\xc0\x80.", "invalid UTF-8"}, Case{"T\xff\xff\xff\xff.", "negative length"},
        Case{"\x8b\xff\xff\xff\xff.", "negative length"}, Case{"K\1p-1\n.", "negative memo index"},
        Case{"K\1px\n.", "not a memo index"}, Case{"g-1\n.", "never written"},
        Case{"g0\n.", "never written"},
        Case{"h\1.", "byte 0, BINGET: memo index 1 was never written"},
        Case{"j\xff\xff\xff\xff.", "memo index 4294967295"},
        Case{"\x82\0."s, "EXT1: extension code 0"},
        Case{"\x84\xff\xff\xff\xff.", "extension code -1"}, Case{"P\xe9\n.", "must be ASCII"},
        Case{"c\nx\n.", "an empty name"}, Case{"cx\n\n.", "an empty name"},
        Case{"c\xff\nx\n.", "not UTF-8"}, Case{"(i\xc3\xa9\nx\n.", "not ASCII"}));

INSTANTIATE_TEST_SUITE_P(
    Values, Refuses,
    ::testing::Values(
        Case{"a.", "too few values"}, Case{"K\1a.", "too few values"},
        Case{"K\1K\2a.", "of type int, not a list"}, Case{")K\1a.", "of type tuple"},
        Case{"(e.", "too few values"}, Case{"e.", "no mark"}, Case{"]((e.", "a mark lies"},
        Case{"}K\1(K\2K\3u.", "of type int, not a dict"},
        Case{"}(K\1u.", "SETITEMS: an odd number"}, Case{"(K\1d.", "DICT: an odd number"},
        Case{"}]K\1s.", "SETITEM: unhashable type: list"},
        Case{"}(]K\1d.", "unhashable type: list"}, Case{"(](t\x91.", "unhashable type: list"},
        Case{"}]\x85K\1s.", "unhashable type: list"}, Case{"\x8f(]\x90.", "unhashable type: list"},
        Case{"\x8f(\x96\0\0\0\0\0\0\0\0\x90."s, "bytearray"},
        Case{"](K\1\x90.", "of type list, not a set"}, Case{"\x85.", "too few"},
        Case{"N\x86.", "too few"}, Case{"(N\x86.", "a mark lies"}, Case{"t.", "no mark"},
        Case{"1.", "no mark"}, Case{"0.", "too few"}, Case{"2.", "too few"},
        Case{"\x94.", "too few"}, Case{"q\0."s, "too few"}, Case{"R.", "too few"},
        Case{"cm\nf\nNR.", "REDUCE: the argument list is of type None, not a tuple"},
        Case{"K\1)R.", "what is called is of type int"},
        Case{"K\1)\x81.", "the class is of type int"}, Case{"cm\nf\n]\x81.", "the argument list"},
        Case{"cm\nf\n)]\x92.", "keyword arguments is of type list"},
        Case{"cm\nf\n\x93.", "too few"}, Case{"K\1K\2\x93.", "needs two str"},
        Case{"(o.", "too few values"}, Case{"(K\1o.", "the class is of type int"},
        Case{"]}b.", "BUILD: what takes a state is of type list"},
        Case{"\x88NN\x86"
             "b.",
             "BUILD: what takes a state is of type bool"},
        Case{"b.", "too few"}, Case{"]K\1aK\1K\2s.", "list index 1 out of range"},
        Case{"]K\1aVx\nK\2s.", "a list index is of type str"},
        Case{"\x97.", "NEXT_BUFFER: the stream refers to out-of-band buffers, but none"},
        Case{"K\1\x98.", "READONLY_BUFFER: what becomes read-only is of type int"}));

TEST(Decoder, BuffersAreTakenInOrder) {
  const std::vector<Buffer> buffers = {Buffer::CopyOf(AsBytes("ab")),
                                       Buffer::CopyOf(AsBytes("c")).AsReadonly()};
  DecodeOptions options;
  options.buffers = buffers;
  Decoder decoder;
  Document document;
  const auto result =
      decoder.Decode(AsBytes("](\x97\x98\x97\x98\x97"sv).first(0), options, &document);
  EXPECT_FALSE(result.ok());
  const std::string stream = "](\x97\x97\x98\x97";
  EXPECT_THAT(Shown(stream + "e.", options), HasSubstr("only 2 were given"));
  const auto used = decoder.Decode(AsBytes("](\x97\x97\x98"
                                           "e."),
                                   options, &document);
  ASSERT_TRUE(used.ok()) << used.status();
  EXPECT_EQ(used->buffers_used, 2u);
  const std::span<const Value> items = document.root().items();
  EXPECT_EQ(document.buffer(items[0]).data(), buffers[0].data());
  EXPECT_FALSE(document.buffer(items[0]).readonly());
  EXPECT_EQ(document.buffer(items[1]).data(), buffers[1].data());
  EXPECT_TRUE(document.buffer(items[1]).readonly());
  EXPECT_FALSE(items[1].buffer_readonly_view());  // it was so already
}

TEST(Decoder, ReadonlyViewsAreNewObjects) {
  const std::vector<Buffer> buffers = {Buffer::CopyOf(AsBytes("ab"))};
  DecodeOptions options;
  options.buffers = buffers;
  const auto document = Decode(AsBytes("\x97\x94\x98\x94h\0h\1\x87."sv), options);
  ASSERT_TRUE(document.ok()) << document.status();
  const std::span<const Value> items = document->root().items();
  EXPECT_TRUE(document->buffer(items[0]).readonly());
  EXPECT_FALSE(document->buffer(items[1]).readonly());
  EXPECT_TRUE(Is(items[0], items[2]));
  EXPECT_FALSE(Is(items[0], items[1]));
  EXPECT_EQ(document->buffer(items[0]).data(), buffers[0].data());
}

TEST(Decoder, Python2StringsByEncoding) {
  const std::string stream = "U\3a\xc3\xa9.";
  DecodeOptions options;
  EXPECT_THAT(Shown(stream, options), HasSubstr("not ASCII"));
  options.encoding = Str8Encoding::kLatin1;
  EXPECT_EQ(Shown(stream, options), "'a\u00c3\u00a9'");
  options.encoding = Str8Encoding::kUtf8;
  EXPECT_EQ(Shown(stream, options), "'a\u00e9'");
  options.encoding = Str8Encoding::kBytes;
  EXPECT_EQ(Shown(stream, options), "b'a\\xc3\\xa9'");
  options.encoding = Str8Encoding::kKeep;
  EXPECT_EQ(Shown(stream, options), "str8(b'a\\xc3\\xa9')");
  options.encoding = Str8Encoding::kAscii;
  options.errors = Str8Errors::kIgnore;
  EXPECT_EQ(Shown(stream, options), "'a'");
  options.errors = Str8Errors::kReplace;
  EXPECT_EQ(Shown(stream, options), "'a\ufffd\ufffd'");
  options.errors = Str8Errors::kSurrogateEscape;
  EXPECT_EQ(Shown(stream, options), "'a\\udcc3\\udca9'");
  options.encoding = Str8Encoding::kUtf8;
  options.errors = Str8Errors::kReplace;
  // As Python: one for each longest piece that could have begun a character.
  EXPECT_EQ(Shown("U\6\xe2\x82z\xff\xf0\x9f.", options), "'\ufffdz\ufffd\ufffd'");
}

TEST(Decoder, NamesMayStayThoseOfPython2) {
  DecodeOptions options;
  options.fix_imports = false;
  EXPECT_EQ(Shown("c__builtin__\nxrange\n.", options), "Global('__builtin__', 'xrange')");
}

TEST(Decoder, SharingIsKeptThroughCallsAndStates) {
  const auto document = Decode(AsBytes("]q\0cm\nf\nh\0\x85Rq\1}Vs\nh\1sbh\0\x86."sv));
  ASSERT_TRUE(document.ok()) << document.status();
  const Value object = document->root().items()[0];
  const Value list = document->root().items()[1];
  EXPECT_TRUE(Is(object.args().items()[0], list));
  ASSERT_NE(object.state(), nullptr);
  const Value* self = object.state()->Find("s");
  ASSERT_NE(self, nullptr);
  EXPECT_TRUE(Is(*self, object));
}

TEST(Decoder, EqualGlobalsAreOneObject) {
  const auto document = Decode(AsBytes("cm\nf\nVm\nVf\n\x93\x86."));
  ASSERT_TRUE(document.ok());
  EXPECT_TRUE(Is(document->root().items()[0], document->root().items()[1]));
}

TEST(Decoder, TextsLieInTheStream) {
  const std::string stream = "\x8c\3abc.";
  const auto document = Decode(AsBytes(stream));
  ASSERT_TRUE(document.ok());
  EXPECT_EQ(document->root().text().data(), stream.data() + 2);
}

TEST(Decoder, TheOwnerOfTheStreamIsHeld) {
  Document document;
  {
    const Buffer stream = Buffer::CopyOf(AsBytes("\x8c\3abc."));
    DecodeOptions options;
    options.stream_owner = stream;
    ASSERT_TRUE(Decoder().Decode(stream.span(), options, &document).ok());
    EXPECT_GT(stream.owner()->refs(), 1u);
  }
  EXPECT_EQ(document.root().text(), "abc");
}

TEST(Decoder, ADocumentIsUsedAgain) {
  Decoder decoder;
  Document document;
  ASSERT_TRUE(decoder.Decode(AsBytes("](K\1K\2\x8c\1xe."), {}, &document).ok());
  const size_t capacity = document.capacity();
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(decoder.Decode(AsBytes("](K\1K\2\x8c\1xe."), {}, &document).ok());
  }
  EXPECT_EQ(document.capacity(), capacity);
  EXPECT_EQ(Repr(document.root()), "[1, 2, 'x']");
  EXPECT_FALSE(decoder.Decode(AsBytes("h\0."sv), {}, &document).ok());  // the memo is new each time
  EXPECT_TRUE(document.root().is_none());
}

TEST(Decoder, APicklerThatDumpedTwice) {
  Decoder decoder;
  Document document;
  const std::string stream = "]\x94K\1a.h\0\x85."s;
  const auto first = decoder.Decode(AsBytes(stream), {}, &document);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->consumed, 6u);
  const Value list = document.root();
  const auto second = decoder.DecodeNext(AsBytes(stream).subspan(first->consumed), {}, &document);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_TRUE(Is(document.root().items()[0], list));
}

TEST(Decoder, EncodingsOfTheCallers) {
  DecodeOptions options;
  options.decode_str8 = [](std::string_view bytes) -> StatusOr<std::string> {
    if (bytes == "bad") return MakeError(ErrorKind::kUnpickling, "no such word");
    if (bytes == "raw") return "\xff";
    return absl::StrCat("<", std::string(bytes), ">");
  };
  // All three opcodes; what is memoised is the text.
  const std::string stream = "(U\1aq\0T\1\0\0\0bS'c'\nh\0t."s;
  const auto document = Decode(AsBytes(stream), options);
  ASSERT_TRUE(document.ok()) << document.status();
  EXPECT_EQ(Repr(document->root()), "('<a>', '<b>', '<c>', '<a>')");
  const auto refused = [&](std::string_view bad) {
    const Status status = Decode(AsBytes(bad), options).status();
    EXPECT_EQ(KindOf(status), ErrorKind::kUnpickling);
    EXPECT_EQ(PositionOf(status)->offset, 1u);
    return std::string(status.message());
  };
  EXPECT_THAT(refused("(U\3bad."), HasSubstr("no such word"));
  EXPECT_THAT(refused("(S'raw'\n."), HasSubstr("not UTF-8"));
}

}  // namespace
}  // namespace pannier::codec

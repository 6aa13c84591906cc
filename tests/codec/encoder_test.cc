#include "pannier/codec/encoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "pannier/codec/compare.h"
#include "pannier/codec/decoder.h"
#include "pannier/codec/repr.h"

namespace pannier::codec {
namespace {

using ::testing::HasSubstr;
using std::string_literals::operator""s;

std::string Written(const Document& document, const Value& value, int protocol = 5) {
  EncodeOptions options;
  options.protocol = protocol;
  const auto encoded = Encode(document, value, options);
  if (!encoded.ok()) return std::string(encoded.status().message());
  return encoded->stream;
}

// Decoded at any protocol, written at another.
std::string Again(const std::string& stream, int protocol) {
  DecodeOptions options;
  options.encoding = Str8Encoding::kKeep;
  const auto document = Decode(AsBytes(stream), options);
  if (!document.ok()) return std::string(document.status().message());
  return Written(*document, document->root(), protocol);
}

TEST(Encoder, SmallFramesHaveNoHeader) {
  Document document;
  EXPECT_EQ(Written(document, Value::None()), "\x80\5N.");
  EXPECT_EQ(Written(document, Value::Int(7)), "\x80\5K\7.");
  EXPECT_EQ(Written(document, Value::Int(300)), "\x80\5\x95\4\0\0\0\0\0\0\0M\x2c\1."s);
  EXPECT_EQ(Written(document, Value::Int(7), 2), "\x80\2K\7.");
  EXPECT_EQ(Written(document, Value::Int(7), 1), "K\7.");
  EXPECT_EQ(Written(document, Value::Int(7), 0), "I7\n.");
}

TEST(Encoder, IdentityDecidesWhatIsSharedNotEquality) {
  Document document;
  const Value a = document.NewStr("a");
  const Value list = document.NewList(std::vector<Value>{a, document.NewStr("a"), a});
  EXPECT_EQ(Written(document, list, 2), "\x80\2]q\0(X\1\0\0\0aq\1X\1\0\0\0aq\2h\1e."s);
}

TEST(Encoder, MemoIndicesGrowPastOneByte) {
  Document document;
  const Value list = document.NewList();
  Value last;
  for (int i = 0; i < 300; ++i) document.Append(list, last = document.NewList());
  document.Append(list, last);
  EXPECT_THAT(Written(document, list, 1), HasSubstr("]r\x2c\1\0\0j\x2c\1\0\0e."s));
  EXPECT_THAT(Written(document, list, 0), HasSubstr("(lp300\nag300\na."));
  const auto decoded = Decode(AsBytes(Written(document, list, 5)));
  ASSERT_TRUE(decoded.ok());
  EXPECT_TRUE(Is(decoded->root().items()[299], decoded->root().items()[300]));
}

TEST(Encoder, BuffersGoWhereTheCallerSays) {
  Document document;
  const Value big = document.NewBuffer(Buffer::CopyOf(AsBytes("big one")));
  const Value small = document.NewBuffer(Buffer::CopyOf(AsBytes("s")).AsReadonly());
  document.set_root(document.NewList(std::vector<Value>{big, small, big}));
  EncodeOptions options;
  options.place_buffer = [](const Buffer& buffer) -> StatusOr<BufferPlace> {
    return buffer.size() > 2 ? BufferPlace::kOutOfBand : BufferPlace::kInBand;
  };
  const auto encoded = Encode(document, options);
  ASSERT_TRUE(encoded.ok()) << encoded.status();
  // Out of band there is no memo: the buffer is given twice.
  EXPECT_THAT(encoded->stream, HasSubstr("(\x97"
                                         "C\1s\x94\x97"
                                         "e."));
  ASSERT_EQ(encoded->buffers.size(), 2u);
  EXPECT_EQ(encoded->buffers[0].data(), document.buffers()[0].data());
  EXPECT_EQ(encoded->buffers[1].data(), document.buffers()[0].data());

  const auto inband = Encode(document);
  ASSERT_TRUE(inband.ok());
  EXPECT_THAT(inband->stream, HasSubstr("\x96\7\0\0\0\0\0\0\0big one\x94"
                                        "C\1s\x94h\1e."s));
  EXPECT_TRUE(inband->buffers.empty());

  const auto all = Encode(document, document.root(), {.place_buffer = OutOfBand});
  ASSERT_TRUE(all.ok());
  EXPECT_THAT(all->stream, HasSubstr("(\x97\x97\x98\x97"
                                     "e."));
  EXPECT_EQ(all->buffers.size(), 3u);

  options.place_buffer = [](const Buffer&) -> StatusOr<BufferPlace> {
    return MakeError(ErrorKind::kPoolExhausted, "no room");
  };
  EXPECT_EQ(KindOf(Encode(document, options).status()), ErrorKind::kPoolExhausted);
  options.protocol = 4;
  EXPECT_EQ(KindOf(Encode(document, options).status()), ErrorKind::kInvalidArgument);
  options.place_buffer = nullptr;
  EXPECT_EQ(KindOf(Encode(document, options).status()), ErrorKind::kPickling);
}

TEST(Encoder, ProtocolsThatDoNotExist) {
  Document document;
  for (const int protocol : {-1, 6}) {
    EXPECT_EQ(KindOf(Encode(document, Value(), {.protocol = protocol}).status()),
              ErrorKind::kInvalidArgument);
  }
}

TEST(Encoder, WhatAnOldProtocolCannotSay) {
  Document document;
  const Value global = document.NewGlobal("m", "f");
  const auto refuses = [&](const Value& value, int protocol, const std::string& what) {
    const auto encoded = Encode(document, value, {.protocol = protocol});
    EXPECT_EQ(KindOf(encoded.status()), ErrorKind::kPickling);
    EXPECT_THAT(std::string(encoded.status().message()), HasSubstr(what));
  };
  refuses(document.NewExtension(1), 1, "protocol 2");
  const Value adds = document.NewReduce(global, document.NewTuple({}));
  document.AddAdds(adds, {&global, 1});
  refuses(adds, 3, "protocol 4");
  refuses(document.NewPersistent(document.NewList()), 0, "neither str nor int");
  refuses(document.NewPersistent(document.NewStr("a\nb")), 0, "one line");
  refuses(document.NewGlobal("m", "a\nb"), 3, "below protocol 4");
  refuses(document.NewGlobal("m", "\u00e9"), 2, "not ASCII");
  refuses(document.NewInstance(adds, document.NewTuple({})), 0, "no global");
  refuses(document.NewInteger(AsBytes(std::string(2000, '\1'))), 1, "4300 digits");
  refuses(document.NewStr("bad \xff utf-8"), 5, "not UTF-8 from byte 4");
  EXPECT_TRUE(Encode(document, document.NewGlobal("m", "\u00e9"), {.protocol = 3}).ok());
}

TEST(Encoder, ValuesOfAnotherDocumentAreRefused) {
  Document small;
  Document large;
  Value list;
  for (int i = 0; i < 100; ++i) list = large.NewList();
  EXPECT_EQ(KindOf(Encode(small, list).status()), ErrorKind::kPickling);
  EXPECT_EQ(KindOf(Encode(small, large.NewStr("x")).status()), ErrorKind::kPickling);
}

TEST(Encoder, FastModeHasNoMemoAndRefusesCycles) {
  Document document;
  const Value inner = document.NewList();
  document.set_root(document.NewTuple({inner, inner}));
  EncodeOptions options;
  options.fast = true;
  EXPECT_EQ(Encode(document, options)->stream, "\x80\5\x95\4\0\0\0\0\0\0\0]]\x86."s);
  document.Append(inner, document.root());
  EXPECT_EQ(KindOf(Encode(document, options).status()), ErrorKind::kPickling);
  const Value dict = document.NewDict();
  document.SetItem(dict, "self", dict);
  EXPECT_EQ(KindOf(Encode(document, dict, options).status()), ErrorKind::kPickling);
  const Value object = document.NewReduce(document.NewGlobal("m", "f"), document.NewTuple({}));
  document.AddState(object, object);
  EXPECT_EQ(KindOf(Encode(document, object, options).status()), ErrorKind::kPickling);
}

TEST(Encoder, BatchesOfObjectsEndWithAppend) {
  // What a reduce tuple's iterators give: a last batch of one is not marked.
  Document document;
  const Value object = document.NewReduce(document.NewGlobal("m", "f"), document.NewTuple({}));
  document.AddAppends(object, std::vector<Value>(1001));
  document.AddSetItems(object, std::vector<Value>(2002));
  const std::string stream = Written(document, object);
  EXPECT_THAT(stream, HasSubstr("NNeNa(NN"));
  EXPECT_THAT(stream, HasSubstr("NNuNNs."));
}

TEST(Encoder, CallsAndStates) {
  EXPECT_EQ(Again("cm\nf\nK\1\x85R}b.", 2), "\x80\2cm\nf\nq\0K\1\x85q\1Rq\2}q\3b."s);
  EXPECT_EQ(Again("cm\nf\n)\x81}b.", 2), "\x80\2cm\nf\nq\0)\x81q\1}q\2b."s);
  EXPECT_EQ(Again("cm\nf\nK\1\x85\x81.", 1), "ccopy_reg\n__newobj__\nq\0(cm\nf\nq\1K\1tq\2Rq\3."s);
  EXPECT_EQ(Again("cm\nf\n)}\x92.", 2),
            "\x80\2"
            "ccopy_reg\n__newobj_ex__\nq\0cm\nf\nq\1)}q\2\x87q\3Rq\4."s);
  EXPECT_EQ(Again("(K\1im\nC\n}b.", 0), "(I1\nim\nC\np0\n(dp1\nb.");
  EXPECT_EQ(Again("(K\1im\nC\n}b.", 1), "(cm\nC\nq\0K\1oq\1}q\2b."s);
  EXPECT_EQ(Again("Pid\n.", 0), "Pid\n.");
  EXPECT_EQ(Again("Pid\n.", 1), "X\2\0\0\0idq\0Q."s);
  EXPECT_EQ(Again("K\1Q.", 0), "P1\n.");
  EXPECT_EQ(Again("\x83\1\1.", 2), "\x80\2\x83\1\1.");
  EXPECT_EQ(Again("\x84\1\0\1\0."s, 2), "\x80\2\x84\1\0\1\0."s);
  EXPECT_EQ(Again("U\2it.", 0), "S'it'\np0\n.");
  EXPECT_EQ(Again("U\2it.", 1), "U\2itq\0."s);
}

TEST(Encoder, StateSettersAreCalled) {
  const std::string stream =
      "\x80\5\x95\x1d\0\0\0\0\0\0\0\x8c\1m\x94\x8c\1f\x94\x93\x94)R\x94h\0\x8c\1s\x94\x93\x94h\3K\1\x86R0."s;
  EXPECT_EQ(absl::BytesToHexString(Again(stream, 5)), absl::BytesToHexString(stream));
}

TEST(Encoder, WhatWasDoneToGlobalsAndExtensionsIsDoneOnce) {
  Document document;
  for (const Value& value : {document.NewGlobal("m", "f"), document.NewExtension(5),
                             document.NewPersistent(Value::Int(1))}) {
    document.AddState(value, Value::None());
    document.set_root(document.NewTuple({value, value}));
    const auto encoded = Encode(document);
    ASSERT_TRUE(encoded.ok());
    const auto again = Decode(AsBytes(encoded->stream));
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_TRUE(Isomorphic(document, *again)) << Repr(again->root());
  }
}

TEST(Encoder, NamesOfPython2) {
  Document document;
  const Value global = document.NewGlobal("builtins", "range");
  EXPECT_EQ(Written(document, global, 2),
            "\x80\2"
            "c__builtin__\nxrange\nq\0."s);
  EXPECT_EQ(Written(document, global, 3),
            "\x80\3"
            "cbuiltins\nrange\nq\0."s);
  EXPECT_EQ(Encode(document, global, {.protocol = 2, .fix_imports = false})->stream,
            "\x80\2"
            "cbuiltins\nrange\nq\0."s);
}

TEST(Encoder, TheDocumentsGlobalsAreUsedForBuiltins) {
  Document document;
  const Value set = document.NewSet();
  document.set_root(document.NewTuple({document.NewGlobal("builtins", "set"), set}));
  EXPECT_EQ(Written(document, document.root(), 3),
            "\x80\3"
            "cbuiltins\nset\nq\0h\0]q\1\x85q\2Rq\3\x86q\4."s);
}

TEST(Encoder, DumpsAgainWithItsMemo) {
  Document document;
  const Value list = document.NewList();
  Encoder encoder;
  Encoded out;
  EncodeOptions options;
  options.protocol = 2;
  ASSERT_TRUE(encoder.Encode(document, list, options, &out).ok());
  const Value pair = document.NewTuple({list, document.NewBytes(AsBytes("b"))});
  ASSERT_TRUE(encoder.EncodeNext(document, pair, options, &out).ok());
  ASSERT_TRUE(encoder.EncodeNext(document, pair, options, &out).ok());
  EXPECT_EQ(out.stream,
            "\x80\2]q\0.\x80\2h\0"
            "c_codecs\nencode\nq\1X\1\0\0\0bq\2X\6\0\0\0latin1q\3\x86q\4Rq\5\x86q\6.\x80\2h\6."s);
  ASSERT_TRUE(encoder.Encode(document, list, options, &out).ok());
  EXPECT_EQ(out.stream, "\x80\2]q\0."s);
}

}  // namespace
}  // namespace pannier::codec

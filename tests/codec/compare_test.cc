#include "pannier/codec/compare.h"

#include <gtest/gtest.h>

#include <set>

#include "pannier/codec/decoder.h"
#include "pannier/codec/opcodes.h"
#include "pannier/codec/repr.h"
#include "pannier/codec/tokenizer.h"

namespace pannier::codec {
namespace {

using std::string_literals::operator""s;

bool EqualStreams(const std::string& a, const std::string& b) {
  const auto left = Decode(AsBytes(a));
  const auto right = Decode(AsBytes(b));
  EXPECT_TRUE(left.ok() && right.ok()) << left.status() << right.status();
  return Equal(*left, *right);
}
bool IsomorphicStreams(const std::string& a, const std::string& b) {
  const auto left = Decode(AsBytes(a));
  const auto right = Decode(AsBytes(b));
  EXPECT_TRUE(left.ok() && right.ok()) << left.status() << right.status();
  return Isomorphic(*left, *right);
}

TEST(Equal, TellsKindsContentsAndOrderApart) {
  EXPECT_TRUE(EqualStreams("](K\1Vx\ne.", "]K\1a\x8c\1xa."));
  EXPECT_FALSE(EqualStreams("K\1.", "\x88."));
  EXPECT_FALSE(EqualStreams("K\0."s, "G\0\0\0\0\0\0\0\0."s));
  EXPECT_FALSE(EqualStreams("G\x80\0\0\0\0\0\0\0."s, "G\0\0\0\0\0\0\0\0."s));
  EXPECT_TRUE(EqualStreams("Fnan\n.", "Fnan\n."));
  EXPECT_FALSE(EqualStreams("Vx\n.", "C\1x."));
  EXPECT_FALSE(EqualStreams("](K\1K\2e.", "]K\1a."));
  EXPECT_FALSE(EqualStreams("(K\1t.", "(K\1l."));
  EXPECT_FALSE(EqualStreams("}(K\1NK\2Nu.", "}(K\2NK\1Nu."));
  EXPECT_FALSE(EqualStreams("cm\nf\n.", "cm\ng\n."));
  EXPECT_FALSE(EqualStreams("cm\nf\n)R.", "cm\nf\n)\x81."));
  EXPECT_FALSE(EqualStreams("cm\nf\n)R.", "cm\nf\n)RNb."));
  EXPECT_FALSE(EqualStreams("cm\nf\n)RNbNb.", "cm\nf\n)RNb."));
  EXPECT_FALSE(EqualStreams("cm\nf\n)RNa.", "cm\nf\n)RNb."));
  EXPECT_TRUE(EqualStreams("cm\nf\n)RNa(NNe.", "cm\nf\n)R(NNeNa."));
  EXPECT_FALSE(EqualStreams("\x82\1.", "\x82\2."));
}

TEST(Equal, UnfoldsSharingAndCycles) {
  EXPECT_TRUE(EqualStreams("](]]e.", "](]2e."));
  // A list in itself, once around and twice around.
  EXPECT_TRUE(EqualStreams("]\x94h\0a."s, "]\x94]h\0aa."s));
  EXPECT_FALSE(EqualStreams("]\x94h\0a."s, "]\x94](h\0Nea."s));
}

TEST(Isomorphic, ComparesSharingToo) {
  EXPECT_FALSE(IsomorphicStreams("](]]e.", "](]2e."));
  EXPECT_FALSE(IsomorphicStreams("](]2e.", "](]]e."));
  EXPECT_TRUE(IsomorphicStreams("](]2e.", "](]\x94h\0e."s));
  EXPECT_FALSE(IsomorphicStreams("]\x94h\0a."s, "]\x94]h\0aa."s));
  EXPECT_TRUE(IsomorphicStreams("()t.", "(()tt."s.substr(0, 0) + "()t."));
}

TEST(Equal, ComparesTheBytesOfBuffers) {
  const auto with = [](const char* bytes, bool readonly) {
    Document document;
    Buffer buffer = Buffer::CopyOf(AsBytes(bytes));
    document.set_root(document.NewBuffer(readonly ? buffer.AsReadonly() : buffer));
    return document;
  };
  EXPECT_TRUE(Equal(with("ab", false), with("ab", false)));
  EXPECT_FALSE(Equal(with("ab", false), with("ac", false)));
  EXPECT_FALSE(Equal(with("ab", false), with("ab", true)));
}

TEST(Repr, IsBounded) {
  Document document;
  const Value text = document.NewStr(std::string(100, 'x') + "\u20ac\u20ac");
  EXPECT_EQ(Repr(text, {10, 0}), "'xxxxxxxxx...");
  EXPECT_EQ(Repr(text, {102, 0}), "'" + std::string(100, 'x') + "...");  // no half character
  EXPECT_EQ(Repr(document.NewList(std::vector<Value>(3)), {0, 0}), "[None, None, None]");
  Value deep = Value::Int(1);
  for (int i = 0; i < 5; ++i) deep = document.NewTuple({deep});
  EXPECT_EQ(Repr(deep, {0, 3}), "((((...),),),)");
  EXPECT_EQ(Repr(deep, {0, 5}), "(((((1,),),),),)");
  EXPECT_EQ(Repr(document.NewInteger(AsBytes(std::string(5000, '\xf0'))), {50, 0}).size(), 53u);
}

TEST(Repr, AgainInsideItselfIsNotShownAgain) {
  const auto shown = [](const std::string& stream) {
    const auto document = Decode(AsBytes(stream));
    return Repr(document->root());
  };
  EXPECT_EQ(shown("]\x94h\0a."s), "[[...]]");
  EXPECT_EQ(shown("}\x94Nh\0s."s), "{None: {...}}");
  EXPECT_EQ(shown("cm\nf\n)R\x94h\0b."s), "Reduce(Global('m', 'f'), ()).state(<...>)");
  EXPECT_EQ(shown("]2\x86."), "([], [])");  // twice, but not inside itself
}

TEST(Opcodes, TheTableIsWhole) {
  std::set<std::string_view> names;
  int by_protocol[6] = {};
  for (int byte = 0; byte < 256; ++byte) {
    const OpcodeInfo& info = InfoOf(static_cast<uint8_t>(byte));
    EXPECT_EQ(static_cast<int>(info.code), byte);
    if (info.name.empty()) continue;
    EXPECT_TRUE(names.insert(info.name).second) << info.name;
    ++by_protocol[info.protocol];
  }
  EXPECT_EQ(names.size(), kOpcodeCount);
  EXPECT_EQ(by_protocol[0], 22);
  EXPECT_EQ(by_protocol[1], 19);
  EXPECT_EQ(by_protocol[2], 12);
  EXPECT_EQ(by_protocol[3], 2);
  EXPECT_EQ(by_protocol[4], 10);
  EXPECT_EQ(by_protocol[5], 3);
}

TEST(Tokenizer, GivesArgumentsAsTheyStand) {
  const std::string stream = "\x80\5K\7cm\nname\n\x8c\2hiJ\xff\xff\xff\xff.rest"s;
  Tokenizer tokenizer(AsBytes(stream));
  Token token;
  ASSERT_TRUE(tokenizer.Next(&token));
  EXPECT_EQ(token.opcode(), Opcode::kProto);
  EXPECT_EQ(token.number, 5u);
  ASSERT_TRUE(tokenizer.Next(&token));
  EXPECT_EQ(token.number, 7u);
  ASSERT_TRUE(tokenizer.Next(&token));
  EXPECT_EQ(token.text, "m");
  EXPECT_EQ(token.text2, "name");
  EXPECT_EQ(token.offset, 4u);
  EXPECT_EQ(token.end, 12u);
  ASSERT_TRUE(tokenizer.Next(&token));
  EXPECT_EQ(token.text, "hi");
  ASSERT_TRUE(tokenizer.Next(&token));
  EXPECT_EQ(static_cast<int64_t>(token.number), -1);
  ASSERT_TRUE(tokenizer.Next(&token));
  EXPECT_EQ(token.opcode(), Opcode::kStop);
  EXPECT_FALSE(tokenizer.Next(&token));
  EXPECT_TRUE(tokenizer.status().ok());
  EXPECT_EQ(tokenizer.offset(), 22u);
}

TEST(Tokenizer, EnforcesFramesOnlyWhenAsked) {
  const std::string stream = "\x95\1\0\0\0\0\0\0\0K\1."s;
  Token token;
  Tokenizer strict(AsBytes(stream));
  EXPECT_TRUE(strict.Next(&token));
  EXPECT_FALSE(strict.Next(&token));
  EXPECT_EQ(KindOf(strict.status()), ErrorKind::kUnpickling);
  Tokenizer lax(AsBytes(stream), false);
  int count = 0;
  while (lax.Next(&token)) ++count;
  EXPECT_EQ(count, 3);
  EXPECT_TRUE(lax.status().ok());
}

}  // namespace
}  // namespace pannier::codec

#include "pannier/codec/document.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "absl/strings/str_cat.h"
#include "pannier/codec/compare.h"
#include "pannier/codec/decoder.h"
#include "pannier/codec/repr.h"

namespace pannier::codec {
namespace {

using ::testing::HasSubstr;
using std::string_literals::operator""s;

TEST(Value, ScalarsLieInTheHandle) {
  EXPECT_TRUE(Value().is_none());
  EXPECT_TRUE(Value::Bool(true).bool_value());
  EXPECT_EQ(Value::Int(-5).int_value(), -5);
  EXPECT_EQ(Value::Float(-0.5).float_value(), -0.5);
  EXPECT_TRUE(Is(Value::Int(3), Value::Int(3)));
  EXPECT_FALSE(Is(Value::Int(1), Value::Bool(true)));
}

TEST(Document, IntegersOfAnySize) {
  Document document;
  EXPECT_EQ(document.NewUnsigned(7).int_value(), 7);
  EXPECT_EQ(Repr(document.NewUnsigned(~uint64_t{0})), "18446744073709551615");
  const std::string padded("\xfe\xff\xff\xff\xff\xff\xff\xff\xff\xff", 10);
  EXPECT_EQ(document.NewInteger(AsBytes(padded)).int_value(), -2);
  const std::string wide("\0\0\0\0\0\0\0\x80\xff\xff", 10);  // -2^63
  EXPECT_TRUE(document.NewInteger(AsBytes(wide)).is(Kind::kInt));
  EXPECT_EQ(document.NewInteger({}).int_value(), 0);
}

TEST(Document, LongTextsKeepTheirLength) {
  Document document;
  for (const size_t size : {(1u << 24) - 2, (1u << 24) - 1, 1u << 24}) {
    const std::string text(size, 'x');
    EXPECT_EQ(document.NewStr(text).text(), text);
    EXPECT_EQ(document.NewBytesView(AsBytes(text)).text().data(), text.data());
  }
}

TEST(Document, EqualTextsAreOneObjectOnlyIfInterned) {
  Document document;
  EXPECT_FALSE(Is(document.NewStr("a"), document.NewStr("a")));
  EXPECT_TRUE(Is(document.InternStr("a"), document.InternStr("a")));
  EXPECT_TRUE(Is(document.NewGlobal("m", "n"), document.NewGlobal("m", "n")));
  EXPECT_FALSE(Is(document.NewGlobal("m", "n"), document.NewGlobal("m", "o")));
  EXPECT_TRUE(document.NewGlobal("m", "n").IsGlobal("m", "n"));
  ASSERT_NE(document.FindGlobal("m", "o"), nullptr);
  EXPECT_EQ(document.FindGlobal("m", "p"), nullptr);
}

TEST(Document, ListsGrow) {
  Document document;
  const Value list = document.NewList();
  const Value other = document.NewList();
  for (int i = 0; i < 1000; ++i) {
    document.Append(list, Value::Int(i));
    if (i % 3 == 0) document.Append(other, list);  // keeps the arena from growing in place
  }
  ASSERT_EQ(list.size(), 1000u);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(list.items()[static_cast<size_t>(i)].int_value(), i);
  EXPECT_EQ(other.size(), 334u);
}

TEST(Dict, KeepsOrderFirstKeyAndLastValue) {
  Document document;
  const Value dict = document.NewDict();
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(document.SetItem(dict, Value::Int(i), Value::Int(i)).ok());
  }
  for (int i = 0; i < 100; i += 2) {
    ASSERT_TRUE(document.SetItem(dict, Value::Float(i), Value::None()).ok());
  }
  ASSERT_EQ(dict.size(), 100u);
  for (int i = 0; i < 100; ++i) {
    const DictEntry& entry = dict.entries()[static_cast<size_t>(i)];
    EXPECT_TRUE(Is(entry.key, Value::Int(i)));
    EXPECT_EQ(entry.value.is_none(), i % 2 == 0);
    EXPECT_EQ(dict.Find(Value::Float(i)), &entry.value);
  }
  EXPECT_EQ(dict.Find(Value::Int(100)), nullptr);
}

TEST(Dict, FindsAllKeysOfEverySize) {
  for (const int size : {1, 2, 15, 16, 17, 18, 40, 1000, 20000}) {
    Document document;
    const Value dict = document.NewDict();
    for (int i = 0; i < size; ++i) document.SetItem(dict, absl::StrCat("key", i), Value::Int(i));
    ASSERT_EQ(dict.size(), static_cast<size_t>(size));
    for (int i = 0; i < size; ++i) {
      const Value* found = dict.Find(absl::StrCat("key", i));
      ASSERT_NE(found, nullptr) << size << " " << i;
      EXPECT_EQ(found->int_value(), i);
    }
    EXPECT_EQ(dict.Find("key"), nullptr);
    EXPECT_EQ(dict.Find("other"), nullptr);
  }
}

TEST(Dict, UnhashableKeysAreRefused) {
  Document document;
  const Value dict = document.NewDict();
  const Value inside = document.NewTuple({Value::Int(1), document.NewTuple({document.NewList()})});
  for (const Value& key : {document.NewList(), document.NewDict(), document.NewSet(), inside,
                           document.NewByteArray(AsBytes("x"))}) {
    const Status status = document.SetItem(dict, key, Value::None());
    EXPECT_EQ(KindOf(status), ErrorKind::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("unhashable type"));
  }
  EXPECT_EQ(dict.size(), 0u);
  EXPECT_EQ(dict.Find(document.NewList()), nullptr);
}

TEST(Keys, AreEqualAsPythonComparesThem) {
  Document d;
  const auto big = [&](const char* bytes, size_t size) {
    return d.NewInteger(AsBytes(std::string_view(bytes, size)));
  };
  const Value two_64 = big("\0\0\0\0\0\0\0\0\1", 9);
  const Value two_64_plus_1 = big("\1\0\0\0\0\0\0\0\1", 9);
  EXPECT_TRUE(KeyEqual(Value::Int(1), Value::Float(1.0)));
  EXPECT_TRUE(KeyEqual(Value::Bool(true), Value::Float(1.0)));
  EXPECT_TRUE(KeyEqual(Value::Float(0.0), Value::Float(-0.0)));
  EXPECT_TRUE(KeyEqual(Value::Int(0), Value::Float(-0.0)));
  EXPECT_FALSE(KeyEqual(Value::Int(1), Value::Float(1.5)));
  EXPECT_FALSE(KeyEqual(Value::Float(NAN), Value::Float(NAN)));
  EXPECT_FALSE(KeyEqual(Value::Int(INT64_MAX), Value::Float(9223372036854775808.0)));
  EXPECT_TRUE(KeyEqual(Value::Int(INT64_MIN), Value::Float(-9223372036854775808.0)));
  EXPECT_TRUE(KeyEqual(two_64, Value::Float(18446744073709551616.0)));
  EXPECT_FALSE(KeyEqual(two_64_plus_1, Value::Float(18446744073709551616.0)));
  EXPECT_TRUE(KeyEqual(two_64, big("\0\0\0\0\0\0\0\0\1\0", 10)));
  EXPECT_TRUE(KeyEqual(d.NewStr("a"), d.NewStr("a")));
  EXPECT_FALSE(KeyEqual(d.NewStr("a"), d.NewBytes(AsBytes("a"))));
  EXPECT_FALSE(KeyEqual(d.NewStr("1"), Value::Int(1)));
  EXPECT_FALSE(KeyEqual(Value::None(), Value::Int(0)));
  EXPECT_TRUE(KeyEqual(d.NewTuple({Value::Int(1), d.NewStr("x")}),
                       d.NewTuple({Value::Float(1), d.NewStr("x")})));
  EXPECT_FALSE(KeyEqual(d.NewTuple({Value::Int(1)}), d.NewTuple({Value::Int(1), Value::Int(1)})));
  EXPECT_TRUE(KeyEqual(d.NewTuple({}), d.NewTuple({})));
  const Value object = d.NewReduce(d.NewGlobal("m", "f"), {Value::Int(1)});
  EXPECT_TRUE(KeyEqual(object, object));
  EXPECT_FALSE(KeyEqual(object, d.NewReduce(d.NewGlobal("m", "f"), {Value::Int(1)})));
  EXPECT_TRUE(KeyEqual(d.NewExtension(3), d.NewExtension(3)));
}

TEST(Keys, FrozenSetsHaveNoOrder) {
  Document d;
  const auto set = [&](std::vector<Value> items) { return *d.NewFrozenSet(items); };
  const Value a = set({Value::Int(1), Value::Int(2), d.NewStr("x")});
  const Value b = set({d.NewStr("x"), Value::Float(2.0), Value::Bool(true)});
  EXPECT_TRUE(KeyEqual(a, b));
  EXPECT_FALSE(KeyEqual(a, set({Value::Int(1), Value::Int(2), d.NewStr("y")})));
  EXPECT_TRUE(KeyEqual(set({a, d.NewTuple({b})}), set({d.NewTuple({a}), b})));
  const Value dict = d.NewDict();
  ASSERT_TRUE(d.SetItem(dict, set({a}), Value::Int(1)).ok());
  ASSERT_TRUE(d.SetItem(dict, set({b}), Value::Int(2)).ok());
  EXPECT_EQ(Repr(dict), "{frozenset({frozenset({1, 2, 'x'})}): 2}");
}

TEST(Set, KeepsTheFirstOfEqualElements) {
  Document document;
  const Value set = document.NewSet();
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(document.AddItem(set, Value::Int(i % 25)).ok());
    ASSERT_TRUE(document.AddItem(set, Value::Float(i % 25)).ok());
  }
  EXPECT_EQ(set.size(), 25u);
  EXPECT_TRUE(set.items()[1].is(Kind::kInt));
  EXPECT_FALSE(document.AddItem(set, document.NewList()).ok());
}

TEST(Object, PartsComeInOrder) {
  Document document;
  const Value object = document.NewReduce(document.NewGlobal("m", "f"), document.NewTuple({}));
  EXPECT_EQ(object.state(), nullptr);
  EXPECT_TRUE(object.parts().empty());
  const std::vector<Value> two = {Value::Int(1), Value::Int(2)};
  document.AddAppends(object, two);
  document.AddAppends(object, two);
  document.AddAppends(object, {});
  document.AddState(object, Value::Int(3));
  document.AddState(object, Value::Int(4));
  document.AddSetItems(object, two);
  document.AddAdds(object, two);
  document.AddSetter(object, document.NewGlobal("m", "s"), Value::Int(5));
  std::vector<PartKind> kinds;
  for (const Part part : object.parts()) kinds.push_back(part.kind());
  EXPECT_THAT(kinds, ::testing::ElementsAre(PartKind::kAppend, PartKind::kState, PartKind::kState,
                                            PartKind::kSetItem, PartKind::kAdd, PartKind::kSetter));
  EXPECT_EQ((*object.parts().begin()).values().size(), 4u);
  EXPECT_EQ(object.state()->int_value(), 5);
}

TEST(Document, BuffersAreReferredTo) {
  Document document;
  const Buffer buffer = Buffer::CopyOf(AsBytes("abc"));
  const Value value = document.NewBuffer(buffer);
  EXPECT_EQ(document.buffer(value).data(), buffer.data());
  EXPECT_EQ(buffer.owner()->refs(), 2u);
  document.Clear();
  EXPECT_EQ(buffer.owner()->refs(), 1u);
}

TEST(Document, MovingKeepsValues) {
  Document first;
  const Value list = first.NewList();
  first.Append(list, first.NewStr("x"));
  first.set_root(list);
  Document second = std::move(first);
  EXPECT_EQ(Repr(second.root()), "['x']");
  second.Append(list, Value::Int(1));
  EXPECT_EQ(Repr(list), "['x', 1]");
}

TEST(CopyFrom, KeepsSharingCyclesKeysAndBuffers) {
  const std::string stream =
      "]q\0(h\0cm\nf\nh\0\x85Rq\1Nb}(h\1K\1K\2h\0u"
      "\x8f(h\1Vx\n\x90(h\1\x91\x97\x98"
      "cm\nf\n\x96\1\0\0\0\0\0\0\0ze."s;
  const std::vector<Buffer> buffers = {Buffer::CopyOf(AsBytes("bytes"))};
  DecodeOptions options;
  options.buffers = buffers;
  auto source = Decode(AsBytes(stream), options);
  ASSERT_TRUE(source.ok()) << source.status();
  Document target;
  target.NewBuffer(Buffer());  // so that indices differ
  target.NewStr("ids too");
  target.set_root(target.CopyFrom(*source, source->root()));
  EXPECT_TRUE(Isomorphic(*source, target));
  const Value object = target.root().items()[1];
  const Value dict = target.root().items()[2];
  ASSERT_NE(dict.Find(object), nullptr);  // symbolic keys are found where they are now
  EXPECT_EQ(dict.Find(object)->int_value(), 1);
  source->Release();
  EXPECT_THAT(Repr(target.root()), HasSubstr("bytearray(b'z')"));
  EXPECT_EQ(AsText(target.buffer(target.root().items()[5]).span()), "bytes");
}

}  // namespace
}  // namespace pannier::codec

// Streams read into structs, without values between.
#include "pannier/codec/visitor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "pannier/codec/compare.h"
#include "pannier/codec/decoder.h"
#include "pannier/codec/repr.h"

namespace pannier::codec {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using std::string_literals::operator""s;

// Numbers what it makes, and writes down what happens.
class Recorder : public Visitor {
 public:
  StatusOr<Value> Tuple(std::span<const Value> items) override { return New("tuple", items); }
  StatusOr<Value> List() override { return New("list", {}); }
  StatusOr<Value> Dict() override { return New("dict", {}); }
  StatusOr<Value> Set() override { return New("set", {}); }
  StatusOr<Value> FrozenSet(std::span<const Value> items) override {
    return New("frozenset", items);
  }
  StatusOr<Value> Call(const VisitedCall& call) override {
    const Value parts[] = {call.callee, call.args, call.kwargs};
    return New(std::string(KindName(call.kind)), parts);
  }
  Status Append(const Value& handle, std::span<const Value> items) override {
    return Changed(handle, "append", items);
  }
  Status SetItems(const Value& handle, std::span<const DictEntry> entries) override {
    return Changed(handle, "set",
                   {reinterpret_cast<const Value*>(entries.data()), entries.size() * 2});
  }
  Status AddItems(const Value& handle, std::span<const Value> items) override {
    return Changed(handle, "add", items);
  }
  Status SetState(const Value& handle, const Value& state) override {
    return Changed(handle, "state", {&state, 1});
  }
  std::vector<std::string> events;

 private:
  static std::string Shown(std::span<const Value> values) {
    std::string shown;
    for (const Value& value : values) absl::StrAppend(&shown, " ", Repr(value));
    return shown;
  }
  Value New(const std::string& what, std::span<const Value> items) {
    events.push_back(absl::StrCat(made_, "=", what, Shown(items)));
    return Value::Handle(made_++);
  }
  Status Changed(const Value& handle, const char* how, std::span<const Value> items) {
    events.push_back(absl::StrCat(handle.handle(), " ", how, Shown(items)));
    return absl::OkStatus();
  }
  uint64_t made_ = 0;
};

std::vector<std::string> EventsOf(const std::string& stream) {
  Recorder recorder;
  Decoder decoder;
  Document document;
  const auto result = decoder.Visit(AsBytes(stream), {}, recorder, &document);
  EXPECT_TRUE(result.ok()) << result.status();
  if (result.ok()) recorder.events.push_back(Repr(document.root()));
  return recorder.events;
}

TEST(Visitor, IsToldWhatTheStreamDoes) {
  EXPECT_THAT(EventsOf("](K\1K\2e."), ElementsAre("0=list", "0 append 1 2", "Handle(0)"));
  EXPECT_THAT(EventsOf("]Na."), ElementsAre("0=list", "0 append None", "Handle(0)"));
  EXPECT_THAT(EventsOf("}(Va\nK\1Vb\nK\2u."),
              ElementsAre("0=dict", "0 set 'a' 1 'b' 2", "Handle(0)"));
  EXPECT_THAT(EventsOf("}Va\nNs."), ElementsAre("0=dict", "0 set 'a' None", "Handle(0)"));
  EXPECT_THAT(EventsOf("\x8f(K\1\x90."), ElementsAre("0=set", "0 add 1", "Handle(0)"));
  EXPECT_THAT(EventsOf("(K\1\x91."), ElementsAre("0=frozenset 1", "Handle(0)"));
  EXPECT_THAT(EventsOf("(K\1K\2K\3K\4t."), ElementsAre("0=tuple 1 2 3 4", "Handle(0)"));
  EXPECT_THAT(EventsOf("N\x85N\x86."),
              ElementsAre("0=tuple None", "1=tuple Handle(0) None", "Handle(1)"));
  EXPECT_THAT(EventsOf("NNN\x87."), ElementsAre("0=tuple None None None", "Handle(0)"));
  EXPECT_THAT(EventsOf(")."), ElementsAre("()"));
  EXPECT_THAT(EventsOf("K\5."), ElementsAre("5"));
}

TEST(Visitor, IsToldOfCalls) {
  EXPECT_THAT(EventsOf("cm\nf\nN\x85R}b."),
              ElementsAre("0=tuple None", "1=reduce Global('m', 'f') Handle(0) None", "2=dict",
                          "1 state Handle(2)", "Handle(1)"));
  EXPECT_THAT(EventsOf("cm\nf\n)\x81(K\1e."),
              ElementsAre("0=newobj Global('m', 'f') () None", "0 append 1", "Handle(0)"));
  EXPECT_THAT(EventsOf("cm\nf\n)}\x92NNs."),
              ElementsAre("0=dict", "1=newobj_ex Global('m', 'f') () Handle(0)", "1 set None None",
                          "Handle(1)"));
  EXPECT_THAT(EventsOf("(K\1im\nf\n."), ElementsAre("0=tuple 1",
                                                    "1=instance Global('m', 'f') "
                                                    "Handle(0) None",
                                                    "Handle(1)"));
  EXPECT_THAT(EventsOf("(cm\nf\no."),
              ElementsAre("0=instance Global('m', 'f') () None", "Handle(0)"));
  EXPECT_THAT(EventsOf("(cm\nf\n)Ro."), ElementsAre("0=reduce Global('m', 'f') () None",
                                                    "1=instance Handle(0) () None", "Handle(1)"));
  // A state setter is a call that is dropped.
  EXPECT_THAT(EventsOf("cm\nf\n)Rq\0cm\ns\nh\0N\x86R0."s),
              ElementsAre("0=reduce Global('m', 'f') () None", "1=tuple Handle(0) None",
                          "2=reduce Global('m', 's') Handle(1) None", "Handle(0)"));
}

TEST(Visitor, ReadsProtocol0) {
  EXPECT_THAT(EventsOf("(I1\nI2\nl."), ElementsAre("0=list", "0 append 1 2", "Handle(0)"));
  EXPECT_THAT(EventsOf("(l."), ElementsAre("0=list", "Handle(0)"));
  EXPECT_THAT(EventsOf("(Va\nI2\nd."), ElementsAre("0=dict", "0 set 'a' 2", "Handle(0)"));
}

TEST(Visitor, MemoGivesTheHandleAgain) {
  EXPECT_THAT(
      EventsOf("]\x94(h\0]\x94h\1e."s),  // a list of itself and another, twice
      ElementsAre("0=list", "1=list", "0 append Handle(0) Handle(1) Handle(1)", "Handle(0)"));
}

TEST(Visitor, MemoryIsOfTheStackAlone) {
  std::string stream = "\x80\4](";
  for (int i = 0; i < 50'000; ++i) stream += "}(\x8c\1kK\1u";
  struct Counter : Visitor {
    StatusOr<Value> List() override { return Value::Handle(0); }
    StatusOr<Value> Dict() override { return Value::Handle(1); }
    Status Append(const Value&, std::span<const Value> items) override {
      lists += items.size();
      return absl::OkStatus();
    }
    Status SetItems(const Value&, std::span<const DictEntry> entries) override {
      keys += entries.size();
      return absl::OkStatus();
    }
    size_t lists = 0;
    size_t keys = 0;
  } counter;
  Decoder decoder;
  Document document;
  ASSERT_TRUE(decoder.Visit(AsBytes(stream + "e."), {}, counter, &document).ok());
  EXPECT_EQ(counter.lists, 50'000u);
  EXPECT_EQ(counter.keys, 50'000u);
  EXPECT_EQ(document.capacity(), 0u);
}

// What is not overridden makes the Values that Decode() makes.
TEST(Visitor, DefaultsAreValues) {
  Visitor plain;
  Decoder decoder;
  for (const std::string& stream :
       {"(](K\1K\2e}(Va\n]Nau\x8f(K\1\x90(K\1\x91NN\x86(l(Vx\nNd(Nlcm\nf\n)R}bt."s,
        "(cm\ng\nN\x85\x81)cm\nf\n)}\x92(N\x85im\ng\n(cm\ng\nNo(lt."s, "]\x94(h\0e."s}) {
    Document visited;
    const auto result = decoder.Visit(AsBytes(stream), {}, plain, &visited);
    ASSERT_TRUE(result.ok()) << result.status();
    const auto decoded = Decode(AsBytes(stream));
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    EXPECT_TRUE(Isomorphic(visited, *decoded)) << Repr(visited.root());
  }
}

TEST(Visitor, ErrorsSayWhere) {
  struct Strict : Visitor {
    StatusOr<Value> List() override { return Value::Handle(0); }
    StatusOr<Value> Set() override { return MakeError(ErrorKind::kUnpickling, "no sets, please"); }
  } strict;
  Decoder decoder;
  Document document;
  EXPECT_EQ(std::string(decoder.Visit(AsBytes("N\x8f."), {}, strict, &document).status().message()),
            "pickle, byte 1, EMPTY_SET: no sets, please");
  EXPECT_THAT(std::string(decoder.Visit(AsBytes("]Na."), {}, strict, &document).status().message()),
              HasSubstr("byte 2, APPEND: the visitor does not take appended items"));
  // Types are still checked.
  EXPECT_FALSE(decoder.Visit(AsBytes("NNa."), {}, strict, &document).ok());
  EXPECT_FALSE(decoder.Visit(AsBytes("NN\x85R."), {}, strict, &document).ok());
  EXPECT_FALSE(decoder.Visit(AsBytes("(NNNd."), {}, strict, &document).ok());
}

}  // namespace
}  // namespace pannier::codec

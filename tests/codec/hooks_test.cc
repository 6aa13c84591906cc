// What a caller may hang into the decoder: persistent_load, extension codes, C++ types for
// Python classes; and several pickles in one stream.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>

#include "pannier/codec/class_registry.h"
#include "pannier/codec/decoder.h"
#include "pannier/codec/encoder.h"
#include "pannier/codec/extension_registry.h"
#include "pannier/codec/persistent_ids.h"
#include "pannier/codec/position.h"
#include "pannier/codec/repr.h"
#include "pannier/codec/unpickler.h"

namespace pannier::codec {
namespace {

using ::testing::HasSubstr;
using std::string_literals::operator""s;

std::string Message(const Status& status) { return std::string(status.message()); }

TEST(PersistentLoad, PutsItsResultInPlace) {
  DecodeOptions options;
  std::vector<std::string> ids;
  options.persistent_load = [&](const Value& id, Document& document) -> StatusOr<Value> {
    ids.push_back(Repr(id));
    return document.NewTuple({id, Value::Int(static_cast<int64_t>(ids.size()))});
  };
  const auto document = Decode(AsBytes("(Pabc\nK\x07QK\1K\2\x86QN2QN\x85Q0t."), options);
  ASSERT_TRUE(document.ok()) << document.status();
  EXPECT_THAT(ids, ::testing::ElementsAre("'abc'", "7", "(1, 2)", "None", "(None,)"));
  EXPECT_EQ(Repr(document->root()), "(('abc', 1), (7, 2), ((1, 2), 3), None, (None, 4))");
}

TEST(PersistentLoad, ErrorsSayWhere) {
  DecodeOptions options;
  options.persistent_load = [](const Value&, Document&) -> StatusOr<Value> {
    return MakeError(ErrorKind::kConnectionLost, "no database");
  };
  const Status status = Decode(AsBytes("]K\x07Qa."), options).status();
  EXPECT_EQ(KindOf(status), ErrorKind::kConnectionLost);  // the hook's own kind
  EXPECT_EQ(Message(status), "pickle, byte 3, BINPERSID: no database");
  EXPECT_EQ(PositionOf(status)->offset, 3u);
}

TEST(PersistentLoad, UnsetLeavesTheId) {
  EXPECT_EQ(Repr(Decode(AsBytes("Pid\n."))->root()), "Persistent('id')");
}

TEST(Extensions, AreTheirGlobals) {
  ExtensionRegistry extensions;
  ASSERT_TRUE(extensions.Add("m", "Outer.C", 0x01020304).ok());
  ASSERT_TRUE(extensions.Add("m", "d", 7).ok());
  DecodeOptions options;
  options.extensions = &extensions;
  const auto document =
      Decode(AsBytes("(\x84\x04\x03\x02\x01\x82\x07\x83\x07\0cm\nd\nt."s), options);
  ASSERT_TRUE(document.ok()) << document.status();
  const auto items = document->root().items();
  EXPECT_TRUE(items[0].IsGlobal("m", "Outer.C"));
  EXPECT_TRUE(Is(items[1], items[2]));
  EXPECT_TRUE(Is(items[1], items[3]));
  EXPECT_THAT(Message(Decode(AsBytes("N0\x82\x08."), options).status()),
              HasSubstr("byte 2, EXT1: extension code 8 is not registered"));
}

TEST(Extensions, RegistryRefusesContradictions) {
  ExtensionRegistry extensions;
  ASSERT_TRUE(extensions.Add("m", "c", 1).ok());
  EXPECT_TRUE(extensions.Add("m", "c", 1).ok());
  EXPECT_FALSE(extensions.Add("m", "c", 2).ok());
  EXPECT_FALSE(extensions.Add("m", "d", 1).ok());
  EXPECT_FALSE(extensions.Add("m", "d", 0).ok());
  EXPECT_FALSE(extensions.Add("m", "d", 0x80000000u).ok());
  EXPECT_FALSE(extensions.Remove("m", "c", 2).ok());
  EXPECT_FALSE(extensions.Remove("m", "d", 0).ok());
  EXPECT_EQ(extensions.CodeOf("m", "c"), 1u);
  EXPECT_TRUE(extensions.Remove("m", "c", 1).ok());
  EXPECT_EQ(extensions.CodeOf("m", "c"), 0u);
  EXPECT_EQ(extensions.Find(1), nullptr);
  EXPECT_EQ(extensions.size(), 0u);
}

// A class of which everything is recorded.
struct Thing {
  std::string arguments;
  std::map<std::string, std::string> attributes;
  std::string log;
  std::vector<std::shared_ptr<Thing>> friends;
};

ClassHooks<Thing> RecordingHooks() {
  ClassHooks<Thing> hooks;
  hooks.make = [](const ClassCall& call) -> StatusOr<std::shared_ptr<Thing>> {
    auto thing = std::make_shared<Thing>();
    for (const Value& arg : call.args) thing->arguments += Repr(arg) + ";";
    if (!call.kwargs.is_none()) thing->arguments += Repr(call.kwargs);
    return thing;
  };
  hooks.set_attribute = [](Thing& thing, std::string_view name, const Value& value,
                           Document& document) {
    thing.attributes[std::string(name)] = Repr(value);
    if (auto other = document.Attached<Thing>(value)) thing.friends.push_back(other);
    return absl::OkStatus();
  };
  hooks.append = [](Thing& thing, const Value& item, Document&) {
    thing.log += "+" + Repr(item);
    return absl::OkStatus();
  };
  hooks.set_item = [](Thing& thing, const Value& key, const Value& value, Document&) {
    thing.log += "[" + Repr(key) + "]=" + Repr(value);
    return absl::OkStatus();
  };
  hooks.call_setter = [](Thing& thing, const Value& setter, const Value& state, Document&) {
    thing.log += Repr(setter) + Repr(state);
    return absl::OkStatus();
  };
  return hooks;
}

class Classes : public ::testing::Test {
 protected:
  Classes() {
    classes_.Add<Thing>("m", "T", RecordingHooks());
    options_.classes = &classes_;
  }
  std::shared_ptr<Thing> Load(const std::string& stream) {
    auto document = Decode(AsBytes(stream), options_);
    EXPECT_TRUE(document.ok()) << document.status();
    if (!document.ok()) return nullptr;
    document_ = *std::move(document);
    return document_.Attached<Thing>(document_.root());
  }
  std::string Error(const std::string& stream) {
    return Message(Decode(AsBytes(stream), options_).status());
  }

  ClassRegistry classes_;
  DecodeOptions options_;
  Document document_;
};

TEST_F(Classes, AreMadeByEveryKindOfCall) {
  for (const auto& [stream, arguments] : std::initializer_list<std::pair<std::string, std::string>>{
           {"cm\nT\nK\1K\2\x86R.", "1;2;"},
           {"cm\nT\nK\1\x85\x81.", "1;"},
           {"cm\nT\nK\1\x85}Vk\nNs\x92.", "1;{'k': None}"},
           {"(cm\nT\nK\1o.", "1;"},
           {"(K\1im\nT\n.", "1;"},
           {"ccopy_reg\n_reconstructor\n(cm\nT\nc__builtin__\nobject\nNtR.", ""},
           {"ccopy_reg\n_reconstructor\n(cm\nT\nc__builtin__\nlist\n(ltR.", "[];"},
           {"ccopyreg\n__newobj__\n(cm\nT\nK\1tR.", "1;"},
           {"ccopyreg\n__newobj_ex__\n(cm\nT\n(K\1t}Vk\nNstR.", "1;{'k': None}"}}) {
    const auto thing = Load(stream);
    ASSERT_NE(thing, nullptr) << stream;
    EXPECT_EQ(thing->arguments, arguments) << stream;
  }
  EXPECT_EQ(Load("cm\nU\n)R."), nullptr);
  EXPECT_EQ(Load("cm\nT\n."), nullptr);  // the class itself
}

TEST_F(Classes, OfDottedNamesInAllProtocols) {
  classes_.Add<Thing>("m", "Outer.T", RecordingHooks());
  EXPECT_NE(Load("\x8c\x01m\x8c\x07Outer.T\x93)\x81."), nullptr);
  EXPECT_NE(Load("c__builtin__\ngetattr\n(cm\nOuter\nVT\ntR)\x81."), nullptr);
}

TEST_F(Classes, GetTheirStateAsAnUnpicklerGivesIt) {
  EXPECT_EQ(Load("cm\nT\n)R}Vx\nK\1sb.")->attributes.at("x"), "1");
  const auto slots = Load(
      "cm\nT\n)R}Vx\nK\1s}Vy\nK\2s\x86"
      "b.");
  EXPECT_EQ(slots->attributes.at("x"), "1");
  EXPECT_EQ(slots->attributes.at("y"), "2");
  EXPECT_EQ(Load("cm\nT\n)RN}Vy\nK\2s\x86"
                 "b.")
                ->attributes.at("y"),
            "2");
  EXPECT_EQ(Load("cm\nT\n)R(K\1K\2eK\3a.")->log, "+1+2+3");
  EXPECT_EQ(Load("cm\nT\n)R(K\1\x90.")->log, "+1");
  EXPECT_EQ(Load("cm\nT\n)R(K\1K\2u.")->log, "[1]=2");
  EXPECT_EQ(Load("cm\nT\n)Rq\0cm\nset\nh\0K\5\x86R0."s)->log, "Global('m', 'set')5");
  EXPECT_THAT(Error("cm\nT\n)RK\1b."), HasSubstr("BUILD: m.T: its state is of type int"));
  EXPECT_THAT(Error("cm\nT\n)R}K\1Nsb."), HasSubstr("an attribute's name is not a str"));
}

TEST_F(Classes, SetStateTakesAnything) {
  auto hooks = RecordingHooks();
  hooks.set_state = [](Thing& thing, const Value& state, Document&) {
    thing.log = Repr(state);
    return state.is_none() ? MakeError(ErrorKind::kUnpickling, "no state") : absl::OkStatus();
  };
  classes_.Add<Thing>("m", "T", hooks);
  EXPECT_EQ(Load("cm\nT\n)RK\1b.")->log, "1");
  EXPECT_EQ(Load("cm\nT\n)R}b.")->log, "{}");
  EXPECT_EQ(Error("cm\nT\n)RNb."), "pickle, byte 8, BUILD: m.T: no state");
}

TEST_F(Classes, AreSharedAndContainThemselves) {
  const auto thing = Load("cm\nT\n)\x81q\0}(Vme\nh\0Vother\ncm\nT\n)\x81q\1Vsame\nh\1ub."s);
  ASSERT_EQ(thing->friends.size(), 3u);
  EXPECT_EQ(thing->friends[0], thing);
  EXPECT_EQ(thing->friends[1], thing->friends[2]);
  thing->friends.clear();  // the cycle
}

TEST_F(Classes, LiveAsLongAsTheDocumentOrTheirHolders) {
  const auto thing = Load("cm\nT\n)R.");
  EXPECT_EQ(thing.use_count(), 2);
  EXPECT_EQ(document_.Attached<std::string>(document_.root()), nullptr);  // another type
  document_.Clear();
  EXPECT_EQ(thing.use_count(), 1);
}

TEST_F(Classes, AreWrittenAsTheyWereRead) {
  const std::string stream =
      "\x80\x02"
      "cm\nT\nq\0)\x81q\1}q\2X\1\0\0\0xq\3K\1sb."s;
  ASSERT_NE(Load(stream), nullptr);
  EncodeOptions options;
  options.protocol = 2;
  EXPECT_EQ(Encode(document_, options)->stream, stream);
}

TEST_F(Classes, WithoutHooksAreDefaultConstructed) {
  classes_.Add<int>("m", "I", {});
  ASSERT_TRUE(Decode(AsBytes("cm\nI\n)R."), options_).ok());
  EXPECT_THAT(Error("cm\nI\nK\1\x85R."), HasSubstr("REDUCE: m.I: it takes no arguments here"));
  EXPECT_THAT(Error("cm\nI\n)R}Vx\nNsb."), HasSubstr("no set_attribute hook"));
  EXPECT_THAT(Error("cm\nI\n)RNa."), HasSubstr("no append hook"));
  EXPECT_THAT(Error("cm\nI\n)RNNs."), HasSubstr("no set_item hook"));
}

TEST(Unpickler, LoadsPickleAfterPickle) {
  // As one Pickler writes [[1], [1]] again, and then None: the second refers to the first.
  const std::string stream = "\x80\4]\x94(]\x94K\1ah\1e.\x80\4h\0.\x80\4N."s;
  Unpickler unpickler(AsBytes(stream));
  const auto first = unpickler.Load();
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(Repr(*first), "[[1], [1]]");
  EXPECT_FALSE(unpickler.at_end());
  const auto second = unpickler.Load();
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_TRUE(Is(*first, *second));
  EXPECT_TRUE(unpickler.Load()->is_none());
  EXPECT_TRUE(unpickler.at_end());
  EXPECT_EQ(unpickler.offset(), stream.size());
  EXPECT_EQ(KindOf(unpickler.Load().status()), ErrorKind::kUnpickling);
}

// The manual's data.pkl: two pickles of two Picklers in one file.
TEST(Unpickler, LoadsWhatTwoPicklersWrote) {
  const std::string stream = "(dp0\nVa\np1\n(lp2\nI1\nasVc\np3\nNs.\x80\2]q\0(K\1K\2K\3h\0e."s;
  Unpickler unpickler(AsBytes(stream));
  EXPECT_EQ(Repr(*unpickler.Load()), "{'a': [1], 'c': None}");
  unpickler.ClearMemo();
  const auto self_referring = unpickler.Load();
  ASSERT_TRUE(self_referring.ok());
  EXPECT_TRUE(Is(self_referring->items()[3], *self_referring));
  // Numbers of MEMOIZE begin at 0 again only then.
  const std::string twice = "\x80\4]\x94]\x94h\0\x86.\x80\4}\x94)\x94h\0\x86."s;
  for (const bool clear : {false, true}) {
    Unpickler both(AsBytes(twice));
    ASSERT_TRUE(both.Load().ok());
    if (clear) both.ClearMemo();
    EXPECT_EQ(Repr(*both.Load()), clear ? "((), {})" : "((), [])");
  }
}

TEST(Unpickler, SharesOutBuffersAndStopsAtErrors) {
  const std::vector<Buffer> buffers = {Buffer::CopyOf(AsBytes("a")), Buffer::CopyOf(AsBytes("b"))};
  const std::string stream = "\x97.\x97.\x97.";
  DecodeOptions options;
  options.buffers = buffers;
  Unpickler unpickler(AsBytes(stream), options);
  const Value first = *unpickler.Load();
  const Value second = *unpickler.Load();
  EXPECT_EQ(AsText(unpickler.document().buffer(first).span()), "a");
  EXPECT_EQ(AsText(unpickler.document().buffer(second).span()), "b");
  EXPECT_EQ(unpickler.buffers_used(), 2u);
  const Status status = unpickler.Load().status();
  EXPECT_THAT(Message(status), HasSubstr("in the pickle that begins at byte 4: "));
  EXPECT_EQ(unpickler.Load().status(), status);
  EXPECT_FALSE(unpickler.at_end());
}

TEST(PersistentIds, AreFoundWithoutTheObjects) {
  std::string stream = "\x80\4]\x94(Pone\n";
  stream += "}(Vkey\nVtwo\nQNVuser\nK\7\x86Qu";        // in a dict: a str, a tuple
  stream += "cm\nf\nVarg\nQ\x85R}Vx\nVstate\nQsb";     // in arguments and state
  stream += "(Vinset\nQ\x91(Vkey\nQl\x8f(K\5Q\x90]Q";  // and in sets; an id that is a list
  stream +=
      "\x97\x98"
      "e.";
  const auto found = FindPersistentIds(AsBytes(stream));
  ASSERT_TRUE(found.ok()) << found.status();
  std::string ids;
  for (const Value& id : found->ids) ids += Repr(id) + " ";
  EXPECT_EQ(ids, "'one' 'two' ('user', 7) 'arg' 'state' 'inset' 'key' 5 Handle(0) ");
  EXPECT_EQ(found->consumed, stream.size());
}

TEST(PersistentIds, MakeNoTree) {
  std::string stream = "\x80\4]\x94(";
  for (int i = 0; i < 100'000; ++i) stream += "}(\x8c\1kK\1u";
  stream += "\x8c\2idQe.";
  const auto found = FindPersistentIds(AsBytes(stream));
  ASSERT_TRUE(found.ok()) << found.status();
  ASSERT_EQ(found->ids.size(), 1u);
  EXPECT_LT(found->document.capacity(), 100'000u);
  EXPECT_FALSE(FindPersistentIds(AsBytes(stream.substr(0, 1000))).ok());
}

}  // namespace
}  // namespace pannier::codec

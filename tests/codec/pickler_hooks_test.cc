// The encoder's hooks, against what CPython's pickler writes with the same ones set; sinks; and
// errors that say where the culprit lies.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <map>
#include <memory>
#include <thread>

#include "absl/strings/str_cat.h"
#include "golden_vectors.h"
#include "pannier/base/deadline.h"
#include "pannier/base/unique_fd.h"
#include "pannier/codec/decoder.h"
#include "pannier/codec/encoder.h"
#include "pannier/codec/extension_registry.h"
#include "pannier/codec/repr.h"

namespace pannier::codec {
namespace {

using ::testing::HasSubstr;
using Made = StatusOr<std::optional<Value>>;

std::string Message(const Status& status) { return std::string(status.message()); }

const std::map<std::string, std::string>& Golden() {
  static const auto* const vectors = [] {
    auto* found = new std::map<std::string, std::string>();
    for (const GoldenVector& vector : ReadGoldenVectors("hooks.txt")) {
      (*found)[vector.name] = vector.stream;
    }
    return found;
  }();
  return *vectors;
}

class Protocols : public ::testing::TestWithParam<int> {
 protected:
  Protocols() { options_.protocol = GetParam(); }
  std::string Name(const std::string& name) const { return absl::StrCat(name, "_", GetParam()); }
  void ExpectGolden(const std::string& name) {
    const auto golden = Golden().find(Name(name));
    ASSERT_NE(golden, Golden().end()) << name;
    const auto encoded = Encode(document_, options_);
    ASSERT_TRUE(encoded.ok()) << encoded.status();
    EXPECT_EQ(encoded->stream, golden->second) << name;
  }
  Document document_;
  EncodeOptions options_;
};

// The manual's DBPickler and DBUnpickler: records are written as their keys, and read as what
// the database has under them.
struct Record {
  int64_t key;
};

TEST_P(Protocols, PersistentIds) {
  const Value cls = document_.NewGlobal("shop", "Record");
  std::vector<Value> records;
  for (const int64_t key : {1, 2}) {
    records.push_back(document_.NewObject(cls, document_.NewTuple({})));
    document_.Attach(records.back(), std::make_shared<Record>(Record{key}));
  }
  document_.set_root(
      document_.NewList(std::vector<Value>{records[0], document_.NewStr("text"), records[1],
                                           records[0], document_.NewTuple({records[1]})}));
  options_.persistent_id = [&](const Value& value, Document& made) -> Made {
    const auto record = document_.Attached<Record>(value);
    if (record == nullptr) return std::nullopt;
    if (GetParam() == 0) return made.NewStr(absl::StrCat(record->key));
    return made.NewTuple({made.InternStr("Record"), Value::Int(record->key)});
  };
  ExpectGolden("persistent");

  const std::map<int64_t, std::shared_ptr<Record>> database = {
      {1, std::make_shared<Record>(Record{1})}, {2, std::make_shared<Record>(Record{2})}};
  DecodeOptions decode;
  decode.persistent_load = [&](const Value& id, Document& document) -> StatusOr<Value> {
    int64_t key = 0;
    if (id.is(Kind::kStr)) {
      key = std::stoll(std::string(id.text()));
    } else if (id.is(Kind::kTuple) && id.size() == 2 && id.items()[0].text() == "Record") {
      key = id.items()[1].int_value();
    }
    const auto found = database.find(key);
    if (found == database.end()) return MakeError(ErrorKind::kUnpickling, "no such record");
    const Value loaded = document.NewPersistent(id);
    document.Attach(loaded, found->second);
    return loaded;
  };
  const std::string& stream = Golden().at(Name("persistent"));
  const auto loaded = Decode(AsBytes(stream), decode);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const auto items = loaded->root().items();
  EXPECT_EQ(loaded->Attached<Record>(items[0]), database.at(1));
  EXPECT_EQ(loaded->Attached<Record>(items[3]), database.at(1));
  EXPECT_EQ(loaded->Attached<Record>(items[4].items()[0]), database.at(2));
}

TEST_P(Protocols, Reductions) {
  const auto tuple = [](Document& made, std::initializer_list<Value> items) {
    return made.NewTuple(items);
  };
  const auto make = [](Document& made) { return made.NewGlobal("shop", "make"); };
  const auto dict = [](Document& made) {
    const Value state = made.NewDict();
    made.SetItem(state, "x", Value::Int(1));
    return state;
  };
  using Reducer = std::function<Reduction(Document&)>;
  const std::map<std::string, Reducer> reducers = {
      {"two",
       [&](Document& made) {
         return Reduction{make(made), tuple(made, {Value::Int(1), made.NewStr("a")})};
       }},
      {"state",
       [&](Document& made) {
         return Reduction{make(made), Value(tuple(made, {})), dict(made)};
       }},
      {"items",
       [&](Document& made) {
         return Reduction{.callee = make(made),
                          .args = tuple(made, {}),
                          .items = {Value::Int(1), Value::Int(2)}};
       }},
      {"entries",
       [&](Document& made) {
         return Reduction{.callee = make(made),
                          .args = tuple(made, {}),
                          .state = dict(made),
                          .items = {Value::Int(1)},
                          .entries = {{made.NewStr("k"), Value::Int(2)}}};
       }},
      {"setter",
       [&](Document& made) {
         return Reduction{.callee = make(made),
                          .args = tuple(made, {}),
                          .state = dict(made),
                          .setter = made.NewGlobal("shop", "set_state")};
       }},
      {"many",
       [&](Document& made) {
         Reduction reduction{.callee = make(made), .args = tuple(made, {})};
         for (int i = 0; i < 1001; ++i) {
           reduction.items.push_back(Value::Int(i));
           reduction.entries.push_back({Value::Int(i), Value::Int(i)});
         }
         return reduction;
       }},
      {"newobj",
       [&](Document& made) {
         return Reduction{made.NewGlobal("copyreg", "__newobj__"),
                          tuple(made, {made.NewGlobal("shop", "Cart"), Value::Int(5)}), dict(made)};
       }},
      {"newobj_ex", [&](Document& made) {
         const Value kwargs = made.NewDict();
         made.SetItem(kwargs, "k", Value::Int(1));
         return Reduction{
             made.NewGlobal("copyreg", "__newobj_ex__"),
             tuple(made, {made.NewGlobal("shop", "Cart"), tuple(made, {Value::Int(5)}), kwargs})};
       }}};
  const Value cart =
      document_.NewObject(document_.NewGlobal("shop", "Cart"), document_.NewTuple({}));
  document_.set_root(document_.NewList(std::vector<Value>{cart, cart}));
  for (const auto& [name, reducer] : reducers) {
    if (Golden().count(Name("reduce_" + name)) == 0) continue;
    options_.reducer_override = [&, &reduce = reducer](const Value& value, Document& made) -> Made {
      if (!value.is(Kind::kNewObj)) return std::nullopt;
      return NewReduction(made, reduce(made));
    };
    ExpectGolden("reduce_" + name);
  }
  options_.reducer_override = [&](const Value& value, Document& made) -> Made {
    if (!value.is(Kind::kNewObj)) return std::nullopt;
    return made.NewGlobal("shop", "EMPTY");
  };
  ExpectGolden("reduce_global");
}

TEST_P(Protocols, DispatchByClass) {
  const Value cls = document_.NewGlobal("shop", "Cart");
  document_.set_root(
      document_.NewList(std::vector<Value>{document_.NewObject(cls, document_.NewTuple({})), cls}));
  DispatchTable table;
  table[{"shop", "Cart"}] = [](const Value&, Document& made) -> Made {
    return NewReduction(made, {made.NewGlobal("shop", "make"), made.NewTuple({Value::Int(7)})});
  };
  options_.dispatch = &table;
  ExpectGolden("dispatch");
  // reducer_override comes first.
  options_.reducer_override = [](const Value& value, Document& made) -> Made {
    if (value.is(Kind::kGlobal)) return std::nullopt;
    return NewReduction(made, {made.NewGlobal("other", "f"), made.NewTuple({})});
  };
  EXPECT_THAT(Encode(document_, options_)->stream, HasSubstr("other"));
}

TEST_P(Protocols, ExtensionCodes) {
  const Value cls = document_.NewGlobal("shop", "Cart");
  document_.set_root(document_.NewList(std::vector<Value>{cls, cls}));
  for (const uint32_t code : {7, 300, 70000}) {
    ExtensionRegistry extensions;
    ASSERT_TRUE(extensions.Add("shop", "Cart", code).ok());
    options_.extensions = &extensions;
    ExpectGolden(absl::StrCat("extension_", code));
    DecodeOptions decode;
    decode.extensions = &extensions;
    const auto again = Decode(AsBytes(Encode(document_, options_)->stream), decode);
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_TRUE(again->root().items()[1].IsGlobal("shop", "Cart"));
  }
}

TEST_P(Protocols, ManyDumpsAndClearMemo) {
  const Value shared = document_.NewList(std::vector<Value>{Value::Int(1)});
  const Value pair = document_.NewList(std::vector<Value>{shared, shared});
  Encoder encoder;
  Encoded out;
  ASSERT_TRUE(encoder.EncodeNext(document_, pair, options_, &out).ok());
  ASSERT_TRUE(encoder.EncodeNext(document_, shared, options_, &out).ok());
  encoder.ClearMemo();
  ASSERT_TRUE(encoder.EncodeNext(document_, shared, options_, &out).ok());
  EXPECT_EQ(out.stream, Golden().at(Name("many")));
}

TEST_P(Protocols, Fast) {
  const Value shared = document_.NewList(std::vector<Value>{Value::Int(1)});
  const Value a = document_.NewStr("a");
  document_.set_root(
      document_.NewList(std::vector<Value>{shared, shared, document_.NewTuple({a, a})}));
  options_.fast = true;
  ExpectGolden("fast");
}

INSTANTIATE_TEST_SUITE_P(All, Protocols, ::testing::Range(0, 6));

// A document of every kind of frame: small, full, and texts outside of frames.
class Sinks : public ::testing::TestWithParam<int> {
 protected:
  Sinks() {
    std::vector<Value> items;
    for (int i = 0; i < 30'000; ++i) items.push_back(document_.NewStr(absl::StrCat("item ", i)));
    items.push_back(document_.NewStr(std::string(300'000, 'x')));
    items.push_back(document_.NewBytes(AsBytes(std::string(70'000, 'y'))));
    items.push_back(document_.NewInteger(AsBytes(std::string(100, '\x11'))));
    document_.set_root(document_.NewList(items));
    options_.protocol = GetParam();
    expected_ = Encode(document_, options_)->stream;
  }
  void Run(Sink sink) {
    options_.sink = std::move(sink);
    const auto encoded = Encode(document_, options_);
    ASSERT_TRUE(encoded.ok()) << encoded.status();
    EXPECT_EQ(encoded->stream, "");
  }
  Document document_;
  EncodeOptions options_;
  std::string expected_;
};

TEST_P(Sinks, GetTheSameBytes) {
  std::string text;
  Run(SinkToString(&text));
  EXPECT_EQ(text, expected_);
}

TEST_P(Sinks, OfAFile) {
  std::FILE* file = std::tmpfile();
  ASSERT_NE(file, nullptr);
  Run(SinkToFile(file));
  std::rewind(file);
  std::string text(expected_.size() + 1, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), file));
  std::fclose(file);
  EXPECT_EQ(text, expected_);
}

TEST_P(Sinks, OfADescriptor) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const UniqueFd reader(ends[0]);
  std::string text;
  std::thread reading([&] {
    char part[4096];
    for (ssize_t size; (size = ::read(reader.get(), part, sizeof(part))) > 0;) {
      text.append(part, static_cast<size_t>(size));
    }
  });
  {
    const UniqueFd writer(ends[1]);
    Run(SinkToFd(writer.get(), Deadline::After(absl::Seconds(60))));
  }
  reading.join();
  EXPECT_EQ(text, expected_);
}

// A long stream is never in memory as a whole.
TEST_P(Sinks, GetFramesAsTheyEnd) {
  size_t most = 0;
  size_t calls = 0;
  size_t total = 0;
  Run([&](ByteSpan bytes) {
    if (bytes.size() < 300'000 && bytes.size() != 70'000) most = std::max(most, bytes.size());
    ++calls;
    total += bytes.size();
    return absl::OkStatus();
  });
  EXPECT_EQ(total, expected_.size());
  EXPECT_GE(calls, 5u);
  EXPECT_LT(most, 200'000u);
}

TEST_P(Sinks, EndTheEncodingWhenTheyFail) {
  size_t calls = 0;
  options_.sink = [&](ByteSpan) {
    ++calls;
    return SystemError(ENOSPC, "write");
  };
  const Status status = Encode(document_, options_).status();
  EXPECT_EQ(ErrnoOf(status), ENOSPC);
  EXPECT_EQ(calls, 1u);
}

TEST_P(Sinks, CountTowardsTheLimit) {
  std::string text;
  options_.max_stream_bytes = expected_.size() - 1;
  options_.sink = SinkToString(&text);
  EXPECT_EQ(KindOf(Encode(document_, options_).status()), ErrorKind::kLimit);
  options_.max_stream_bytes = expected_.size();
  EXPECT_TRUE(Encode(document_, options_).ok());
}

INSTANTIATE_TEST_SUITE_P(All, Sinks, ::testing::Values(0, 2, 5));

TEST(Sink, WaitsForRoomUntilItsDeadline) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_NONBLOCK), 0);
  const UniqueFd reader(ends[0]);
  const UniqueFd writer(ends[1]);
  const std::string much(10 << 20, 'x');
  const Status status =
      SinkToFd(writer.get(), Deadline::After(absl::Milliseconds(20)))(AsBytes(much));
  EXPECT_EQ(KindOf(status), ErrorKind::kDeadlineExceeded);
}

TEST(Sink, ErrorsOfTheSystem) {
  EXPECT_EQ(ErrnoOf(SinkToFd(-1, Deadline::Now())(AsBytes("x"))), EBADF);
}

// What cannot be pickled below protocol 5, at the end of a way.
class Paths : public ::testing::Test {
 protected:
  Paths() : culprit_(document_.NewBuffer(Buffer())) { options_.protocol = 4; }
  std::string PathTo(const Value& root) {
    const Status status = Encode(document_, root, options_).status();
    EXPECT_EQ(KindOf(status), ErrorKind::kPickling) << status;
    EXPECT_THAT(Message(status), HasSubstr("in " + PicklingPathOf(status)));
    return PicklingPathOf(status);
  }
  Value ListWith(const Value& value) {
    return document_.NewList(std::vector<Value>{Value::Int(1), document_.NewTuple({}), value});
  }
  Value DictWith(const Value& value) {
    const Value dict = document_.NewDict();
    document_.SetItem(dict, "a", Value::Int(1));
    document_.SetItem(dict, "b", value);
    return dict;
  }
  Value Class() { return document_.NewGlobal("m", "C"); }
  Document document_;
  EncodeOptions options_;
  Value culprit_;
};

TEST_F(Paths, ThroughContainers) {
  EXPECT_EQ(PathTo(culprit_), "value");
  EXPECT_EQ(PathTo(ListWith(culprit_)), "value[2]");
  EXPECT_EQ(PathTo(DictWith(ListWith(culprit_))), "value['b'][2]");
  EXPECT_EQ(PathTo(document_.NewTuple({Value(), culprit_})), "value[1]");
  EXPECT_EQ(PathTo(*document_.NewFrozenSet({{Value::Int(7), culprit_}})), "value[1]");
  const Value dict = document_.NewDict();
  ASSERT_TRUE(document_.SetItem(dict, document_.NewTuple({culprit_}), Value()).ok());
  EXPECT_EQ(PathTo(dict), "value.keys()[0][0]");
  for (const int protocol : {0, 1, 2, 4}) {
    options_.protocol = protocol;
    EXPECT_EQ(PathTo(DictWith(ListWith(culprit_))), "value['b'][2]") << protocol;
  }
  // In the third batch.
  std::vector<Value> many(2500, Value::Int(1));
  many[2222] = culprit_;
  EXPECT_EQ(PathTo(document_.NewList(many)), "value[2222]");
}

TEST_F(Paths, ThroughObjects) {
  const Value object = document_.NewObject(Class(), document_.NewTuple({}));
  document_.AddState(object, DictWith(culprit_));
  EXPECT_EQ(PathTo(ListWith(object)), "value[2].__dict__['b']");
  const Value stated = document_.NewReduce(Class(), {});
  document_.AddState(stated, ListWith(culprit_));
  EXPECT_EQ(PathTo(stated), "value.__getstate__()[2]");
  EXPECT_EQ(PathTo(document_.NewReduce(Class(), {culprit_})), "value.__reduce__()[1][0]");
  EXPECT_EQ(PathTo(document_.NewReduce(culprit_, {})), "value.__reduce__()[0]");
  EXPECT_EQ(PathTo(document_.NewObject(Class(), document_.NewTuple({culprit_}))),
            "value.__getnewargs__()[0]");
  EXPECT_EQ(PathTo(document_.NewObjectEx(Class(), document_.NewTuple({}), DictWith(culprit_))),
            "value.__getnewargs_ex__()[1]['b']");
  EXPECT_EQ(PathTo(document_.NewInstance(Class(), document_.NewTuple({culprit_}))),
            "value.__getinitargs__()[0]");
  EXPECT_EQ(PathTo(document_.NewPersistent(document_.NewTuple({culprit_}))),
            "value.persistent_id[0]");
  const Value filled = document_.NewReduce(Class(), {});
  const Value pair[2] = {document_.NewStr("k"), culprit_};
  document_.AddAppends(filled, {{Value::Int(1)}});
  document_.AddSetItems(filled, pair);
  EXPECT_EQ(PathTo(filled), "value['k']");
  const Value set = document_.NewReduce(Class(), {});
  document_.AddSetter(set, document_.NewGlobal("m", "set"), culprit_);
  EXPECT_EQ(PathTo(set), "value.__reduce__()[2]");
}

TEST_F(Paths, AreShortenedAndHaveNoStack) {
  Value deep = culprit_;
  for (int i = 0; i < 100'000; ++i) deep = document_.NewTuple({deep});
  const std::string path = PathTo(deep);
  EXPECT_LT(path.size(), 200u);
  EXPECT_THAT(path, HasSubstr("[0]...[0]"));
}

TEST_F(Paths, OfHooksErrors) {
  options_.persistent_id = [&](const Value& value, Document&) -> Made {
    if (!Is(value, culprit_)) return std::nullopt;
    return MakeError(ErrorKind::kConnectionLost, "no database");
  };
  const Status status = Encode(document_, ListWith(culprit_), options_).status();
  EXPECT_EQ(KindOf(status), ErrorKind::kConnectionLost);
  EXPECT_EQ(Message(status), "no database, in value[2]");
}

TEST(Reducers, MustReturnReductions) {
  Document document;
  document.set_root(document.NewReduce(document.NewGlobal("m", "f"), {}));
  EncodeOptions options;
  options.reducer_override = [](const Value&, Document&) -> Made { return Value::Int(1); };
  EXPECT_THAT(Message(Encode(document, options).status()),
              HasSubstr("a reducer returned a value of kind int"));
}

// Each call makes a new object that is asked about again.
TEST(Reducers, ThatNeverEndAreStopped) {
  Document document;
  document.set_root(document.NewReduce(document.NewGlobal("m", "f"), {}));
  EncodeOptions options;
  options.reducer_override = [](const Value& value, Document& made) -> Made {
    if (value.is(Kind::kGlobal)) return std::nullopt;
    const Value again = made.NewReduce(made.NewGlobal("m", "f"), {});
    return made.NewReduce(made.NewGlobal("m", "f"), {again});
  };
  EXPECT_THAT(Message(Encode(document, options).status()), HasSubstr("deep inside one another"));
}

TEST(Encode, OfOptionsAloneIsNotAmbiguous) {
  Document document;
  document.set_root(Value::Int(1));
  EXPECT_EQ(Encode(document, {})->stream, "\x80\5K\1.");
  EXPECT_EQ(Encode(document, Value::Int(2))->stream, "\x80\5K\2.");
  EXPECT_EQ(Encode(document, document.root(), {})->stream, "\x80\5K\1.");
}

}  // namespace
}  // namespace pannier::codec

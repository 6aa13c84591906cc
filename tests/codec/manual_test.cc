// Examples of the manuals of pickle and cPickle that are about classes with state of their own,
// with C++ types in place of Python's. The others: RestrictedUnpickler in allow_list_test.cc,
// DBPickler, dispatch tables and reducer_override in pickler_hooks_test.cc, ZeroCopyByteArray in
// pickle_buffer_test.cc, the file of two pickles in hooks_test.cc.
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "pannier/codec/class_registry.h"
#include "pannier/codec/decoder.h"
#include "pannier/codec/encoder.h"

namespace pannier::codec {
namespace {

using Made = StatusOr<std::optional<Value>>;

// Prints and numbers the lines of a text file. Its pickle holds all but the open file, which is
// opened again, and read up to the line where it stood.
class TextReader {
 public:
  TextReader() = default;
  explicit TextReader(std::string filename) : filename_(std::move(filename)), file_(filename_) {}

  std::optional<std::string> ReadLine() {
    std::string line;
    ++line_number_;
    if (!std::getline(file_, line)) return std::nullopt;
    return absl::StrCat(line_number_, ": ", line);
  }

  Value GetState(Document& made) const {
    const Value state = made.NewDict();
    made.SetItem(state, "filename", made.NewStr(filename_));
    made.SetItem(state, "lineno", Value::Int(line_number_));
    return state;
  }
  Status SetState(const Value& state) {
    const Value* filename = state.is(Kind::kDict) ? state.Find("filename") : nullptr;
    const Value* line_number = state.is(Kind::kDict) ? state.Find("lineno") : nullptr;
    if (filename == nullptr || !filename->is(Kind::kStr) || line_number == nullptr ||
        !line_number->is(Kind::kInt)) {
      return MakeError(ErrorKind::kUnpickling, "no state of a TextReader");
    }
    filename_ = filename->text();
    file_.open(filename_);
    std::string line;
    for (line_number_ = 0; line_number_ < line_number->int_value(); ++line_number_) {
      if (!std::getline(file_, line)) {
        return MakeError(ErrorKind::kUnpickling, absl::StrCat(filename_, " has fewer lines"));
      }
    }
    return absl::OkStatus();
  }

 private:
  std::string filename_;
  std::ifstream file_;
  int64_t line_number_ = 0;
};

class TextReaders : public ::testing::TestWithParam<int> {
 protected:
  TextReaders() {
    classes_.Add<TextReader>("__main__", "TextReader",
                             {.set_state = [](TextReader& reader, const Value& state, Document&) {
                               return reader.SetState(state);
                             }});
    decode_.classes = &classes_;
    encode_.protocol = GetParam();
    encode_.dispatch = &dispatch_;
    std::ofstream(filename_) << "Hello world!\nI am line number two.\nGoodbye!\n";
  }
  ~TextReaders() override { std::remove(filename_.c_str()); }

  // `readers` hold those that `document` has attached to its values.
  StatusOr<Encoded> Dump(const Document& document) {
    dispatch_[{"__main__", "TextReader"}] = [&](const Value& value, Document& made) -> Made {
      const auto reader = document.Attached<TextReader>(value);
      if (reader == nullptr) return std::nullopt;
      return NewReduction(made, {.callee = made.NewGlobal("copyreg", "__newobj__"),
                                 .args = made.NewTuple({made.NewGlobal("__main__", "TextReader")}),
                                 .state = reader->GetState(made)});
    };
    return Encode(document, encode_);
  }

  const std::string filename_ = absl::StrCat(::testing::TempDir(), "/hello_", GetParam(), ".txt");
  ClassRegistry classes_;
  DispatchTable dispatch_;
  DecodeOptions decode_;
  EncodeOptions encode_;
};

TEST_P(TextReaders, ResumeWhereTheyStood) {
  Document document;
  document.set_root(
      document.NewObject(document.NewGlobal("__main__", "TextReader"), document.NewTuple({})));
  const auto reader = std::make_shared<TextReader>(filename_);
  document.Attach(document.root(), reader);
  EXPECT_EQ(reader->ReadLine(), "1: Hello world!");
  EXPECT_EQ(reader->ReadLine(), "2: I am line number two.");

  const auto first = Dump(document);
  ASSERT_TRUE(first.ok()) << first.status();
  const auto loaded = Decode(AsBytes(first->stream), decode_);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const auto again = loaded->Attached<TextReader>(loaded->root());
  ASSERT_NE(again, nullptr);
  // What was loaded, unread, is written as it stands now: the same.
  const auto second = Dump(*loaded);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->stream, first->stream);
  EXPECT_EQ(again->ReadLine(), "3: Goodbye!");
  EXPECT_EQ(again->ReadLine(), std::nullopt);
  EXPECT_EQ(reader->ReadLine(), "3: Goodbye!");  // the first one stood where it was
}

TEST_P(TextReaders, SayWhenTheFileIsShorter) {
  Document document;
  const Value state = document.NewDict();
  document.SetItem(state, "filename", document.NewStr(filename_));
  document.SetItem(state, "lineno", Value::Int(4));
  const Value object =
      document.NewObject(document.NewGlobal("__main__", "TextReader"), document.NewTuple({}));
  document.AddState(object, state);
  document.set_root(object);
  const auto encoded = Encode(document, {.protocol = GetParam()});
  const auto loaded = Decode(AsBytes(encoded->stream), decode_);
  EXPECT_EQ(KindOf(loaded.status()), ErrorKind::kUnpickling);
  EXPECT_NE(loaded.status().message().find("has fewer lines"), absl::string_view::npos);
}

INSTANTIATE_TEST_SUITE_P(All, TextReaders, ::testing::Range(0, 6));

// cPickle's example of persistent ids: an Integer goes as "the value 7", and comes back as
// something fancier.
TEST(Integers, TravelAsPersistentIds) {
  struct Integer {
    int64_t x;
  };
  struct FancyInteger {
    int64_t x;
  };
  Document document;
  document.set_root(
      document.NewInstance(document.NewGlobal("__main__", "Integer"), document.NewTuple({})));
  document.Attach(document.root(), std::make_shared<Integer>(Integer{7}));
  EncodeOptions encode;
  encode.protocol = 0;
  encode.persistent_id = [&](const Value& value, Document& made) -> Made {
    const auto integer = document.Attached<Integer>(value);
    if (integer == nullptr) return std::nullopt;
    return made.NewStr(absl::StrCat("the value ", integer->x));
  };
  const auto stream = Encode(document, encode);
  ASSERT_TRUE(stream.ok()) << stream.status();
  EXPECT_EQ(stream->stream, "Pthe value 7\n.");

  DecodeOptions decode;
  decode.persistent_load = [](const Value& id, Document& into) -> StatusOr<Value> {
    int64_t x = 0;
    constexpr std::string_view kPrefix = "the value ";
    if (!id.text().starts_with(kPrefix) ||
        !absl::SimpleAtoi(ToAbsl(id.text().substr(kPrefix.size())), &x)) {
      return MakeError(ErrorKind::kUnpickling, "Invalid persistent id");
    }
    const Value loaded = into.NewPersistent(id);
    into.Attach(loaded, std::make_shared<FancyInteger>(FancyInteger{x}));
    return loaded;
  };
  const auto loaded = Decode(AsBytes(stream->stream), decode);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->Attached<FancyInteger>(loaded->root())->x, 7);
  EXPECT_EQ(loaded->Attached<Integer>(loaded->root()), nullptr);
  EXPECT_FALSE(Decode(AsBytes("Pother\n."), decode).ok());
}

}  // namespace
}  // namespace pannier::codec

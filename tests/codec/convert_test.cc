// Numbers, text and containers, on Values made by hand; convert_golden_test.cc has those that
// Python made.
#include "pannier/codec/convert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "pannier/codec/loads.h"

namespace pannier::codec {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

template <class T>
std::string ErrorOf(const Document& document, const Value& value) {
  const StatusOr<T> result = As<T>(document, value);
  return result.ok() ? "fits" : std::string(result.status().message());
}

// For values that no Document holds.
template <class T>
std::string ErrorOf(const Value& value) {
  return ErrorOf<T>(Document(), value);
}

template <class T>
T There(const T& object) {
  Document document;
  Builder builder(document);
  const Value value = To(object, builder);
  EXPECT_TRUE(builder.status().ok()) << builder.status();
  StatusOr<T> back = As<T>(document, value);
  EXPECT_TRUE(back.ok()) << back.status();
  return back.ok() ? *std::move(back) : T{};
}

TEST(ConvertNumbers, GoThereAndBack) {
  EXPECT_EQ(There(true), true);
  EXPECT_EQ(There<int8_t>(-128), -128);
  EXPECT_EQ(There<uint64_t>(std::numeric_limits<uint64_t>::max()),
            std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(There<uint64_t>(uint64_t{1} << 63), uint64_t{1} << 63);
  EXPECT_EQ(There(std::numeric_limits<int64_t>::min()), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(There(0.1f), 0.1f);
  EXPECT_EQ(There(-0.0), 0.0);
  EXPECT_TRUE(std::isnan(There(std::numeric_limits<float>::quiet_NaN())));
  EXPECT_EQ(There(std::numeric_limits<float>::infinity()), std::numeric_limits<float>::infinity());
  EXPECT_EQ(There(Float16::FromFloat(1.5f)), Float16::FromFloat(1.5f));
  EXPECT_EQ(There(std::complex<float>(1, -2)), std::complex<float>(1, -2));
}

TEST(ConvertNumbers, AreRangeChecked) {
  EXPECT_EQ(ErrorOf<uint8_t>(Value::Int(255)), "fits");
  EXPECT_EQ(ErrorOf<uint8_t>(Value::Int(300)), "value: expected uint8 (0 to 255), found int 300");
  EXPECT_EQ(ErrorOf<uint8_t>(Value::Int(-1)), "value: expected uint8 (0 to 255), found int -1");
  EXPECT_EQ(ErrorOf<int8_t>(Value::Int(-129)),
            "value: expected int8 (-128 to 127), found int -129");
  EXPECT_EQ(ErrorOf<uint64_t>(Value::Int(-1)),
            "value: expected uint64 (0 to 18446744073709551615), found int -1");
  Document document;
  const Value big = document.NewUnsigned(uint64_t{1} << 63);
  EXPECT_EQ(ErrorOf<int64_t>(document, big),
            "value: expected int64 (-9223372036854775808 to 9223372036854775807), "
            "found int of 9 bytes");
  EXPECT_EQ(As<double>(document, big).value(), std::ldexp(1.0, 63));
  EXPECT_THAT(ErrorOf<float>(Value::Float(1e39)), HasSubstr("within float32"));
  EXPECT_THAT(ErrorOf<Float16>(Value::Float(70000)), HasSubstr("within float16"));
  EXPECT_EQ(ErrorOf<Float16>(Value::Float(-65519)), "fits");
}

TEST(ConvertNumbers, AreNotTakenForEachOther) {
  EXPECT_EQ(ErrorOf<int>(Value::Bool(true)), "value: expected int32, found bool True");
  EXPECT_EQ(ErrorOf<int>(Value::Float(1)), "value: expected int32, found float 1");
  EXPECT_EQ(ErrorOf<bool>(Value::Int(1)), "value: expected bool, found int 1");
  EXPECT_EQ(ErrorOf<double>(Value::Bool(true)), "value: expected float, found bool True");
  EXPECT_EQ(As<double>(Document(), Value::Int(-3)).value(), -3.0);
  EXPECT_EQ(As<std::complex<double>>(Document(), Value::Float(2.5)).value(), 2.5);
  EXPECT_EQ(ErrorOf<std::nullptr_t>(Value::Int(0)), "value: expected None, found int 0");
}

TEST(ConvertNumbers, BigIntsToDouble) {
  Document document;
  const auto of = [&](std::vector<uint8_t> digits) {
    return document.NewInteger(std::as_bytes(std::span(digits)));
  };
  std::vector<uint8_t> power(20, 0);
  power[18] = 1;  // 2^144
  EXPECT_EQ(As<double>(document, of(power)).value(), std::ldexp(1.0, 144));
  // 2^144 + 2^91: a tie between two doubles, and just above it.
  power[11] = 8;
  EXPECT_EQ(As<double>(document, of(power)).value(), std::ldexp(1.0, 144));
  power[0] = 1;
  EXPECT_EQ(As<double>(document, of(power)).value(),
            std::nextafter(std::ldexp(1.0, 144), std::ldexp(1.0, 145)));
  std::vector<uint8_t> negative(16, 0);
  negative[15] = 0x80;  // -2^127
  EXPECT_EQ(As<double>(document, of(negative)).value(), -std::ldexp(1.0, 127));
  std::vector<uint8_t> huge(200, 0x11);
  EXPECT_THAT(ErrorOf<double>(document, of(huge)), HasSubstr("within float"));
}

TEST(ConvertText, GoesThereAndBack) {
  EXPECT_EQ(There<std::string>("h\xc3\xa9llo"), "h\xc3\xa9llo");
  const std::vector<std::byte> bytes = {std::byte{0}, std::byte{255}};
  EXPECT_EQ(There(bytes), bytes);
  EXPECT_EQ(ErrorOf<std::string>(Value::Int(4)), "value: expected str, found int 4");
}

TEST(ConvertText, ViewsLookIntoTheDocument) {
  Document document;
  const std::string text = "some text that lives outside";
  const Value value = document.NewStrView(text);
  EXPECT_EQ(As<std::string_view>(document, value)->data(), text.data());
  EXPECT_EQ(As<ByteSpan>(document, document.NewBytesView(AsBytes(text)))->size(), text.size());
  static_assert(kBorrowsDocument<std::string_view>);
  static_assert(kBorrowsDocument<std::map<std::string, std::vector<ByteSpan>>>);
  static_assert(kBorrowsDocument<std::tuple<int, std::optional<Value>>>);
  static_assert(!kBorrowsDocument<std::variant<std::string, Buffer, ArrayView<const float>>>);
}

TEST(ConvertText, ForeignTextInMessagesIsShortAndEscaped) {
  Document document;
  const Value value = document.NewStr("line\n" + std::string(1000, 'x'));
  EXPECT_EQ(ErrorOf<int>(document, value),
            "value: expected int32, found str 'line\\n" + std::string(35, 'x') + "...'");
}

TEST(ConvertBuffer, OutOfBandIsHeldInBandIsCopied) {
  Document document;
  const Buffer buffer = Buffer::CopyOf(AsBytes("abcd"));
  const Value value = document.NewBuffer(buffer);
  EXPECT_EQ(As<Buffer>(document, value)->data(), buffer.data());
  EXPECT_FALSE(As<Buffer>(document, value)->readonly());
  const Value in_band = document.NewByteArray(AsBytes("xy"));
  const auto copy = As<Buffer>(document, in_band);
  EXPECT_NE(copy->data(), in_band.bytes().data());
  EXPECT_EQ(AsText(copy->span()), "xy");
  EXPECT_FALSE(copy->readonly());
  EXPECT_TRUE(As<Buffer>(document, document.NewBytes(AsBytes("xy")))->readonly());
  EXPECT_EQ(ErrorOf<Buffer>(document, document.NewStr("xy")),
            "value: expected bytes, found str 'xy'");
}

// As pannier in Python pickles long ones: bytes(buffer), bytearray(buffer).
TEST(ConvertBuffer, CallsOfBytesWithABuffer) {
  Document document;
  const auto call = [&](const char* type, const Buffer& buffer) {
    return document.NewReduce(document.NewGlobal("builtins", type), {document.NewBuffer(buffer)});
  };
  const Buffer buffer = Buffer::CopyOf(AsBytes("abcd"));
  const Value bytes = call("bytes", buffer.AsReadonly());
  const Value array = call("bytearray", buffer.AsReadonly());

  // Views of bytes are of the buffer.
  EXPECT_EQ(As<ByteSpan>(document, bytes)->data(), buffer.data());
  EXPECT_EQ(As<Buffer>(document, bytes)->data(), buffer.data());
  EXPECT_TRUE(As<Buffer>(document, bytes)->readonly());
  EXPECT_EQ(As<std::vector<std::byte>>(document, bytes)->size(), 4u);
  EXPECT_EQ(ErrorOf<ByteArray>(document, bytes),
            "value: expected bytearray, found what builtins.bytes makes");

  // A bytearray is its owner's to write to.
  EXPECT_EQ(AsText(As<ByteArray>(document, array)->bytes), "abcd");
  EXPECT_EQ(As<ByteSpan>(document, array)->data(), buffer.data());
  const auto own = As<Buffer>(document, array);
  EXPECT_NE(own->data(), buffer.data());
  EXPECT_FALSE(own->readonly());
  EXPECT_EQ(AsText(own->span()), "abcd");

  // Who can write to a buffer cannot change bytes made of it.
  const auto copy = As<Buffer>(document, call("bytes", buffer));
  EXPECT_NE(copy->data(), buffer.data());
  EXPECT_TRUE(copy->readonly());
  EXPECT_FALSE(As<Buffer>(document, document.NewReduce(document.NewGlobal("builtins", "bytes"),
                                                       {Value::Int(1000)}))
                   .ok());
}

TEST(ConvertContainers, GoThereAndBack) {
  const std::map<std::string, std::vector<double>> map = {{"a", {1, 2}}, {"b", {}}};
  EXPECT_EQ(There(map), map);
  const std::unordered_map<int, std::string> unordered = {{1, "x"}, {2, "y"}};
  EXPECT_EQ(There(unordered), unordered);
  const absl::flat_hash_map<std::string, int> flat = {{"k", 1}};
  EXPECT_EQ(There(flat), flat);
  const std::set<std::pair<int, std::string>> set = {{1, "a"}, {2, "b"}};
  EXPECT_EQ(There(set), set);
  const std::unordered_set<std::string> strings = {"p", "q"};
  EXPECT_EQ(There(strings), strings);
  const absl::flat_hash_set<int> numbers = {3, 4};
  EXPECT_EQ(There(numbers), numbers);
  const std::tuple<int, std::string, std::optional<float>> tuple = {1, "s", std::nullopt};
  EXPECT_EQ(There(tuple), tuple);
  const std::array<std::vector<bool>, 2> array = {{{true, false}, {}}};
  EXPECT_EQ(There(array), array);
  EXPECT_EQ(There(std::tuple<>()), std::tuple<>());
}

TEST(ConvertContainers, ArePythonsKinds) {
  Document document;
  Builder builder(document);
  EXPECT_TRUE(To(std::tuple(1, 2), builder).is(Kind::kTuple));
  EXPECT_TRUE(To(std::pair(1, 2), builder).is(Kind::kTuple));
  EXPECT_TRUE(To(std::vector{1, 2}, builder).is(Kind::kList));
  EXPECT_TRUE(To(std::array{1, 2}, builder).is(Kind::kList));
  EXPECT_TRUE(To(std::map<int, int>{{1, 2}}, builder).is(Kind::kDict));
  EXPECT_TRUE(To(std::set<int>{1}, builder).is(Kind::kSet));
  EXPECT_TRUE(To("text", builder).is(Kind::kStr));
  EXPECT_EQ(To("text", builder).text(), "text");
  EXPECT_TRUE(To(std::optional<int>(), builder).is_none());
  EXPECT_TRUE(To(std::monostate(), builder).is_none());
}

TEST(ConvertContainers, ReferencesToArguments) {
  Document document;
  Builder builder(document);
  const std::string name = "frame";
  const std::vector<int> numbers = {4, 5};
  const Value value = To(std::tuple<const std::string&, const std::vector<int>&, const char(&)[3]>(
                             name, numbers, "ab"),
                         builder);
  const auto back = As<std::tuple<std::string, std::vector<int>, std::string>>(document, value);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(*back, std::tuple(name, numbers, std::string("ab")));
}

TEST(ConvertContainers, VariantsTakeTheFirstThatFits) {
  using Any = std::variant<std::monostate, int8_t, int64_t, double, std::string, std::vector<int>,
                           std::vector<double>>;
  Document document;
  EXPECT_EQ(As<Any>(document, Value::None()).value().index(), 0u);
  EXPECT_EQ(As<Any>(document, Value::Int(5)).value().index(), 1u);
  EXPECT_EQ(As<Any>(document, Value::Int(500)).value().index(), 2u);
  EXPECT_EQ(As<Any>(document, Value::Float(5)).value().index(), 3u);
  EXPECT_EQ(As<Any>(document, document.NewStr("x")).value().index(), 4u);
  const Value floats[] = {Value::Int(1), Value::Float(2)};
  EXPECT_EQ(As<Any>(document, document.NewList(floats)).value(), Any(std::vector<double>{1, 2}));
  EXPECT_EQ(ErrorOf<Any>(document, document.NewDict()),
            "value: expected None, int8, int64, float, str, list of int32 or list of float, "
            "found dict of 0");
  // Alternatives of one type, by place.
  EXPECT_EQ((As<std::variant<int, int>>(document, Value::Int(5)).value().index()), 0u);
}

TEST(ConvertContainers, TheWayToTheCulprit) {
  Document document;
  const Value inner[] = {Value::Float(1), Value::Float(2), document.NewStr("x")};
  const Value frames = document.NewDict();
  document.SetItem(frames, "frames", document.NewList(inner));
  const Value args = document.NewTuple({frames, Value::Int(3)});
  document.set_root(args);
  using Frames = std::map<std::string, std::vector<double>>;
  const auto arguments = ArgumentsAs<std::tuple<Frames, int>>(document);
  EXPECT_EQ(arguments.status().message(),
            "argument 0[\"frames\"][2]: expected float, found str 'x'");
  EXPECT_EQ(KindOf(arguments.status()), ErrorKind::kInvalidArgument);
  const auto whole = As<std::tuple<Frames, int>>(document);
  EXPECT_EQ(whole.status().message(), "value[0][\"frames\"][2]: expected float, found str 'x'");
  EXPECT_EQ(KindOf(whole.status()), ErrorKind::kUnpickling);
  EXPECT_EQ((ErrorOf<std::tuple<std::map<int, Value>, int>>(document, args)),
            "key \"frames\" of value[0]: expected int32, found str 'frames'");
  EXPECT_EQ((ErrorOf<std::tuple<Frames, int, int>>(document, args)),
            "value: expected tuple of 3, found tuple of 2");
  EXPECT_EQ(ErrorOf<std::vector<int>>(document, frames),
            "value: expected list of int32, found dict of 1");
}

TEST(ConvertContainers, ArgumentsOfCalls) {
  Document document;
  document.set_root(document.NewTuple({Value::Int(1), Value::Float(2)}));
  const auto arguments = ArgumentsAs<std::tuple<int, double>>(document);
  ASSERT_TRUE(arguments.ok()) << arguments.status();
  EXPECT_EQ(*arguments, std::tuple(1, 2.0));
  EXPECT_EQ((ArgumentsAs<std::tuple<int>>(document).status().message()),
            "expected 1 argument, found 2");
  EXPECT_EQ((ArgumentsAs<std::tuple<>>(document).status().message()),
            "expected 0 arguments, found 2");
  document.set_root(Value::Int(1));
  EXPECT_EQ((ArgumentsAs<std::tuple<int>>(document).status().message()),
            "expected a tuple of arguments, found int 1");
}

TEST(ConvertContainers, UnhashableKeysAreErrors) {
  Document document;
  Builder builder(document);
  To(std::set<std::vector<int>>{{1}}, builder);
  EXPECT_EQ(KindOf(builder.status()), ErrorKind::kInvalidArgument) << builder.status();
}

TEST(ConvertLimits, SharedObjectsAreCountedEachTime) {
  // Ten levels of a list that holds the next one ten times: 10^10 elements of few bytes.
  Document document;
  Value list = document.NewList();
  document.Append(list, Value::Int(1));
  for (int i = 0; i < 10; ++i) {
    const std::vector<Value> items(10, list);
    list = document.NewList(items);
  }
  using L2 = std::vector<std::vector<std::vector<int64_t>>>;
  using L5 = std::vector<std::vector<std::vector<L2>>>;
  using L8 = std::vector<std::vector<std::vector<L5>>>;
  using L10 = std::vector<std::vector<L8>>;
  ConvertOptions options;
  options.max_bytes = 1 << 20;
  const auto result = As<L10>(document, list, options);
  EXPECT_EQ(KindOf(result.status()), ErrorKind::kLimit) << result.status();
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("more than 1048576 bytes"));
  // A variant does not go on to its next alternative.
  const auto variant = As<std::variant<L10, Value>>(document, list, options);
  EXPECT_EQ(KindOf(variant.status()), ErrorKind::kLimit) << variant.status();
}

struct Tree {
  std::vector<Tree> branches;
};

}  // namespace

template <>
struct Convert<Tree> {
  static StatusOr<Tree> From(const Value& value, const Place& place) {
    PANNIER_ASSIGN_OR_RETURN(auto branches,
                             codec::From<std::vector<Tree>>(value, place.Field("b")));
    return Tree{std::move(branches)};
  }
  static Value To(const Tree& tree, Builder& builder) { return codec::To(tree.branches, builder); }
};

namespace {

TEST(ConvertLimits, CyclesAndDepthAreErrors) {
  Document document;
  const Value cycle = document.NewList();
  document.Append(cycle, cycle);
  const auto result = As<Tree>(document, cycle);
  EXPECT_EQ(KindOf(result.status()), ErrorKind::kLimit);
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("nested deeper than 400"));

  Tree tree;
  for (int i = 0; i < 100; ++i) {
    Tree above;
    above.branches.push_back(std::move(tree));
    tree = std::move(above);
  }
  EXPECT_EQ(There(tree).branches.size(), 1u);
}

TEST(ConvertAnything, ValuesAndDocuments) {
  Document document;
  const Value list = document.NewList();
  document.Append(list, list);
  EXPECT_TRUE(Is(As<Value>(document, list).value(), list));
  const auto copies = As<std::vector<Document>>(document, list);
  ASSERT_TRUE(copies.ok()) << copies.status();
  EXPECT_TRUE(Is((*copies)[0].root().items()[0], (*copies)[0].root()));
}

}  // namespace
}  // namespace pannier::codec

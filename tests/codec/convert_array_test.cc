// Arrays out of and into Values, on hand-made Values and on streams of our own.
#include "pannier/codec/convert_array.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <numeric>

#include "golden_vectors.h"
#include "pannier/codec/dumps.h"
#include "pannier/codec/loads.h"

namespace pannier::codec {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Makes numpy.ndarray(shape, code, bytes, ...) and its kin.
class ArrayValueTest : public testing::Test {
 protected:
  Value Bytes(size_t size) {
    std::string bytes(size, '\0');
    std::iota(bytes.begin(), bytes.end(), '\0');
    return document_.NewByteArray(AsBytes(bytes));
  }
  Value Numbers(std::initializer_list<int64_t> numbers) {
    std::vector<Value> values;
    for (const int64_t number : numbers) values.push_back(Value::Int(number));
    return document_.NewTuple(values);
  }
  Value Constructor(std::initializer_list<Value> args) {
    return document_.NewReduce(document_.NewGlobal("numpy", "ndarray"), args);
  }
  Value Text(const char* text) { return document_.NewStr(text); }

  template <class T>
  std::string Error(const Value& value) {
    const auto result = As<T>(document_, value);
    return result.ok() ? "fits" : std::string(result.status().message());
  }
  template <class T>
  ArrayView<T> View(const Value& value) {
    auto view = As<ArrayView<T>>(document_, value);
    EXPECT_TRUE(view.ok()) << view.status();
    return view.ok() ? *std::move(view) : ArrayView<T>();
  }

  Document document_;
};

TEST_F(ArrayValueTest, SizesMustAgree) {
  const auto frombuffer = [&](int64_t bytes) {
    return document_.NewReduce(
        document_.NewGlobal("numpy._core.numeric", "_frombuffer"),
        {Bytes(static_cast<size_t>(bytes)), Text("<f8"), Numbers({2, 3}), Text("C")});
  };
  EXPECT_EQ(Error<ArrayView<const double>>(frombuffer(48)), "fits");
  EXPECT_EQ(Error<ArrayView<const double>>(frombuffer(40)),
            "value: an array of shape (2, 3) and dtype float64 needs 48 bytes, its buffer has 40");
  EXPECT_EQ(Error<ArrayView<const double>>(frombuffer(56)),
            "value: an array of shape (2, 3) and dtype float64 needs 48 bytes, its buffer has 56");
  EXPECT_EQ(Error<ArrayView<const double>>(Constructor({Numbers({2}), Text("<f8"), Bytes(15)})),
            "value: an array of shape (2,) and dtype float64 needs 16 bytes, its buffer has 15");
}

TEST_F(ArrayValueTest, WhatNoArraySays) {
  const auto error = [&](std::initializer_list<Value> args) {
    return Error<ArrayView<const uint16_t>>(Constructor(args));
  };
  const Value none = Value::None();
  const Value u2 = Text("<u2");
  const Value bytes = Bytes(16);
  EXPECT_EQ(error({Value::Int(8), u2, bytes}), "fits");
  EXPECT_EQ(error({Numbers({2, 2}), u2, bytes, Value::Int(8), none, Text("F")}), "fits");
  EXPECT_THAT(error({Numbers({2, 2}), u2, bytes, Value::Int(9)}), HasSubstr("from byte 9"));
  EXPECT_THAT(error({Numbers({2}), u2, bytes, Value::Int(-8)}), HasSubstr("offset is int -8"));
  EXPECT_THAT(error({Numbers({2}), u2, bytes, Value::Int(0), Numbers({-2})}),
              HasSubstr("holds int -2"));
  EXPECT_THAT(error({Numbers({2}), u2, bytes, Value::Int(0), Numbers({3})}),
              HasSubstr("stride of 3 bytes"));
  EXPECT_THAT(error({Numbers({2}), u2, bytes, Value::Int(0), Numbers({16})}),
              HasSubstr("needs 18 bytes"));
  EXPECT_THAT(error({Numbers({2}), u2, bytes, Value::Int(0), Numbers({2, 2})}),
              HasSubstr("a stride for each"));
  EXPECT_THAT(error({Numbers({-1}), u2, bytes}), HasSubstr("shape holds int -1"));
  EXPECT_THAT(error({Text("x"), u2, bytes}), HasSubstr("shape is no tuple"));
  EXPECT_THAT(error({Numbers({1}), Text("<u3"), bytes}), HasSubstr("a dtype that is str '<u3'"));
  EXPECT_THAT(error({Numbers({1}), u2, Text("bytes")}), HasSubstr("contents are str 'bytes'"));
  EXPECT_THAT(error({Numbers({1}), u2, none}), HasSubstr("without contents"));
  EXPECT_THAT(error({Numbers({1}), u2}), HasSubstr("without contents"));
  EXPECT_THAT(error({Numbers({1}), u2, bytes, Value::Int(0), none, Text("A")}),
              HasSubstr("order is str 'A'"));
  EXPECT_THAT(error({Numbers({int64_t{1} << 40, int64_t{1} << 40}), u2, bytes}),
              HasSubstr("larger than any memory"));
}

TEST_F(ArrayValueTest, DTypesMustAgree) {
  const Value floats = Constructor({Numbers({2}), Text("<f4"), Bytes(8)});
  EXPECT_EQ(Error<ArrayView<const double>>(floats),
            "value: expected float64 array, found float32 array");
  EXPECT_EQ(Error<Array<int32_t>>(floats), "value: expected int32 array, found float32 array");
  EXPECT_EQ(Error<ArrayView<const double>>(Value::Int(3)),
            "value: expected float64 array, found int 3");
  EXPECT_EQ(Error<std::vector<int>>(floats), "value: expected int32 array, found float32 array");
  EXPECT_EQ(Error<int>(floats), "value: expected int32, found an array");
  const auto any = As<AnyArray>(document_, floats);
  ASSERT_TRUE(any.ok()) << any.status();
  EXPECT_EQ(any->dtype(), DTypeFor<float>());
}

TEST_F(ArrayValueTest, TheOrderOfAxesIsChecked) {
  const auto error = [&](std::initializer_list<int64_t> axes) {
    return Error<ArrayView<const uint8_t>>(document_.NewReduce(
        document_.NewGlobal("numpy._core.numeric", "_frombuffer"),
        {Bytes(24), Text("|u1"), Numbers({2, 3, 4}), Text("K"), Numbers(axes)}));
  };
  EXPECT_EQ(error({1, 0, 2}), "fits");
  for (const auto& axes : {std::initializer_list<int64_t>{0, 1},
                           {0, 1, 1},
                           {0, 1, 3},
                           {0, 1, -1},
                           {0, 1, 2, 2},
                           {0, 1, 2, 3},
                           {}}) {
    EXPECT_THAT(error(axes), HasSubstr("order of axes"));
  }
}

// Python 2's str, decoded as Latin-1 by whoever asked for that; and a state of the oldest form.
TEST_F(ArrayValueTest, ElementsAsText) {
  const auto array = [&](const char* text) {
    const Value value =
        document_.NewReduce(document_.NewGlobal("numpy.core.multiarray", "_reconstruct"),
                            {document_.NewGlobal("numpy", "ndarray"), Numbers({0}), Text("b")});
    document_.AddState(value, document_.NewTuple({Numbers({2}), Text("|u1"), Value::Int(0),
                                                  document_.NewStr(text)}));
    return value;
  };
  EXPECT_THAT(View<uint8_t>(array("a\xc3\xbf")).flat(), ElementsAre('a', 0xff));
  EXPECT_THAT(Error<ArrayView<uint8_t>>(array("a\xe2\x82\xac")), HasSubstr("contents are str"));
  EXPECT_THAT(Error<ArrayView<uint8_t>>(array("a")), HasSubstr("needs 2 bytes"));
}

TEST_F(ArrayValueTest, MisalignedElementsAreCopied) {
  Buffer buffer = Buffer::OfHeap(17);
  for (size_t i = 0; i < 17; ++i) buffer.mutable_data()[i] = static_cast<std::byte>(i);
  const Value data = document_.NewBuffer(buffer);
  const auto at = [&](int64_t offset) {
    return View<const uint64_t>(Constructor({Numbers({1}), Text("<u8"), data, Value::Int(offset)}));
  };
  EXPECT_EQ(reinterpret_cast<const std::byte*>(at(8).data()), buffer.data() + 8);
  EXPECT_NE(reinterpret_cast<const std::byte*>(at(1).data()), buffer.data() + 1);
  EXPECT_EQ(at(1)(0), 0x0807060504030201u);
}

TEST_F(ArrayValueTest, ReadOnlyIsKept) {
  const Value writable = document_.NewBuffer(Buffer::OfHeap(4));
  const Value readonly = document_.NewBuffer(Buffer::OfHeap(4).AsReadonly());
  const auto array = [&](const Value& data) {
    return Constructor({Numbers({4}), Text("|u1"), data});
  };
  EXPECT_EQ(Error<ArrayView<uint8_t>>(array(writable)), "fits");
  EXPECT_EQ(Error<ArrayView<uint8_t>>(array(readonly)),
            "value: the array is read-only; view its elements as const, or copy it");
  EXPECT_EQ(Error<ArrayView<const uint8_t>>(array(readonly)), "fits");
  EXPECT_EQ(Error<ArrayView<uint8_t>>(array(document_.NewBytes(AsBytes("abcd")))),
            "value: the array is read-only; view its elements as const, or copy it");
  EXPECT_EQ(Error<ArrayView<uint8_t>>(array(document_.NewByteArray(AsBytes("abcd")))), "fits");
}

TEST_F(ArrayValueTest, BoolsAreZeroOrOne) {
  for (const bool out_of_band : {false, true}) {
    const std::string bytes = {0, 1, 2, -1};
    const Value data = out_of_band ? document_.NewBuffer(Buffer::CopyOf(AsBytes(bytes)))
                                   : document_.NewByteArray(AsBytes(bytes));
    const Value value = Constructor({Numbers({4}), Text("|b1"), data});
    const ArrayView<bool> view = View<bool>(value);
    const uint8_t* raw = reinterpret_cast<const uint8_t*>(view.data());
    EXPECT_THAT(std::vector<uint8_t>(raw, raw + 4), ElementsAre(0, 1, 1, 1));
    EXPECT_THAT(As<Array<bool>>(document_, value)->flat(), ElementsAre(false, true, true, true));
    EXPECT_THAT(*As<std::vector<bool>>(document_, value), ElementsAre(false, true, true, true));
  }
}

TEST_F(ArrayValueTest, OwnersNeverShare) {
  const Buffer buffer = Buffer::OfHeap(16);
  const Value array = Constructor({Numbers({2}), Text("<f8"), document_.NewBuffer(buffer)});
  const Value twice = document_.NewTuple({array, array, array});
  const auto owners =
      As<std::tuple<Array<double>, Array<double>, ArrayView<double>>>(document_, twice);
  ASSERT_TRUE(owners.ok()) << owners.status();
  EXPECT_EQ(std::get<0>(*owners).buffer().data(), buffer.data());
  EXPECT_NE(std::get<1>(*owners).buffer().data(), buffer.data());
  EXPECT_EQ(std::get<2>(*owners).buffer().data(), buffer.data());  // a view does share
}

TEST_F(ArrayValueTest, BroadcastArraysCostWhatTheyHold) {
  const Value value = Constructor(
      {Numbers({int64_t{1} << 40, 2}), Text("|u1"), Bytes(2), Value::Int(0), Numbers({0, 1})});
  const auto view = View<const uint8_t>(value);
  EXPECT_EQ(view(int64_t{1} << 39, 1), 1);
  EXPECT_THAT(Error<Array<uint8_t>>(value), HasSubstr("raise ConvertOptions::max_bytes"));
}

TEST_F(ArrayValueTest, VectorsTakeArraysOfOneDimension) {
  const Value value = Constructor({Numbers({3}), Text("|u1"), Bytes(3)});
  EXPECT_THAT(*As<std::vector<uint8_t>>(document_, value), ElementsAre(0, 1, 2));
  const Value square = Constructor({Numbers({2, 2}), Text("|u1"), Bytes(4)});
  EXPECT_EQ(Error<std::vector<uint8_t>>(square),
            "value: expected a list or an array of one dimension, found an array of 2");
}

TEST_F(ArrayValueTest, ScalarsThatAreNone) {
  const auto scalar = [&](const char* code, size_t bytes) {
    return document_.NewReduce(document_.NewGlobal("numpy._core.multiarray", "scalar"),
                               {Text(code), Bytes(bytes)});
  };
  EXPECT_EQ(*As<int>(document_, scalar(">i2", 2)), 1);
  EXPECT_EQ(Error<int>(scalar("<i4", 3)), "value: expected int32, found a NumPy scalar");
  EXPECT_EQ(Error<int>(scalar("<f8", 8)), "value: expected int32, found a NumPy scalar");
  EXPECT_EQ(Error<int8_t>(scalar("<i2", 2)),
            "value: expected int8 (-128 to 127), found a NumPy scalar");
  EXPECT_EQ(Error<bool>(scalar("|u1", 1)), "value: expected bool, found a NumPy scalar");
}

// ---- Written and read back. ---------------------------------------------------------------

template <class T, class U>
T There(const U& object, const EncodeOptions& options = {}) {
  const StatusOr<Encoded> encoded = Dumps(object, options);
  EXPECT_TRUE(encoded.ok()) << encoded.status();
  StatusOr<T> back = Loads<T>(AsBytes(encoded->stream), encoded->buffers);
  EXPECT_TRUE(back.ok()) << back.status();
  return *std::move(back);
}

TEST(DumpsArrayTest, OutOfBandSharesTheMemory) {
  auto array = Array<float>::OfShape({2, 3});
  std::iota(array.flat().begin(), array.flat().end(), 0.f);
  const auto encoded = Dumps(array);
  ASSERT_TRUE(encoded.ok()) << encoded.status();
  ASSERT_EQ(encoded->buffers.size(), 1u);
  EXPECT_EQ(encoded->buffers[0].data(), array.buffer().data());
  EXPECT_EQ(encoded->buffers[0].size(), 24u);
  EXPECT_LT(encoded->stream.size(), 64u);
  const auto back = Loads<ArrayView<float>>(AsBytes(encoded->stream), encoded->buffers);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->data(), array.data());
  EXPECT_THAT(back->shape(), ElementsAre(2, 3));
}

TEST(DumpsArrayTest, EveryLayoutInEveryProtocol) {
  std::vector<int16_t> numbers(60);
  std::iota(numbers.begin(), numbers.end(), int16_t{0});
  const Buffer buffer = Buffer::CopyOf(std::as_bytes(std::span(numbers)));
  struct Layout {
    const char* name;
    Shape shape;
    Extents strides;
    size_t offset = 0;
  };
  const Layout layouts[] = {
      {"c", {3, 4, 5}, {20, 5, 1}},
      {"fortran", {3, 4, 5}, {1, 3, 12}},
      {"permuted", {3, 4, 5}, {5, 15, 1}},
      {"gaps", {3, 2}, {20, 7}, 4},
      {"repeated", {3, 2}, {0, 1}},
      {"part", {2, 5}, {5, 1}, 10},
      {"scalar", {}, {}, 2},
      {"none", {0, 5}, {5, 1}},
      {"one", {1, 1}, {9, 9}, 2},
  };
  for (const Layout& layout : layouts) {
    SCOPED_TRACE(layout.name);
    const auto array =
        AnyArray::Over(DTypeFor<int16_t>(), layout.shape, layout.strides, buffer, layout.offset);
    ASSERT_TRUE(array.ok()) << array.status();
    const auto view = ArrayView<const int16_t>::Of(*array);
    const AnyArray plain = array->CopyToC();
    for (int protocol = 0; protocol <= kHighestProtocol; ++protocol) {
      for (const bool in_band : {false, true}) {
        EncodeOptions options;
        options.protocol = protocol;
        if (in_band && protocol == 5) options.place_buffer = InBand;
        const auto back = There<ArrayView<const int16_t>>(*view, options);
        EXPECT_TRUE(std::ranges::equal(back.shape(), view->shape()));
        EXPECT_EQ(AsText({back.any().CopyToC().data(), plain.size_bytes()}),
                  AsText({plain.data(), plain.size_bytes()}));
        const bool kept = array->is_c() || array->is_fortran() || protocol == 5;
        EXPECT_TRUE(!array->is_dense() || !kept || back.order() == view->order());
      }
    }
  }
}

TEST(DumpsArrayTest, EveryType) {
  const auto check = [](auto element) {
    using T = decltype(element);
    const auto array = Array<T>::Of({T{}, element});
    EXPECT_EQ((There<Array<T>>(array)(1)), element);
    EncodeOptions options;
    options.protocol = 2;
    EXPECT_EQ((There<Array<T>>(array, options)(1)), element);
  };
  check(true);
  check(int8_t{-5});
  check(int16_t{-500});
  check(int32_t{-70000});
  check(int64_t{-1} << 40);
  check(std::byte{200});
  check(uint8_t{200});
  check(uint16_t{60000});
  check(uint32_t{1} << 31);
  check(uint64_t{1} << 63);
  check(Float16::FromFloat(1.5));
  check(1.5f);
  check(1.5);
  check(1.5L);
  check(std::complex<float>(1, 2));
  check(std::complex<double>(1, 2));
  check(std::complex<long double>(1, 2));
}

TEST(DumpsArrayTest, ReadOnlyGoesThereAndBack) {
  const auto view = ArrayView<const int>::Over(std::vector<int>{}, {0});
  EXPECT_TRUE(There<ArrayView<const int>>(*view).buffer().readonly());
  const auto array = Array<int>::Of({1});
  EXPECT_FALSE(There<ArrayView<const int>>(array).buffer().readonly());
}

TEST(DumpsArrayTest, ManyInOneValue) {
  std::map<std::string, std::vector<Array<int>>> frames;
  for (int i = 0; i < 3; ++i) frames["a"].push_back(Array<int>::Of({i, i}));
  frames["b"].push_back(Array<int>());
  const auto back = There<std::map<std::string, std::vector<ArrayView<const int>>>>(frames);
  ASSERT_EQ(back.at("a").size(), 3u);
  EXPECT_THAT(back.at("a")[2].flat(), ElementsAre(2, 2));
  EXPECT_TRUE(back.at("b")[0].empty());
}

TEST(DumpsArrayTest, ArgumentsAreOneTuple) {
  const auto array = Array<int>::Of({1, 2});
  const auto encoded = DumpsArguments({}, array, 2.5f, "name", std::string("x"));
  ASSERT_TRUE(encoded.ok()) << encoded.status();
  const auto document = Loads<Document>(AsBytes(encoded->stream), encoded->buffers);
  ASSERT_TRUE(document.ok()) << document.status();
  const auto arguments =
      ArgumentsAs<std::tuple<ArrayView<const int>, float, std::string_view, std::string>>(
          *document);
  ASSERT_TRUE(arguments.ok()) << arguments.status();
  EXPECT_THAT(std::get<0>(*arguments).flat(), ElementsAre(1, 2));
  EXPECT_EQ(std::get<2>(*arguments), "name");
  EXPECT_EQ(DumpsArguments({})->stream.size(), 4u);  // PROTO 5, EMPTY_TUPLE, STOP
}

// Below protocol 5 an array is written as NumPy 1 writes it, byte for byte.
TEST(DumpsArrayTest, OldProtocolsAreNumPys) {
  size_t count = 0;
  for (const GoldenVector& vector : ReadGoldenVectors("arrays_numpy1.txt")) {
    const std::string_view name = vector.name;
    if (!name.starts_with("<f4:") || name.find(":p5") != name.npos ||
        name.find("scalar") != name.npos || name.find("array") != name.npos) {
      continue;
    }
    const auto view = Loads<ArrayView<const float>>(AsBytes(vector.stream));
    ASSERT_TRUE(view.ok()) << view.status();
    EncodeOptions options;
    options.protocol = name.back() - '0';
    const auto encoded = Dumps(*view, options);
    ASSERT_TRUE(encoded.ok()) << encoded.status();
    EXPECT_EQ(absl::BytesToHexString(encoded->stream), absl::BytesToHexString(vector.stream))
        << name;
    ++count;
  }
  EXPECT_GT(count, 30u);
}

TEST(DumpsTest, BuffersArePickleBuffers) {
  const Buffer buffer = Buffer::CopyOf(AsBytes("abcd"));
  const auto encoded = Dumps(std::pair(buffer, buffer.AsReadonly()));
  ASSERT_TRUE(encoded.ok()) << encoded.status();
  ASSERT_EQ(encoded->buffers.size(), 2u);
  EXPECT_EQ(encoded->buffers[0].data(), buffer.data());
  EncodeOptions options;
  options.protocol = 4;
  const auto back =
      There<std::pair<Buffer, Buffer>>(std::pair(buffer, buffer.AsReadonly()), options);
  EXPECT_FALSE(back.first.readonly());
  EXPECT_TRUE(back.second.readonly());
  EXPECT_EQ(AsText(back.second.span()), "abcd");
}

TEST(DumpsTest, ErrorsOfTheBuilderComeFirst) {
  const auto encoded = Dumps(std::vector{absl::InfiniteFuture()});
  EXPECT_EQ(KindOf(encoded.status()), ErrorKind::kPickling);
  EXPECT_FALSE(Dumps(std::string("\xff")).ok());
}

}  // namespace
}  // namespace pannier::codec

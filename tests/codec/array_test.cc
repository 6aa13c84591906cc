#include "pannier/codec/array.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

namespace pannier::codec {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr DType kF8 = DTypeFor<double>();

TEST(DTypeTest, CodesOfTheTypes) {
  EXPECT_EQ(DTypeFor<bool>().Code(), "|b1");
  EXPECT_EQ(DTypeFor<int8_t>().Code(), "|i1");
  EXPECT_EQ(DTypeFor<std::byte>().Code(), "|u1");
  EXPECT_EQ(DTypeFor<long long>().Code(), "<i8");
  EXPECT_EQ(DTypeFor<Float16>().Code(), "<f2");
  EXPECT_EQ(DTypeFor<std::complex<float>>().Code(), "<c8");
  EXPECT_EQ(DTypeFor<std::complex<double>>().Name(), "complex128");
  static_assert(!ArrayElement<char> && !ArrayElement<std::string> && !ArrayElement<wchar_t>);
}

TEST(DTypeTest, ReadsCodesAndNoOthers) {
  EXPECT_EQ(DType::FromCode("f8"), kF8);
  EXPECT_EQ(DType::FromCode("=f8"), kF8);
  EXPECT_EQ(DType::FromCode(">f8"), (DType{DTypeKind::kFloat, 8, true}));
  EXPECT_EQ(DType::FromCode(">u1"), DTypeFor<uint8_t>());  // one byte has no order
  for (const char* code : {"", "f", "f0", "f3", "f80", "f8 ", "i16", "u-8", "b2", "O8", "V8", "U3",
                           "S5", "M8", "m8", "<", "<>f8", "c4", "f08"}) {
    EXPECT_EQ(DType::FromCode(code), std::nullopt) << code;
  }
}

TEST(Float16Test, EveryValueSurvivesFloat) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const Float16 half{static_cast<uint16_t>(bits)};
    const float value = half.ToFloat();
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(Float16::FromFloat(value).ToFloat()));
    } else {
      EXPECT_EQ(Float16::FromFloat(value), half) << bits;
    }
  }
  EXPECT_EQ(Float16{0x3c00}.ToFloat(), 1.0f);
  EXPECT_EQ(Float16{0x7bff}.ToFloat(), 65504.0f);
  EXPECT_EQ(Float16{0x8001}.ToFloat(), -std::ldexp(1.0f, -24));
}

TEST(Float16Test, RoundsToNearestEven) {
  // Between two neighbours: below, at and above the middle.
  for (const uint16_t low : {0x0000, 0x0001, 0x03ff, 0x0400, 0x3c00, 0x3c01, 0x7bfe}) {
    const Float16 a{low};
    const Float16 b{static_cast<uint16_t>(low + 1)};
    const float middle = (a.ToFloat() + b.ToFloat()) / 2;
    EXPECT_EQ(Float16::FromFloat(std::nextafter(middle, 0.0f)), a) << low;
    EXPECT_EQ(Float16::FromFloat(std::nextafter(middle, 1e9f)), b) << low;
    EXPECT_EQ(Float16::FromFloat(middle), low % 2 == 0 ? a : b) << low;
    EXPECT_EQ(Float16::FromFloat(-middle).bits, (low % 2 == 0 ? a : b).bits | 0x8000);
  }
  EXPECT_EQ(Float16::FromFloat(65519.9f).bits, 0x7bff);
  EXPECT_EQ(Float16::FromFloat(65520.0f).bits, 0x7c00);
  EXPECT_EQ(Float16::FromFloat(-std::numeric_limits<float>::infinity()).bits, 0xfc00);
}

Buffer BufferOf(size_t size) {
  Buffer buffer = Buffer::OfHeap(size);
  for (size_t i = 0; i < size; ++i) buffer.mutable_data()[i] = static_cast<std::byte>(i);
  return buffer;
}

TEST(AnyArrayTest, StridesAndLayout) {
  const auto c = AnyArray::Over(DTypeFor<uint8_t>(), {2, 3, 4}, Order::kC, BufferOf(24));
  ASSERT_TRUE(c.ok()) << c.status();
  EXPECT_THAT(c->strides(), ElementsAre(12, 4, 1));
  EXPECT_TRUE(c->is_c() && c->is_dense() && !c->is_fortran());
  const auto f = AnyArray::Over(DTypeFor<uint8_t>(), {2, 3, 4}, Order::kFortran, BufferOf(24));
  EXPECT_THAT(f->strides(), ElementsAre(1, 2, 6));
  EXPECT_TRUE(f->is_fortran() && f->is_dense() && !f->is_c());
  EXPECT_EQ(f->order(), Order::kFortran);
  const auto permuted = AnyArray::Over(DTypeFor<uint8_t>(), {2, 3, 4}, {4, 8, 1}, BufferOf(24));
  EXPECT_TRUE(permuted->is_dense() && !permuted->is_c() && !permuted->is_fortran());
  const auto gaps = AnyArray::Over(DTypeFor<uint8_t>(), {2, 3}, {12, 2}, BufferOf(24));
  EXPECT_FALSE(gaps->is_dense());
  const auto repeated = AnyArray::Over(DTypeFor<uint8_t>(), {5, 3}, {0, 1}, BufferOf(3));
  EXPECT_FALSE(repeated->is_dense());
  const auto ones = AnyArray::Over(DTypeFor<uint8_t>(), {1, 5, 1}, {77, 1, 99}, BufferOf(5));
  EXPECT_TRUE(ones->is_c() && ones->is_fortran());
}

TEST(AnyArrayTest, RefusesWhatDoesNotFit) {
  const auto message = [](DType dtype, const Shape& shape, size_t bytes, size_t offset = 0) {
    const auto array = AnyArray::Over(dtype, shape, Order::kC, BufferOf(bytes), offset);
    return array.ok() ? "fits" : std::string(array.status().message());
  };
  EXPECT_EQ(message(kF8, {2, 3}, 48), "fits");
  EXPECT_EQ(message(kF8, {2, 3}, 40),
            "an array of shape (2, 3) and dtype float64 needs 48 bytes, its buffer has 40");
  EXPECT_EQ(message(kF8, {}, 7),
            "an array of shape () and dtype float64 needs 8 bytes, its buffer has 7");
  EXPECT_EQ(message(kF8, {1}, 8, 1),
            "an array of shape (1,) and dtype float64 needs 8 bytes from byte 1, its buffer has 8");
  EXPECT_EQ(message(kF8, {0}, 0), "fits");
  EXPECT_NE(message(kF8, {0}, 0, 1), "fits");
  const size_t huge = std::numeric_limits<size_t>::max();
  for (const Shape& shape :
       {Shape{huge}, Shape{huge / 8 + 1}, Shape{size_t{1} << 32, size_t{1} << 32},
        Shape{huge / 16 + 1}, Shape{0, huge, huge}, Shape{-1}}) {
    EXPECT_THAT(message(kF8, shape, 48), HasSubstr("larger than any memory"))
        << ShapeText(shape.span());
  }
  Shape deep;
  for (size_t i = 0; i < kMaxRank; ++i) deep.push_back(1);
  EXPECT_EQ(message(kF8, deep, 8), "fits");
  deep.push_back(1);
  EXPECT_THAT(message(kF8, deep, 8), HasSubstr("at most 64 dimensions"));
}

TEST(AnyArrayTest, ChecksStridesToTheLastElement) {
  const auto fits = [](const Shape& shape, const Extents& strides, size_t bytes) {
    return AnyArray::Over(DTypeFor<uint16_t>(), shape, strides, BufferOf(bytes)).ok();
  };
  EXPECT_TRUE(fits({3, 2}, {4, 1}, 20));  // the last element is number 9
  EXPECT_FALSE(fits({3, 2}, {4, 1}, 19));
  EXPECT_TRUE(fits({1000, 2}, {0, 1}, 4));
  EXPECT_FALSE(fits({2}, {std::numeric_limits<size_t>::max()}, 100));
  EXPECT_FALSE(fits({3}, {std::numeric_limits<size_t>::max() / 2 + 1}, 100));  // wraps to 0
  EXPECT_TRUE(fits({0, 5}, {std::numeric_limits<size_t>::max(), 7}, 0));
  EXPECT_FALSE(fits({2}, {1, 1}, 100));
}

TEST(AnyArrayTest, CopiesKeepElementsAndFillGaps) {
  const auto gaps = AnyArray::Over(DTypeFor<uint8_t>(), {2, 3}, {10, 2}, BufferOf(20), 3);
  ASSERT_TRUE(gaps.ok()) << gaps.status();
  const AnyArray copy = gaps->Copy();
  EXPECT_TRUE(copy.is_c());
  EXPECT_FALSE(copy.readonly());
  const auto* bytes = reinterpret_cast<const uint8_t*>(copy.data());
  EXPECT_THAT(std::vector<uint8_t>(bytes, bytes + 6), ElementsAre(3, 5, 7, 13, 15, 17));

  const auto permuted = AnyArray::Over(DTypeFor<uint8_t>(), {2, 3, 2}, {2, 4, 1}, BufferOf(12));
  EXPECT_TRUE(std::ranges::equal(permuted->Copy().strides(), permuted->strides()));
  const AnyArray plain = permuted->CopyToC();
  bytes = reinterpret_cast<const uint8_t*>(plain.data());
  EXPECT_THAT(std::vector<uint8_t>(bytes, bytes + 12),
              ElementsAre(0, 1, 4, 5, 8, 9, 2, 3, 6, 7, 10, 11));
}

TEST(AnyArrayTest, CopySwapsBytes) {
  DType dtype = DTypeFor<std::complex<float>>();
  dtype.big_endian = true;
  const auto array = AnyArray::Over(dtype, {1}, Order::kC, BufferOf(8));
  const AnyArray copy = array->Copy();
  EXPECT_EQ(copy.dtype(), DTypeFor<std::complex<float>>());
  const auto* bytes = reinterpret_cast<const uint8_t*>(copy.data());
  EXPECT_THAT(std::vector<uint8_t>(bytes, bytes + 8), ElementsAre(3, 2, 1, 0, 7, 6, 5, 4));
}

TEST(ArrayViewTest, IndexesAndRows) {
  std::vector<int> numbers(24);
  std::iota(numbers.begin(), numbers.end(), 0);
  const auto view = ArrayView<int>::Over(numbers, {2, 3, 4});
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_EQ((*view)(1, 2, 3), 23);
  EXPECT_EQ((*view)(1u, int8_t{0}, 2L), 14);
  (*view)(0, 1, 0) = -4;
  EXPECT_EQ(numbers[4], -4);
  const ArrayView<int> row = view->row(1).row(2);
  EXPECT_THAT(row.shape(), ElementsAre(4));
  EXPECT_THAT(row.flat(), ElementsAre(20, 21, 22, 23));
  EXPECT_EQ(row.row(3)(), 23);

  const auto fortran = ArrayView<const int>::Over(numbers, {4, 6}, Order::kFortran);
  EXPECT_EQ((*fortran)(3, 1), 7);
  EXPECT_FALSE(fortran->row(2).is_dense());
  EXPECT_EQ(fortran->row(2)(5), 22);
  EXPECT_EQ(fortran->flat().size(), 24u);
}

TEST(ArrayViewTest, OfChecksTypeAlignmentAndWritability) {
  const auto error = [](auto view) {
    return view.ok() ? "fine" : std::string(view.status().message());
  };
  const auto array = AnyArray::Over(DTypeFor<float>(), {3}, Order::kC, BufferOf(12));
  EXPECT_EQ(error(ArrayView<float>::Of(*array)), "fine");
  EXPECT_EQ(error(ArrayView<double>::Of(*array)),
            "a view of float64 elements cannot show an array of float32");
  EXPECT_THAT(error(ArrayView<float>::Of(array->AsReadonly())), HasSubstr("read-only"));
  EXPECT_EQ(error(ArrayView<const float>::Of(array->AsReadonly())), "fine");
  const auto odd = AnyArray::Over(DTypeFor<float>(), {2}, Order::kC, BufferOf(12), 1);
  EXPECT_THAT(error(ArrayView<float>::Of(*odd)), HasSubstr("misaligned"));
}

TEST(ArrayViewTest, KeepsItsBuffer) {
  ArrayView<const int> view;
  EXPECT_TRUE(view.empty());
  EXPECT_TRUE(view.flat().empty());
  {
    Array<int> array = Array<int>::Of({1, 2, 3});
    view = array;
    array(1) = 5;
  }
  EXPECT_THAT(view.flat(), ElementsAre(1, 5, 3));
  EXPECT_EQ(view.buffer().owner()->refs(), 1u);
}

TEST(ArrayTest, Makes) {
  const int rows = 2;
  const size_t columns = 3;
  auto array = Array<double>::Zeros({rows, columns});
  EXPECT_THAT(array.flat(), testing::Each(0.0));
  array(1, 2) = 7;
  EXPECT_EQ(array.flat()[5], 7.0);
  EXPECT_EQ(Array<float>::OfShape({}).size(), 1u);
  EXPECT_EQ(Array<float>().size(), 0u);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(array.data()) % 64, 0u);

  auto fortran = Array<int8_t>::OfShape({2, 3}, Order::kFortran);
  std::iota(fortran.flat().begin(), fortran.flat().end(), int8_t{0});
  EXPECT_EQ(fortran(1, 2), 5);
  EXPECT_EQ(fortran(0, 1), 2);
  const auto like = Array<double>::LikeShape(fortran);
  EXPECT_TRUE(like.is_fortran());
  EXPECT_THAT(like.shape(), ElementsAre(2, 3));
  EXPECT_TRUE(Array<double>::LikeShape(like.view()).is_fortran());
}

TEST(ArrayTest, IsAValue) {
  Array<int> a = Array<int>::Of({1, 2, 3});
  Array<int> b = a;
  b(0) = 9;
  EXPECT_THAT(a.flat(), ElementsAre(1, 2, 3));
  EXPECT_THAT(b.flat(), ElementsAre(9, 2, 3));
  const int* memory = b.data();
  a = std::move(b);
  EXPECT_EQ(a.data(), memory);
  EXPECT_EQ(b.size(), 0u);  // NOLINT: a moved-from Array is an empty one
  const Array<int>& constant = a;
  static_assert(std::is_same_v<decltype(constant(0)), const int&>);
  static_assert(std::is_same_v<decltype(constant.view()), ArrayView<const int>>);
  static_assert(!std::is_convertible_v<const Array<int>&, ArrayView<int>>);
}

TEST(ArrayTest, TooLargeIsBadAlloc) {
  EXPECT_THROW(Array<double>::OfShape({size_t{1} << 40, size_t{1} << 40}), std::bad_alloc);
  EXPECT_THROW(Array<double>::OfShape({-1}), std::bad_alloc);
}

class CountingAllocator final : public BufferAllocator {
 public:
  Buffer AllocateBuffer(size_t size) override {
    ++calls;
    return Buffer::OfHeap(size);
  }
  int calls = 0;
};

TEST(ArrayTest, AsksTheProcessAllocator) {
  CountingAllocator allocator;
  InstallAllocator(&allocator);
  const auto array = Array<int>::OfShape({4});
  const Array<int> copy = Array<int>::CopyOf(array.view());
  InstallAllocator(nullptr);
  EXPECT_EQ(allocator.calls, 2);
}

TEST(ArrayTest, AdoptTakesOverOrCopies) {
  const Buffer buffer = BufferOf(16);
  const auto array = AnyArray::Over(DTypeFor<uint32_t>(), {2}, Order::kC, buffer, 4);
  EXPECT_EQ(Array<uint32_t>::Adopt(*array)->any().data(), array->data());
  EXPECT_NE(Array<uint32_t>::Adopt(array->AsReadonly())->any().data(), array->data());
  EXPECT_FALSE(Array<float>::Adopt(*array).ok());
  const auto big = AnyArray::Over(*DType::FromCode(">u4"), {2}, Order::kC, buffer, 4);
  EXPECT_THAT(Array<uint32_t>::Adopt(*big)->flat(), ElementsAre(0x04050607u, 0x08090a0bu));
}

}  // namespace
}  // namespace pannier::codec

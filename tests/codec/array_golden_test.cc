// Arrays and scalars as NumPy 1 and 2 and Python's array module pickle them, each dtype, order
// and protocol; golden/make_arrays.py made them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "golden_elements.h"
#include "golden_vectors.h"
#include "pannier/codec/loads.h"

namespace pannier::codec {
namespace {

using testing::HasSubstr;

// "DTYPE:SHAPE:ORDER:HOW"
struct Case {
  std::string code;
  std::vector<size_t> shape;
  std::string what;
  std::string how;
  GoldenVector vector;

  bool big_endian() const { return code.starts_with(">"); }
  bool out_of_band() const { return how == "p5out" && !vector.buffers.empty(); }
};

Case Parse(GoldenVector vector) {
  const std::vector<std::string> parts = absl::StrSplit(vector.name, ':');
  Case golden{parts.at(0), {}, parts.at(2), parts.at(3), std::move(vector)};
  for (const auto& extent : absl::StrSplit(parts[1], 'x', absl::SkipEmpty())) {
    golden.shape.push_back(std::stoul(std::string(extent)));
  }
  return golden;
}

// The elements in C order, whatever the order in memory.
template <class View, class Visit>
void ForEach(const View& view, const Visit& visit) {
  if (view.rank() == 0) {
    visit(view());
    return;
  }
  for (size_t i = 0; i < view.shape(0); ++i) ForEach(view.row(i), visit);
}

template <class View>
void ExpectElements(const View& view, const Case& golden) {
  using T = typename View::Element;
  ASSERT_EQ(std::vector<size_t>(view.shape().begin(), view.shape().end()), golden.shape);
  int k = 0;
  ForEach(view, [&](const T& element) {
    EXPECT_EQ(element, ElementAt<T>(k)) << k;
    ++k;
  });
  EXPECT_EQ(static_cast<size_t>(k), view.size());
}

template <class T>
void CheckArray(const Case& golden) {
  const std::string& stream = golden.vector.stream;
  const auto& buffers = golden.vector.buffers;
  const auto own = Loads<Array<T>>(AsBytes(stream), buffers);
  ASSERT_TRUE(own.ok()) << own.status();
  ExpectElements(own->view(), golden);
  EXPECT_FALSE(own->buffer().readonly());

  const auto view = Loads<ArrayView<const T>>(AsBytes(stream), buffers);
  if (golden.big_endian()) {
    EXPECT_THAT(std::string(view.status().message()),
                HasSubstr("found big-endian " + DTypeFor<T>().Name() + " array"));
    return;
  }
  ASSERT_TRUE(view.ok()) << view.status();
  ExpectElements(*view, golden);
  EXPECT_TRUE(view->is_dense());
  EXPECT_TRUE(golden.what != "F" || view->is_fortran());
  if (golden.out_of_band()) {
    EXPECT_EQ(view->buffer().data(), buffers[0].data());  // nothing was copied
    EXPECT_EQ(own->buffer().data() == buffers[0].data(), !buffers[0].readonly());
  }
  // At protocol 5 an array comes back as read-only as it was, and before always writable.
  const auto writable = Loads<ArrayView<T>>(AsBytes(stream), buffers);
  const bool readonly = golden.what == "readonly" && golden.how.starts_with("p5");
  EXPECT_EQ(writable.ok(), !readonly) << writable.status();
}

template <class T>
void CheckScalar(const Case& golden) {
  using Number = std::conditional_t<std::is_same_v<T, Float16>, float, T>;
  const auto number = Loads<Number>(AsBytes(golden.vector.stream));
  ASSERT_TRUE(number.ok()) << number.status();
  if constexpr (std::is_same_v<T, Float16>) {
    EXPECT_EQ(*number, ElementAt<T>(9).ToFloat());
  } else {
    EXPECT_EQ(*number, ElementAt<T>(9));
  }
}

template <class T>
void CheckOne(const Case& golden) {
  if (golden.what == "scalar") {
    CheckScalar<T>(golden);
  } else {
    CheckArray<T>(golden);
  }
}

void Check(const Case& golden) {
  const std::string code = golden.code.substr(1);
  if (code == "b1") return CheckOne<bool>(golden);
  if (code == "i1") return CheckOne<int8_t>(golden);
  if (code == "i2") return CheckOne<int16_t>(golden);
  if (code == "i4") return CheckOne<int32_t>(golden);
  if (code == "i8") return CheckOne<int64_t>(golden);
  if (code == "u1") return CheckOne<uint8_t>(golden);
  if (code == "u2") return CheckOne<uint16_t>(golden);
  if (code == "u4") return CheckOne<uint32_t>(golden);
  if (code == "u8") return CheckOne<uint64_t>(golden);
  if (code == "f2") return CheckOne<Float16>(golden);
  if (code == "f4") return CheckOne<float>(golden);
  if (code == "f8") return CheckOne<double>(golden);
  if (code == "f16") return CheckOne<long double>(golden);
  if (code == "c8") return CheckOne<std::complex<float>>(golden);
  if (code == "c16") return CheckOne<std::complex<double>>(golden);
  if (code == "c32") return CheckOne<std::complex<long double>>(golden);
  FAIL() << "no such dtype";
}

void CheckRefused(const Case& golden) {
  const auto array = Loads<Array<double>>(AsBytes(golden.vector.stream), golden.vector.buffers);
  ASSERT_FALSE(array.ok());
  EXPECT_EQ(KindOf(array.status()), ErrorKind::kUnpickling);
  const std::string found = golden.code == "object"       ? "Python objects (dtype object)"
                            : golden.code == "datetime64" ? "datetime64[us] array"
                            : golden.code == "structured" ? "structures (a dtype with fields)"
                            : golden.code == "matrix"     ? "an instance of numpy.matrix"
                                                          : "dtype str 'U3'";
  EXPECT_THAT(std::string(array.status().message()),
              testing::AllOf(HasSubstr("expected float64 array"), HasSubstr(found)));
}

class ArrayGoldenTest : public testing::TestWithParam<const char*> {};

TEST_P(ArrayGoldenTest, ReadsWhatNumPyWrites) {
  size_t count = 0;
  for (GoldenVector& vector : ReadGoldenVectors(GetParam())) {
    const Case golden = Parse(std::move(vector));
    SCOPED_TRACE(golden.vector.name);
    // The other long doubles of NumPy are those of other platforms.
    if ((golden.code == "<f16" || golden.code == "<c32") && sizeof(long double) != 16) continue;
    golden.what == "refused" ? CheckRefused(golden) : Check(golden);
    ++count;
  }
  EXPECT_GT(count, 400u);
}

INSTANTIATE_TEST_SUITE_P(NumPy, ArrayGoldenTest,
                         testing::Values("arrays_numpy1.txt", "arrays_numpy2.txt"));

}  // namespace
}  // namespace pannier::codec

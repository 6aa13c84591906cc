// What Dumps writes, byte for byte. tests/python/test_codec_arrays_from_cpp.py loads the same
// vectors with Python, where a value of C++ must arrive as what their names say. When the
// streams are to change: PANNIER_WRITE_GOLDEN=golden/dumps.txt codec_convert_test, look at the
// difference, and run that test with NumPy 1 and 2.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <set>

#include "golden_elements.h"
#include "golden_vectors.h"
#include "pannier/codec/dumps.h"

namespace pannier::codec {
namespace {

struct Point {
  double x = 1.5;
  std::optional<std::string> label = "here";
};
struct Frozen {
  int x = 1;
  Array<float> y = Array<float>::Of({2, 3});
};

}  // namespace

template <>
struct PythonClass<Point> {
  static constexpr std::string_view kModule = "geometry";
  static constexpr std::string_view kName = "Point";
  static constexpr auto kFields = std::tuple(Field("x", &Point::x), Field("label", &Point::label));
};
template <>
struct PythonClass<Frozen> {
  static constexpr std::string_view kModule = "geometry";
  static constexpr std::string_view kName = "Frozen";
  static constexpr auto kFields = std::tuple(Field("x", &Frozen::x), Field("y", &Frozen::y));
  static constexpr ClassState kState = ClassState::kList;
};

namespace {

// The lines of the file, in the form that golden_vectors.h reads.
class Lines {
 public:
  template <class T>
  void AddAll(const std::string& name, const T& object) {
    for (int protocol = 2; protocol <= kHighestProtocol; ++protocol) {
      EncodeOptions options;
      options.protocol = protocol;
      if (protocol == 5) options.place_buffer = InBand;
      Add(name + ":p" + std::to_string(protocol), Dumps(object, options));
    }
    Add(name + ":p5out", Dumps(object));
  }
  const std::vector<std::string>& lines() const { return lines_; }

 private:
  static std::string Base64(std::string_view bytes) {
    const std::string text = absl::Base64Escape(ToAbsl(bytes));
    return text.empty() ? "-" : text;
  }
  void Add(const std::string& name, const StatusOr<Encoded>& encoded) {
    ASSERT_TRUE(encoded.ok()) << name << ": " << encoded.status();
    std::string line = name + " " + Base64(encoded->stream);
    for (const Buffer& buffer : encoded->buffers) {
      line += (buffer.readonly() ? " R" : " ") + Base64(AsText(buffer.span()));
    }
    lines_.push_back(line);
  }
  std::vector<std::string> lines_;
};

template <class T>
Array<T> Filled(const Shape& shape, Order order) {
  auto array = Array<T>::OfShape(shape, Order::kC);
  for (size_t k = 0; k < array.size(); ++k) array.data()[k] = ElementAt<T>(static_cast<int>(k));
  if (order == Order::kC) return array;
  auto fortran = Array<T>::OfShape(shape, order);
  if (shape.rank() != 2) return fortran;  // of others, there are none with elements
  for (size_t i = 0; i < shape[0]; ++i) {
    for (size_t j = 0; j < shape[1]; ++j) fortran(i, j) = array(i, j);
  }
  return fortran;
}

template <class... T>
void AddTypes(Lines* lines) {
  const auto add = [&]<class E>(const E&) {
    for (const Order order : {Order::kC, Order::kFortran}) {
      lines->AddAll(DTypeFor<E>().Code() + ":2x3:" + static_cast<char>(order),
                    Filled<E>({2, 3}, order));
    }
  };
  (..., add(T{}));
}

std::vector<std::string> Written() {
  using namespace std::chrono;  // NOLINT: for its calendar
  Lines lines;
  AddTypes<bool, int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t, Float16,
           float, double, std::complex<float>, std::complex<double>>(&lines);
  // Not long double: its padding is anything.
  lines.AddAll("<f4::C", Filled<float>({}, Order::kC));
  lines.AddAll("<f4:0:C", Filled<float>({0}, Order::kC));
  lines.AddAll("<f4:5:C", Filled<float>({5}, Order::kC));
  lines.AddAll("<f4:0x3:F", Filled<float>({0, 3}, Order::kFortran));
  lines.AddAll("<f4:2x3x4:C", Filled<float>({2, 3, 4}, Order::kC));
  const auto part = Filled<float>({4, 2, 3}, Order::kC);
  // Axes in an order that is neither C's nor Fortran's, and an array with gaps.
  const auto permuted =
      AnyArray::Over(DTypeFor<float>(), {2, 4, 3}, {3, 6, 1}, part.buffer()).value();
  lines.AddAll("permuted", permuted);
  lines.AddAll("gaps", AnyArray::Over(DTypeFor<float>(), {4, 3}, {6, 1}, part.buffer()).value());
  lines.AddAll("readonly", permuted.AsReadonly());

  lines.AddAll("numbers", std::tuple(true, -1, uint64_t{1} << 63, 1.5f, std::complex(1.0, -2.0)));
  lines.AddAll("nothing", std::optional<int>());
  lines.AddAll("text", std::string("Z\u00fcrich"));
  lines.AddAll("bytes", std::vector<std::byte>{std::byte{0}, std::byte{255}});
  lines.AddAll("containers", std::tuple(std::vector{1, 2}, std::pair(1, "a"),
                                        std::map<std::string, int>{{"k", 1}}, std::set<int>{7},
                                        std::array{1.5}, std::tuple<>()));
  const auto noon = sys_days(year(2024) / 2 / 29) + hours(12) + microseconds(5);
  lines.AddAll("times", std::vector{noon, noon});
  lines.AddAll("naive", local_days(year(1969) / 12 / 31) + milliseconds(1));
  lines.AddAll("date", year(2024) / 2 / 29);
  lines.AddAll("time", hh_mm_ss(hours(23) + seconds(1)));
  lines.AddAll("timedelta", -nanoseconds(1500));
  lines.AddAll("point", std::vector<Point>(2));
  lines.AddAll("frozen", Frozen());
  return lines.lines();
}

TEST(DumpsGoldenTest, WritesWhatItAlwaysWrote) {
  const std::vector<std::string> written = Written();
  if (const char* path = std::getenv("PANNIER_WRITE_GOLDEN"); path != nullptr) {
    std::ofstream file(path);
    for (const std::string& line : written) file << line << "\n";
    GTEST_SKIP() << "wrote " << path;
  }
  std::ifstream file(std::string(PANNIER_GOLDEN_DIR) + "/dumps.txt");
  ASSERT_TRUE(file.is_open());
  std::vector<std::string> golden;
  for (std::string line; std::getline(file, line);) golden.push_back(line);
  EXPECT_GT(golden.size(), 200u);
  EXPECT_EQ(written.size(), golden.size());
  for (size_t i = 0; i < std::min(written.size(), golden.size()); ++i) {
    EXPECT_EQ(written[i], golden[i]);
  }
}

}  // namespace
}  // namespace pannier::codec

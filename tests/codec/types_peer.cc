// A program that reads pickles as typed values and writes them again, for
// tests/python/test_codec_types.py. Each line of its input is "TYPE PROTOCOL STREAM BUFFER...",
// in base64 ("-" if empty), a buffer that is read-only after an R; each of its output is
// "STREAM BUFFER..." in the same form, or "! MESSAGE".
#include <cstdio>
#include <deque>
#include <functional>
#include <iostream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/strings/escaping.h"
#include "pannier/codec/dumps.h"
#include "pannier/codec/loads.h"

namespace {

struct Inner {
  int16_t a;
  bool b;
};
struct Particle {
  int32_t id;
  double mass;
  std::array<float, 3> position;
  Inner inner;
  std::chrono::sys_time<std::chrono::nanoseconds> seen;
};
struct Dataclass {
  int x = 0;
  std::optional<std::string> label;
};
enum class Colour : int { kRed = 1, kBlue = 300 };
struct Json {
  int64_t id = 0;
  std::vector<double> scores;
  std::optional<std::string> name;
};

}  // namespace

namespace pannier::codec {

template <>
struct NumpyRecord<Inner> {
  static constexpr auto kFields = std::tuple(Field("a", &Inner::a), Field("b", &Inner::b));
};
template <>
struct NumpyRecord<Particle> {
  static constexpr auto kFields =
      std::tuple(Field("id", &Particle::id), Field("mass", &Particle::mass),
                 Field("position", &Particle::position), Field("inner", &Particle::inner),
                 Field("seen", &Particle::seen));
};
template <>
struct PythonClass<Dataclass> {
  static constexpr std::string_view kModule = "geometry";
  static constexpr std::string_view kName = "Dataclass";
  static constexpr auto kFields =
      std::tuple(Field("x", &Dataclass::x), Field("label", &Dataclass::label));
};
template <>
struct PythonEnum<Colour> {
  static constexpr std::string_view kModule = "geometry";
  static constexpr std::string_view kName = "Colour";
};
template <>
struct PythonDict<Json> {
  static constexpr auto kFields = std::tuple(Field("id", &Json::id), Field("scores", &Json::scores),
                                             Field("name", &Json::name));
};

namespace {

using RoundTrip =
    std::function<StatusOr<Encoded>(ByteSpan, std::span<const Buffer>, const EncodeOptions&)>;
using Trips = std::map<std::string, RoundTrip>;

template <class T>
void Add(Trips* trips, const std::string& name) {
  (*trips)[name] = [](ByteSpan stream, std::span<const Buffer> buffers,
                      const EncodeOptions& options) -> StatusOr<Encoded> {
    PANNIER_ASSIGN_OR_RETURN(const T object, Loads<T>(stream, buffers));
    return Dumps(object, options);
  };
}

Trips AllTrips() {
  using namespace std::chrono;  // NOLINT: for its units
  Trips trips;
  Add<Decimal>(&trips, "decimal");
  Add<Fraction>(&trips, "fraction");
  Add<Uuid>(&trips, "uuid");
  Add<Range>(&trips, "range");
  Add<Slice>(&trips, "slice");
  Add<ByteArray>(&trips, "bytearray");
  Add<std::vector<std::byte>>(&trips, "bytes");
  Add<std::filesystem::path>(&trips, "path");
  Add<std::complex<double>>(&trips, "complex");
  Add<OrderedDict<std::string, int>>(&trips, "ordered");
  Add<DefaultDict<std::map<std::string, std::vector<int>>>>(&trips, "default");
  Add<Counter<std::string>>(&trips, "counter");
  Add<Deque<int>>(&trips, "deque");
  Add<std::deque<double>>(&trips, "plain_deque");
  Add<std::set<int>>(&trips, "set");
  Add<FrozenSet<std::set<std::string>>>(&trips, "frozenset");
  Add<std::unordered_map<std::string, double>>(&trips, "dict");
  Add<PythonArray<int>>(&trips, "array_i");
  Add<PythonArray<double>>(&trips, "array_d");
  Add<PythonArray<uint8_t>>(&trips, "array_B");
  Add<PythonArray<int64_t>>(&trips, "array_l");
  Add<PythonArray<long long>>(&trips, "array_q");
  Add<PythonDatetime>(&trips, "datetime");
  Add<PythonTime>(&trips, "time");
  Add<PythonTimezone>(&trips, "timezone");
  Add<year_month_day>(&trips, "date");
  Add<microseconds>(&trips, "timedelta");
  Add<Colour>(&trips, "enum");
  Add<Dataclass>(&trips, "dataclass");
  Add<std::vector<Json>>(&trips, "json");
  Add<DType>(&trips, "dtype");
  Add<NumpyScalar<double>>(&trips, "scalar_f8");
  Add<NumpyScalar<uint16_t>>(&trips, "scalar_u2");
  Add<NumpyScalar<bool>>(&trips, "scalar_bool");
  Add<NumpyScalar<std::complex<float>>>(&trips, "scalar_c8");
  Add<NumpyScalar<sys_time<nanoseconds>>>(&trips, "scalar_M8");
  Add<NumpyScalar<duration<int64_t, std::milli>>>(&trips, "scalar_m8");
  Add<NumpyScalar<Particle>>(&trips, "scalar_void");
  Add<sys_time<microseconds>>(&trips, "datetime64");
  Add<milliseconds>(&trips, "timedelta64");
  Add<Array<double>>(&trips, "ndarray_f8");
  Add<ArrayView<const int32_t>>(&trips, "ndarray_i4");
  Add<AnyArray>(&trips, "ndarray");
  Add<Array<sys_time<nanoseconds>>>(&trips, "ndarray_M8");
  Add<ArrayView<const seconds>>(&trips, "ndarray_m8");
  Add<ArrayView<const Particle>>(&trips, "ndarray_void");
  Add<Array<Particle>>(&trips, "own_void");
  Add<std::vector<sys_time<days>>>(&trips, "days");
  return trips;
}

std::string FromBase64(const std::string& text) {
  std::string bytes;
  if (text != "-") absl::Base64Unescape(text, &bytes);
  return bytes;
}

std::string ToBase64(std::string_view bytes) {
  return bytes.empty() ? "-" : absl::Base64Escape(ToAbsl(bytes));
}

std::string Answer(const Trips& trips, const std::string& line) {
  std::istringstream words(line);
  std::string name;
  EncodeOptions options;
  std::string text;
  words >> name >> options.protocol >> text;
  const std::string stream = FromBase64(text);
  std::vector<Buffer> buffers;
  while (words >> text) {
    const bool readonly = text.starts_with('R') && text.size() % 4 != 0;
    const Buffer buffer = Buffer::CopyOf(AsBytes(FromBase64(text.substr(readonly ? 1 : 0))));
    buffers.push_back(readonly ? buffer.AsReadonly() : buffer);
  }
  const auto trip = trips.find(name);
  if (trip == trips.end()) return "! no type " + name;
  const StatusOr<Encoded> encoded = trip->second(AsBytes(stream), buffers, options);
  if (!encoded.ok()) return "! " + std::string(FromAbsl(encoded.status().message()));
  std::string answer = ToBase64(encoded->stream);
  for (const Buffer& buffer : encoded->buffers) {
    answer += (buffer.readonly() ? " R" : " ") + ToBase64(AsText(buffer.span()));
  }
  return answer;
}

}  // namespace
}  // namespace pannier::codec

int main() {
  const auto trips = pannier::codec::AllTrips();
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << pannier::codec::Answer(trips, line) << std::endl;
  }
}

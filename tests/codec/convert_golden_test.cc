// What several Pythons pickled, in each protocol, as C++ values, and there and back again;
// golden/make_convert.py made the streams and says the objects.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <map>
#include <set>

#include "golden_vectors.h"
#include "pannier/codec/dumps.h"
#include "pannier/codec/loads.h"

namespace pannier::codec {
namespace {

struct Point {
  double x = 0;
  double y = 0;
  std::optional<std::string> label;
  friend bool operator==(const Point&, const Point&) = default;
};
struct Slotted {
  double x = 0;
  int8_t y = 0;
  friend bool operator==(const Slotted&, const Slotted&) = default;
};
struct Frozen {
  double x = 0;
  double y = 0;
  friend bool operator==(const Frozen&, const Frozen&) = default;
};
struct Pair {
  int x = 0;
  double y = 0;
  friend bool operator==(const Pair&, const Pair&) = default;
};
enum class Colour : int16_t { kRed = 1, kBlue = -300 };

}  // namespace

template <>
struct PythonClass<Point> {
  static constexpr std::string_view kModule = "geometry";
  static constexpr std::string_view kName = "Point";
  static constexpr auto kFields =
      std::tuple(Field("x", &Point::x), Field("y", &Point::y), Field("label", &Point::label));
};
template <>
struct PythonClass<Slotted> {
  static constexpr std::string_view kModule = "geometry";
  static constexpr std::string_view kName = "Slotted";
  static constexpr auto kFields = std::tuple(Field("x", &Slotted::x), Field("y", &Slotted::y));
  static constexpr ClassState kState = ClassState::kSlots;
};
template <>
struct PythonClass<Frozen> {
  static constexpr std::string_view kModule = "geometry";
  static constexpr std::string_view kName = "Frozen";
  static constexpr auto kFields = std::tuple(Field("x", &Frozen::x), Field("y", &Frozen::y));
  static constexpr ClassState kState = ClassState::kList;
};
template <>
struct PythonClass<Pair> {
  static constexpr std::string_view kModule = "geometry";
  static constexpr std::string_view kName = "Pair";
  static constexpr auto kFields = std::tuple(Field("x", &Pair::x), Field("y", &Pair::y));
  static constexpr ClassState kState = ClassState::kArguments;
};
template <>
struct PythonEnum<Colour> {
  static constexpr std::string_view kModule = "geometry";
  static constexpr std::string_view kName = "Colour";
  static constexpr std::pair<std::string_view, Colour> kMembers[] = {{"RED", Colour::kRed},
                                                                     {"BLUE", Colour::kBlue}};
};

namespace {

using Check = std::function<void(ByteSpan)>;

// Expects the stream to be `wanted`, also when it is written by Dumps in any protocol.
template <class T>
Check Gives(const T& wanted) {
  return [wanted](ByteSpan stream) {
    const StatusOr<T> found = Loads<T>(stream);
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_EQ(*found, wanted);
    for (int protocol = 0; protocol <= kHighestProtocol; ++protocol) {
      EncodeOptions options;
      options.protocol = protocol;
      const StatusOr<Encoded> encoded = Dumps(*found, options);
      ASSERT_TRUE(encoded.ok()) << encoded.status();
      const StatusOr<T> back = Loads<T>(AsBytes(encoded->stream), encoded->buffers);
      ASSERT_TRUE(back.ok()) << back.status() << " in protocol " << protocol;
      EXPECT_EQ(*back, wanted);
    }
  };
}

template <class T>
Check Refuses(const std::string& message) {
  return [message](ByteSpan stream) {
    const StatusOr<T> found = Loads<T>(stream);
    ASSERT_FALSE(found.ok());
    EXPECT_EQ(KindOf(found.status()), ErrorKind::kUnpickling);
    EXPECT_THAT(std::string(found.status().message()), testing::HasSubstr(message));
  };
}

// std::chrono::hh_mm_ss has no comparison.
Check IsTimeOfDay(std::chrono::microseconds wanted) {
  return [wanted](ByteSpan stream) {
    using Time = std::chrono::hh_mm_ss<std::chrono::microseconds>;
    const StatusOr<Time> found = Loads<Time>(stream);
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_EQ(found->to_duration(), wanted);
    const StatusOr<Encoded> encoded = Dumps(*found);
    ASSERT_TRUE(encoded.ok()) << encoded.status();
    EXPECT_EQ(Loads<Time>(AsBytes(encoded->stream))->to_duration(), wanted);
  };
}

std::vector<std::byte> BytesOf(std::string_view text) {
  return {AsBytes(text).begin(), AsBytes(text).end()};
}
std::vector<std::byte> AllBytes() {
  std::vector<std::byte> bytes(256);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i);
  return bytes;
}

using Micros = std::chrono::sys_time<std::chrono::microseconds>;
using LocalMicros = std::chrono::local_time<std::chrono::microseconds>;

std::multimap<std::string, Check> Checks() {
  using namespace std::chrono;  // NOLINT: for its calendar
  const double inf = std::numeric_limits<double>::infinity();
  const std::map<std::string, int> map = {{"a", 1}, {"b", 2}};
  const auto leap = (year(2024) / 2 / 29);
  const auto late = hours(23) + minutes(59) + seconds(58) + microseconds(987654);
  const auto all_days = days(999'999'999);
  return {
      {"none", Gives(std::monostate())},
      {"none", Gives(std::optional<int>())},
      {"ints", Gives(std::vector<int64_t>{0, -1, 255, 65535, -(int64_t{1} << 31), int64_t{1} << 31,
                                          std::numeric_limits<int64_t>::min(),
                                          std::numeric_limits<int64_t>::max()})},
      {"ints", Refuses<std::vector<uint64_t>>("value[1]: expected uint64")},
      {"ints", Refuses<std::vector<int32_t>>("value[5]: expected int32")},
      {"uint64", Gives(std::vector<uint64_t>{uint64_t{1} << 63, ~uint64_t{0}})},
      {"uint64", Refuses<std::vector<int64_t>>("found int of 9 bytes")},
      {"huge", Refuses<uint64_t>("value: expected uint64")},
      {"huge", Gives(std::ldexp(1.0, 100))},
      {"floats", Gives(std::vector<double>{0, -1.5, 1e300, inf, 7})},
      {"floats", Refuses<std::vector<float>>("value[2]: expected a number within float32")},
      {"complex", Gives(std::vector<std::complex<double>>{{1.5, -2}, {0, 3}})},
      {"text", Gives(std::vector<std::string>{"", "plain", "Z\u00fcrich \u20ac \U0001f600",
                                              "line\nend\\"})},
      {"bytes", Gives(std::vector{BytesOf(""), BytesOf("abc"), AllBytes()})},
      {"bytearrays", Gives(std::vector{BytesOf(""), BytesOf("abc"), AllBytes()})},
      {"tuples", Gives(std::tuple(std::tuple<>(), std::tuple(1), std::pair(1, std::string("a")),
                                  std::tuple(1, std::array{2, 3}), std::vector{1, 2, 3, 4, 5}))},
      {"map", Gives(map)},
      {"ordered", Gives(map)},
      {"default", Gives(map)},
      {"counter", Gives(map)},
      {"empty_maps", Gives(std::vector<std::map<std::string, int>>(3))},
      {"sets", Gives(std::vector<std::set<int>>{{}, {5}, {}, {7}})},
      {"deque", Gives(std::vector{1, 2, 3})},
      {"bounded_deque", Gives(std::vector{1, 2, 3})},
      {"empty_deque", Gives(std::vector<int>())},
      {"aware", Gives(Micros(sys_days(leap) + late))},
      {"aware", Gives(absl::FromChrono(sys_days(leap) + late))},
      {"aware", Gives(sys_days(leap) + floor<seconds>(late))},
      {"aware", Refuses<LocalMicros>("expected a datetime without a zone")},
      {"east",
       Gives(Micros(sys_days(year(1969) / 12 / 30) + hours(21) + minutes(30) + microseconds(1)))},
      {"naive", Gives(LocalMicros(local_days(leap) + late))},
      {"naive", Gives(absl::CivilSecond(2024, 2, 29, 23, 59, 58))},
      {"naive", Refuses<absl::Time>("expected a datetime with a zone")},
      {"fold", Gives(absl::CivilSecond(2024, 10, 27, 2, 30))},
      {"first", Gives(LocalMicros(local_days(year(1) / 1 / 1)))},
      {"last", Gives(LocalMicros(local_days(year(10000) / 1 / 1) - microseconds(1)))},
      {"last", Refuses<local_time<nanoseconds>>("out of the range of its C++ type")},
      {"date", Gives(year(2000) / 1 / 31)},
      {"date", Gives(absl::CivilDay(2000, 1, 31))},
      {"date", Refuses<absl::CivilSecond>("expected datetime, found")},
      {"time", IsTimeOfDay(hours(23) + minutes(59) + seconds(58) + microseconds(1))},
      {"time", Refuses<absl::CivilDay>("expected date")},
      {"time_fold", IsTimeOfDay(hours(1) + minutes(2) + seconds(3))},
      {"time_aware", Refuses<hh_mm_ss<seconds>>("expected a time without a zone")},
      {"timedelta", Gives(-hours(24) + microseconds(1))},
      {"timedelta", Gives(-absl::Hours(24) + absl::Microseconds(1))},
      {"timedelta", Gives(hours(-24))},  // rounded down
      {"timedelta", Gives(nanoseconds(hours(-24)) + nanoseconds(1000))},
      {"longest", Gives(milliseconds(all_days + hours(24)) - milliseconds(1))},  // rounded down
      {"longest", Gives(absl::FromChrono(hours(all_days) + hours(24)) - absl::Microseconds(1))},
      {"longest", Refuses<microseconds>("out of the range")},
      {"shortest", Gives(milliseconds(-all_days))},
      {"shortest", Gives(-absl::FromChrono(hours(all_days)))},
      {"point", Gives(Point{1.5, -2, {}})},
      {"point", Refuses<Slotted>("expected geometry.Slotted, found what geometry.Point makes")},
      {"labelled", Gives(Point{1.5, -2, "here"})},
      {"points", Gives(std::vector<Point>{{0, 0, {}}, {1, 1, {}}, {2, 2, {}}})},
      {"pair", Gives(Pair{3, 4.5})},
      {"pair", Refuses<std::pair<int, double>>("found what geometry.Pair makes")},
      {"frozen", Gives(Frozen{1.5, -2})},
      {"slotted", Gives(Slotted{1.5, -2})},
      {"enum", Gives(std::vector{Colour::kRed, Colour::kBlue, Colour::kRed})},
  };
}

TEST(ConvertGoldenTest, ReadsWhatPythonWrites) {
  const std::multimap<std::string, Check> checks = Checks();
  std::set<std::string> used;
  size_t count = 0;
  for (const GoldenVector& vector : ReadGoldenVectors("convert.txt")) {
    SCOPED_TRACE(vector.name);
    const std::string object = vector.name.substr(0, vector.name.find(':'));
    const auto [first, last] = checks.equal_range(object);
    EXPECT_NE(first, last) << "nobody looks at it";
    for (auto it = first; it != last; ++it) it->second(AsBytes(vector.stream));
    used.insert(object);
    ++count;
  }
  for (const auto& [object, check] : checks) EXPECT_TRUE(used.contains(object)) << object;
  EXPECT_GT(count, 200u);
}

// By Python 2.7, protocol 2, whose str is bytes and text at once.
TEST(ConvertGoldenTest, ReadsPython2) {
  DecodeOptions latin1;
  latin1.encoding = Str8Encoding::kLatin1;
  const std::string datetime =
      FromBase64("gAJjZGF0ZXRpbWUKZGF0ZXRpbWUKcQBVCgfoAh0XOzoPEgZxAYVxAlJxAy4=");
  EXPECT_EQ(Loads<absl::CivilSecond>(AsBytes(datetime), {}, latin1).value(),
            absl::CivilSecond(2024, 2, 29, 23, 59, 58));
  const std::string deque =
      FromBase64("gAJjY29sbGVjdGlvbnMKZGVxdWUKcQBdcQEoSwFLAksDZUsDhnECUnEDLg==");
  EXPECT_EQ(Loads<std::vector<int>>(AsBytes(deque)).value(), (std::vector{1, 2, 3}));
  const std::string dict = FromBase64("gAJ9cQBVAWFxAVgBAAAAeHECcy4=");
  EXPECT_EQ((Loads<std::map<std::string, std::string>>(AsBytes(dict)).value()),
            (std::map<std::string, std::string>{{"a", "x"}}));
  const std::string set = FromBase64("gAJjX19idWlsdGluX18Kc2V0CnEAXXEBSwVhhXECUnEDLg==");
  EXPECT_EQ(Loads<std::set<int>>(AsBytes(set)).value(), std::set<int>{5});
  const std::string bytes =
      FromBase64("gAJjX19idWlsdGluX18KYnl0ZWFycmF5CnEAWAMAAABhw79xAVUHbGF0aW4tMXEChnEDUnEELg==");
  EXPECT_EQ(Loads<std::vector<std::byte>>(AsBytes(bytes)).value(), BytesOf("a\xff"));
}

// A minor version of Python pickled the members of an enum by name.
TEST(ConvertEnumTest, MembersByName) {
  Document document;
  const auto member = [&](const char* module, const char* name) {
    return document.NewReduce(document.NewGlobal("builtins", "getattr"),
                              {document.NewGlobal(module, "Colour"), document.NewStr(name)});
  };
  EXPECT_EQ(As<Colour>(document, member("geometry", "BLUE")).value(), Colour::kBlue);
  EXPECT_FALSE(As<Colour>(document, member("geometry", "GREEN")).ok());
  EXPECT_FALSE(As<Colour>(document, member("os", "BLUE")).ok());
  EXPECT_EQ(As<Colour>(document, Value::Int(1)).value(), Colour::kRed);
  EXPECT_FALSE(As<Colour>(document, Value::Int(1 << 20)).ok());
}

TEST(ConvertClassTest, SaysWhatIsMissing) {
  Document document;
  const Value object =
      document.NewObject(document.NewGlobal("geometry", "Point"), document.NewTuple({}));
  const Value state = document.NewDict();
  document.SetItem(state, "x", Value::Float(1));
  document.SetItem(state, "unknown", Value::Float(1));
  document.AddState(object, state);
  const auto error = [&] { return std::string(As<Point>(document, object).status().message()); };
  EXPECT_EQ(error(), "value: the geometry.Point has no attribute y");
  document.SetItem(state, "y", document.NewStr("?"));
  EXPECT_EQ(error(), "value.y: expected float, found str '?'");
  document.SetItem(state, "y", Value::Int(2));
  EXPECT_EQ(As<Point>(document, object).value(), (Point{1, 2, {}}));

  const Value frozen =
      document.NewObject(document.NewGlobal("geometry", "Frozen"), document.NewTuple({}));
  const Value one[] = {Value::Float(1)};
  document.AddState(frozen, document.NewList(one));
  EXPECT_EQ(As<Frozen>(document, frozen).status().message(),
            "value: the geometry.Frozen has 1 fields, expected 2");
}

TEST(ConvertTimeTest, WhatPythonHasNot) {
  const auto error = [](const auto& object) {
    const StatusOr<Encoded> encoded = Dumps(object);
    EXPECT_TRUE(encoded.ok() || KindOf(encoded.status()) == ErrorKind::kPickling);
    return encoded.ok() ? "fine" : std::string(encoded.status().message());
  };
  using namespace std::chrono;  // NOLINT: for its calendar
  EXPECT_THAT(error(absl::InfiniteFuture()), testing::HasSubstr("infinite"));
  EXPECT_THAT(error(absl::InfiniteDuration()), testing::HasSubstr("infinite"));
  EXPECT_THAT(error(absl::FromUnixSeconds(std::numeric_limits<int64_t>::max())),
              testing::HasSubstr("years 1 to 9999"));
  EXPECT_THAT(error(hours::max()), testing::HasSubstr("999,999,999 days"));
  EXPECT_THAT(error(hours::min()), testing::HasSubstr("999,999,999 days"));
  EXPECT_THAT(error(duration<double>(std::nan(""))), testing::HasSubstr("longer"));
  EXPECT_THAT(error(year(2023) / 2 / 29), testing::HasSubstr("no day"));
  EXPECT_THAT(error(absl::CivilSecond(absl::CivilSecond::max())), testing::HasSubstr("years"));
  EXPECT_THAT(error(hh_mm_ss(hours(24))), testing::HasSubstr("24 hours"));
  EXPECT_EQ(error(duration<float, std::milli>(1.5f)), "fine");
}

TEST(ConvertTimeTest, FieldsOutOfRange) {
  Document document;
  const auto of = [&](const char* name, std::vector<uint8_t> fields) {
    return document.NewReduce(document.NewGlobal("datetime", name),
                              {document.NewBytes(std::as_bytes(std::span(fields)))});
  };
  const auto fits = [&](std::vector<uint8_t> fields) {
    return As<absl::CivilSecond>(document, of("datetime", std::move(fields))).ok();
  };
  EXPECT_TRUE(fits({7, 232, 2, 29, 23, 59, 59, 0x0f, 0x42, 0x3f}));
  EXPECT_FALSE(fits({7, 232, 2, 29, 23, 59, 59, 0x0f, 0x42, 0x40}));
  EXPECT_FALSE(fits({7, 232, 2, 29, 23, 59, 60, 0, 0, 0}));
  EXPECT_FALSE(fits({7, 232, 2, 29, 24, 0, 0, 0, 0, 0}));
  EXPECT_FALSE(fits({7, 232, 2, 30, 0, 0, 0, 0, 0, 0}));
  EXPECT_FALSE(fits({7, 232, 0, 1, 0, 0, 0, 0, 0, 0}));
  EXPECT_FALSE(fits({7, 232, 13, 1, 0, 0, 0, 0, 0, 0}));
  EXPECT_FALSE(fits({0, 0, 1, 1, 0, 0, 0, 0, 0, 0}));
  EXPECT_FALSE(fits({0x27, 0x10, 1, 1, 0, 0, 0, 0, 0, 0}));
  EXPECT_FALSE(fits({7, 232, 2, 29}));
}

TEST(ConvertTimeTest, ZonesThatAreNames) {
  Document document;
  const Value zone = document.NewReduce(document.NewGlobal("zoneinfo", "ZoneInfo._unpickle"),
                                        {document.NewStr("Europe/Paris"), Value::Bool(true)});
  const uint8_t fields[] = {7, 232, 2, 29, 23, 59, 59, 0, 0, 0};
  const Value value =
      document.NewReduce(document.NewGlobal("datetime", "datetime"),
                         {document.NewBytes(std::as_bytes(std::span(fields))), zone});
  EXPECT_THAT(std::string(As<absl::Time>(document, value).status().message()),
              testing::HasSubstr("zoneinfo.ZoneInfo._unpickle makes, no fixed offset"));
}

}  // namespace
}  // namespace pannier::codec

// The direct way of Loads against the general one, over types of all forms that it knows: used
// by the property test and the fuzz target.
#pragma once

#include <array>
#include <cmath>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "pannier/codec/loads.h"

namespace pannier::codec::direct {

struct Point {
  double x = 0;
  double y = 0;
  std::optional<std::string> label = "none";
};
struct Slotted {
  int16_t x = 0;
  float y = 0;
};
struct Listed {
  std::string name;
  std::vector<int64_t> numbers;
};
struct Named {
  int32_t x = 0;
  Slotted inner;
  std::optional<bool> flag;
  double w = 0;
};
struct Row {
  uint8_t kind = 0;
  int64_t id = 0;
  float score = 0;
  bool good = false;
};
struct Record {
  int64_t id = 0;
  std::string name;
  std::optional<double> score;
  std::vector<Point> points;
};

}  // namespace pannier::codec::direct

namespace pannier::codec {

template <>
struct PythonClass<direct::Point> {
  static constexpr std::string_view kModule = "geometry";
  static constexpr std::string_view kName = "Point";
  static constexpr auto kFields =
      std::tuple(Field("x", &direct::Point::x), Field("y", &direct::Point::y),
                 Field("label", &direct::Point::label));
};
template <>
struct PythonClass<direct::Slotted> {
  static constexpr std::string_view kModule = "geometry";
  static constexpr std::string_view kName = "Slotted";
  static constexpr auto kFields =
      std::tuple(Field("x", &direct::Slotted::x), Field("y", &direct::Slotted::y));
  static constexpr ClassState kState = ClassState::kSlots;
};
template <>
struct PythonClass<direct::Listed> {
  static constexpr std::string_view kModule = "geometry";
  static constexpr std::string_view kName = "Listed";
  static constexpr auto kFields =
      std::tuple(Field("name", &direct::Listed::name), Field("numbers", &direct::Listed::numbers));
  static constexpr ClassState kState = ClassState::kList;
};
template <>
struct PythonClass<direct::Named> {
  static constexpr std::string_view kModule = "geometry";
  static constexpr std::string_view kName = "Named";
  static constexpr auto kFields =
      std::tuple(Field("x", &direct::Named::x), Field("inner", &direct::Named::inner),
                 Field("flag", &direct::Named::flag), Field("w", &direct::Named::w));
  static constexpr ClassState kState = ClassState::kArguments;
};
template <>
struct PythonDict<direct::Row> {
  static constexpr auto kFields =
      std::tuple(Field("kind", &direct::Row::kind), Field("id", &direct::Row::id),
                 Field("score", &direct::Row::score), Field("good", &direct::Row::good));
};
template <>
struct PythonDict<direct::Record> {
  static constexpr auto kFields =
      std::tuple(Field("id", &direct::Record::id), Field("name", &direct::Record::name),
                 Field("score", &direct::Record::score), Field("points", &direct::Record::points));
};

}  // namespace pannier::codec

namespace pannier::codec::direct {

// Equal to the last bit, NaNs too.
template <class T>
requires std::is_arithmetic_v<T>
bool Same(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    return (std::isnan(a) && std::isnan(b)) || (a == b && std::signbit(a) == std::signbit(b));
  } else {
    return a == b;
  }
}
inline bool Same(const std::string& a, const std::string& b) { return a == b; }
template <class T>
bool Same(const std::optional<T>& a, const std::optional<T>& b);
template <class... T>
bool Same(const std::tuple<T...>& a, const std::tuple<T...>& b);
template <class C>
requires requires(const C& c) {
  c.begin();
  c.size();
}
bool Same(const C& a, const C& b);
template <class A, class B>
bool Same(const std::pair<A, B>& a, const std::pair<A, B>& b) {
  return Same(a.first, b.first) && Same(a.second, b.second);
}
template <class T>
requires requires { PythonClass<T>::kFields; }
bool Same(const T& a, const T& b);
template <class T>
requires requires { PythonDict<T>::kFields; }
bool Same(const T& a, const T& b);
template <class C>
requires requires(const C& c) {
  c.begin();
  c.size();
}
bool Same(const C& a, const C& b) {
  if (a.size() != b.size()) return false;
  if constexpr (requires { typename C::hasher; }) {
    for (const auto& [key, value] : a) {
      const auto found = b.find(key);
      if (found == b.end() || !Same(value, found->second)) return false;
    }
    return true;
  } else {
    auto other = b.begin();
    for (auto it = a.begin(); it != a.end(); ++it, ++other) {
      const typename C::value_type x = *it;
      const typename C::value_type y = *other;
      if (!Same(x, y)) return false;
    }
    return true;
  }
}
template <class T>
bool Same(const std::optional<T>& a, const std::optional<T>& b) {
  return a.has_value() == b.has_value() && (!a || Same(*a, *b));
}
template <class... T>
bool Same(const std::tuple<T...>& a, const std::tuple<T...>& b) {
  return [&]<size_t... I>(std::index_sequence<I...>) {
    return (Same(std::get<I>(a), std::get<I>(b)) && ...);
  }
  (std::index_sequence_for<T...>());
}
template <class T, class Fields>
bool SameFields(const T& a, const T& b, const Fields& fields) {
  return std::apply(
      [&](const auto&... field) { return (Same(a.*field.member, b.*field.member) && ...); },
      fields);
}
template <class T>
requires requires { PythonClass<T>::kFields; }
bool Same(const T& a, const T& b) { return SameFields(a, b, PythonClass<T>::kFields); }
template <class T>
requires requires { PythonDict<T>::kFields; }
bool Same(const T& a, const T& b) { return SameFields(a, b, PythonDict<T>::kFields); }

// kUnknown: the direct way leaves the stream to the general one, which is always right.
enum class Outcome { kUnknown, kAgrees, kDiffers };

template <class T>
Outcome Compare(ByteSpan stream) {
  static_assert(kReadsDirectly<T>);
  const std::optional<T> read = internal::LoadDirect<T>(stream, {});
  if (!read) return Outcome::kUnknown;
  const StatusOr<Document> document = Decode(stream);
  if (!document.ok()) return Outcome::kDiffers;
  ConvertOptions options;
  options.message_bytes = stream.size();
  const StatusOr<T> general = As<T>(*document, options);
  return general.ok() && Same(*general, *read) ? Outcome::kAgrees : Outcome::kDiffers;
}

template <class... T>
struct Types {};
using AllTypes =
    Types<std::vector<double>, std::vector<float>, std::vector<int64_t>, std::vector<uint8_t>,
          std::vector<bool>, std::vector<std::vector<std::vector<int32_t>>>,
          std::vector<std::tuple<double, int32_t, bool, std::string>>,
          std::pair<std::vector<double>, std::tuple<int, int, int, int>>,
          std::tuple<std::vector<std::string>, std::string, std::optional<std::string>>,
          std::map<int64_t, std::vector<std::string>>,
          std::pair<std::unordered_map<std::string, std::optional<int32_t>>, std::string>,
          std::vector<std::set<int64_t>>, std::vector<std::array<int32_t, 2>>, std::vector<Listed>,
          std::vector<Record>, std::pair<std::vector<Point>, Point>, std::map<std::string, Named>,
          std::optional<std::tuple<std::string>>, std::vector<Row>,
          std::vector<std::pair<int64_t, double>>,
          std::vector<std::pair<std::tuple<bool, uint16_t, float>, std::tuple<int8_t>>>>;

// Calls check.operator()<T>() for each type.
template <class Check, class... T>
void ForEachType(Check check, Types<T...>) {
  (..., check.template operator()<T>());
}

}  // namespace pannier::codec::direct

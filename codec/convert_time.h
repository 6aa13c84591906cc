// Dates and times.
//
//   C++                                       Python
//   absl::Time, std::chrono::sys_time         datetime.datetime with a fixed offset from UTC;
//                                             written with datetime.timezone.utc
//   std::chrono::local_time,                  datetime.datetime without a zone
//     absl::CivilSecond
//   std::chrono::year_month_day,              datetime.date
//     absl::CivilDay
//   std::chrono::hh_mm_ss                     datetime.time without a zone
//   absl::Duration, std::chrono::duration     datetime.timedelta
//   PythonDatetime, PythonTime                datetime.datetime and datetime.time with all that
//                                             they hold: zone, its name, and fold
//   PythonTimezone                            datetime.timezone
//
// sys_time and duration also read numpy.datetime64 and timedelta64 scalars of whatever unit, if
// it comes out even; NaT is an error. NumpyScalar (convert_numpy.h) writes them.
//
// Python counts microseconds: finer times are rounded down when written, and what a coarser
// C++ type cannot hold is rounded down when read. Out of the range of either is an error.
// A zone that is a name (zoneinfo, pytz) is refused: its rules are in no stream.
#pragma once

#include <chrono>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <optional>
#include <string>
#include <type_traits>

#include "absl/time/civil_time.h"
#include "absl/time/time.h"
#include "pannier/codec/array_dtype.h"
#include "pannier/codec/convert.h"

namespace pannier::codec {

namespace internal {

// Whole microseconds; more than int64_t for the longest timedeltas.
struct Micros {
  int64_t seconds = 0;  // rounded down
  int32_t micros = 0;   // 0 to 999,999
};

// Since 1970, UTC. `aware`: with a zone, else without; the other is an error.
StatusOr<Micros> DatetimeFrom(const Value& value, const Place& place, bool aware);
Value DatetimeTo(const Micros& since_1970, bool aware, Builder& builder);
StatusOr<absl::CivilDay> DateFrom(const Value& value, const Place& place);
Value DateTo(absl::CivilDay day, Builder& builder);
StatusOr<Micros> TimeOfDayFrom(const Value& value, const Place& place);
Value TimeOfDayTo(const Micros& since_midnight, Builder& builder);
StatusOr<Micros> TimedeltaFrom(const Value& value, const Place& place);
Value TimedeltaTo(const Micros& length, Builder& builder);

Micros MicrosOf(absl::Duration duration);  // REQUIRES: finite
absl::Duration DurationOf(const Micros& micros);

// In 128 bits no count of any unit overflows before it is compared.
__extension__ using Wide = __int128;
Micros MicrosOf(Wide micros);  // what is beyond Micros becomes the longest that is not

// A count of numpy.datetime64 or timedelta64, with the seconds in its unit: num / den.
struct TimeScalar {
  int64_t count = 0;
  int64_t num = 1;
  int64_t den = 1;
};
// Nothing if the value is no such scalar. Errors: NaT, an unknown unit.
StatusOr<std::optional<TimeScalar>> TimeScalarFrom(const Value& value, DTypeKind kind,
                                                   const Place& place);

// To and from any duration type. Errors where the count does not fit.
template <class Rep, class Period>
Micros MicrosOf(std::chrono::duration<Rep, Period> duration) {
  if constexpr (std::is_floating_point_v<Rep>) {
    const auto micros = std::chrono::duration<long double, std::micro>(duration);
    return MicrosOf(static_cast<Wide>(std::floor(micros.count())));
  } else {
    const Wide scaled = static_cast<Wide>(duration.count()) * Period::num * 1'000'000;
    return MicrosOf(scaled / Period::den - (scaled % Period::den < 0 ? 1 : 0));
  }
}
template <class D>
StatusOr<D> ChronoOf(const Micros& micros, const Place& place) {
  using Rep = typename D::rep;
  using Period = typename D::period;
  if constexpr (std::is_floating_point_v<Rep>) {
    return D(static_cast<Rep>(
        (static_cast<long double>(micros.seconds) + micros.micros * 1e-6L) *
        (static_cast<long double>(Period::den) / static_cast<long double>(Period::num))));
  } else {
    const Wide scaled =
        (static_cast<Wide>(micros.seconds) * 1'000'000 + micros.micros) * Period::den;
    const Wide unit = static_cast<Wide>(Period::num) * 1'000'000;
    Wide count = scaled / unit;
    if (scaled % unit < 0) --count;
    if (count < static_cast<Wide>(std::numeric_limits<Rep>::min()) ||
        count > static_cast<Wide>(std::numeric_limits<Rep>::max())) {
      return place.Error("the time is out of the range of its C++ type; take a coarser one");
    }
    return D(static_cast<Rep>(count));
  }
}

template <class D>
StatusOr<D> ChronoOf(const TimeScalar& scalar, const Place& place) {
  using Rep = typename D::rep;
  using Period = typename D::period;
  if constexpr (std::is_floating_point_v<Rep>) {
    return D(static_cast<Rep>(
        static_cast<long double>(scalar.count) * static_cast<long double>(scalar.num) /
        static_cast<long double>(scalar.den) * static_cast<long double>(Period::den) /
        static_cast<long double>(Period::num)));
  } else {
    // count * (num / den) / (Period::num / Period::den), which are coprime below.
    int64_t num;
    int64_t den;
    if (__builtin_mul_overflow(scalar.num, Period::den, &num) ||
        __builtin_mul_overflow(scalar.den, Period::num, &den)) {
      return place.Error("the unit of the NumPy time is too far from that of its C++ type");
    }
    const int64_t common = std::gcd(num, den);
    const Wide scaled = static_cast<Wide>(scalar.count) * (num / common);
    const Wide count = scaled / (den / common);
    if (scaled % (den / common) != 0) {
      return place.Error("the NumPy time is no multiple of its C++ unit; take a finer one");
    }
    if (count < static_cast<Wide>(std::numeric_limits<Rep>::min()) ||
        count > static_cast<Wide>(std::numeric_limits<Rep>::max())) {
      return place.Error("the time is out of the range of its C++ type; take a coarser one");
    }
    return D(static_cast<Rep>(count));
  }
}

}  // namespace internal

// datetime.timezone: a fixed offset, and a name if it was given one.
struct PythonTimezone {
  std::chrono::microseconds offset{0};  // less than a day, either way
  std::optional<std::string> name;
  friend bool operator==(const PythonTimezone&, const PythonTimezone&) = default;
};

// datetime.time.
struct PythonTime {
  std::chrono::microseconds since_midnight{0};  // less than a day
  std::optional<PythonTimezone> zone;
  bool fold = false;  // the second of two equal times, when clocks are put back
  friend bool operator==(const PythonTime&, const PythonTime&) = default;
};

// datetime.datetime, as the clock on the wall shows it.
struct PythonDatetime {
  std::chrono::local_time<std::chrono::microseconds> local{};
  std::optional<PythonTimezone> zone;
  bool fold = false;
  friend bool operator==(const PythonDatetime&, const PythonDatetime&) = default;
};

template <>
struct Convert<PythonTimezone> {
  static std::string Name() { return "datetime.timezone"; }
  static StatusOr<PythonTimezone> From(const Value& value, const Place& place);
  static Value To(const PythonTimezone& zone, Builder& builder);
};
template <>
struct Convert<PythonTime> {
  static std::string Name() { return "datetime.time"; }
  static StatusOr<PythonTime> From(const Value& value, const Place& place);
  static Value To(const PythonTime& time, Builder& builder);
};
template <>
struct Convert<PythonDatetime> {
  static std::string Name() { return "datetime.datetime"; }
  static StatusOr<PythonDatetime> From(const Value& value, const Place& place);
  static Value To(const PythonDatetime& datetime, Builder& builder);
};

template <>
struct Convert<absl::Time> {
  static std::string Name() { return "datetime with a zone"; }
  static StatusOr<absl::Time> From(const Value& value, const Place& place) {
    PANNIER_ASSIGN_OR_RETURN(const auto micros,
                             internal::DatetimeFrom(value, place, /*aware=*/true));
    return absl::UnixEpoch() + internal::DurationOf(micros);
  }
  static Value To(absl::Time time, Builder& builder) {
    if (time == absl::InfiniteFuture() || time == absl::InfinitePast()) {
      return builder.Fail("an infinite absl::Time is no datetime; use std::optional");
    }
    return internal::DatetimeTo(internal::MicrosOf(time - absl::UnixEpoch()), true, builder);
  }
};

template <class D>
struct Convert<std::chrono::sys_time<D>> {
  static std::string Name() { return "datetime with a zone"; }
  static StatusOr<std::chrono::sys_time<D>> From(const Value& value, const Place& place) {
    PANNIER_ASSIGN_OR_RETURN(const auto scalar,
                             internal::TimeScalarFrom(value, DTypeKind::kDatetime, place));
    if (scalar) {
      PANNIER_ASSIGN_OR_RETURN(const D count, internal::ChronoOf<D>(*scalar, place));
      return std::chrono::sys_time<D>(count);
    }
    PANNIER_ASSIGN_OR_RETURN(const auto micros,
                             internal::DatetimeFrom(value, place, /*aware=*/true));
    PANNIER_ASSIGN_OR_RETURN(const D since, internal::ChronoOf<D>(micros, place));
    return std::chrono::sys_time<D>(since);
  }
  static Value To(std::chrono::sys_time<D> time, Builder& builder) {
    return internal::DatetimeTo(internal::MicrosOf(time.time_since_epoch()), true, builder);
  }
};

template <class D>
struct Convert<std::chrono::local_time<D>> {
  static std::string Name() { return "datetime without a zone"; }
  static StatusOr<std::chrono::local_time<D>> From(const Value& value, const Place& place) {
    PANNIER_ASSIGN_OR_RETURN(const auto micros,
                             internal::DatetimeFrom(value, place, /*aware=*/false));
    PANNIER_ASSIGN_OR_RETURN(const D since, internal::ChronoOf<D>(micros, place));
    return std::chrono::local_time<D>(since);
  }
  static Value To(std::chrono::local_time<D> time, Builder& builder) {
    return internal::DatetimeTo(internal::MicrosOf(time.time_since_epoch()), false, builder);
  }
};

template <>
struct Convert<absl::CivilSecond> {
  static std::string Name() { return "datetime without a zone"; }
  static StatusOr<absl::CivilSecond> From(const Value& value, const Place& place) {
    PANNIER_ASSIGN_OR_RETURN(const auto micros,
                             internal::DatetimeFrom(value, place, /*aware=*/false));
    return absl::CivilSecond(1970) + micros.seconds;
  }
  static Value To(absl::CivilSecond time, Builder& builder) {
    // Years that Python does not have, without a difference that overflows.
    if (time.year() < 0 || time.year() > 10'000) time = absl::CivilSecond(0);
    return internal::DatetimeTo({time - absl::CivilSecond(1970), 0}, false, builder);
  }
};

template <>
struct Convert<absl::CivilDay> {
  static std::string Name() { return "date"; }
  static StatusOr<absl::CivilDay> From(const Value& value, const Place& place) {
    return internal::DateFrom(value, place);
  }
  static Value To(absl::CivilDay day, Builder& builder) { return internal::DateTo(day, builder); }
};

template <>
struct Convert<std::chrono::year_month_day> {
  static std::string Name() { return "date"; }
  static StatusOr<std::chrono::year_month_day> From(const Value& value, const Place& place) {
    PANNIER_ASSIGN_OR_RETURN(const absl::CivilDay day, internal::DateFrom(value, place));
    return std::chrono::year_month_day(std::chrono::year(static_cast<int>(day.year())),
                                       std::chrono::month(static_cast<unsigned>(day.month())),
                                       std::chrono::day(static_cast<unsigned>(day.day())));
  }
  static Value To(std::chrono::year_month_day date, Builder& builder) {
    if (!date.ok()) return builder.Fail("the std::chrono::year_month_day is no day");
    return internal::DateTo(
        absl::CivilDay(static_cast<int>(date.year()), static_cast<int>(unsigned{date.month()}),
                       static_cast<int>(unsigned{date.day()})),
        builder);
  }
};

template <class D>
struct Convert<std::chrono::hh_mm_ss<D>> {
  static std::string Name() { return "time without a zone"; }
  static StatusOr<std::chrono::hh_mm_ss<D>> From(const Value& value, const Place& place) {
    PANNIER_ASSIGN_OR_RETURN(const auto micros, internal::TimeOfDayFrom(value, place));
    PANNIER_ASSIGN_OR_RETURN(const D since, internal::ChronoOf<D>(micros, place));
    return std::chrono::hh_mm_ss<D>(since);
  }
  static Value To(const std::chrono::hh_mm_ss<D>& time, Builder& builder) {
    return internal::TimeOfDayTo(internal::MicrosOf(time.to_duration()), builder);
  }
};

template <>
struct Convert<absl::Duration> {
  static std::string Name() { return "timedelta"; }
  static StatusOr<absl::Duration> From(const Value& value, const Place& place) {
    PANNIER_ASSIGN_OR_RETURN(const auto micros, internal::TimedeltaFrom(value, place));
    return internal::DurationOf(micros);
  }
  static Value To(absl::Duration duration, Builder& builder) {
    if (duration == absl::InfiniteDuration() || duration == -absl::InfiniteDuration()) {
      return builder.Fail("an infinite absl::Duration is no timedelta; use std::optional");
    }
    return internal::TimedeltaTo(internal::MicrosOf(duration), builder);
  }
};

template <class Rep, class Period>
struct Convert<std::chrono::duration<Rep, Period>> {
  using D = std::chrono::duration<Rep, Period>;
  static std::string Name() { return "timedelta"; }
  static StatusOr<D> From(const Value& value, const Place& place) {
    PANNIER_ASSIGN_OR_RETURN(const auto scalar,
                             internal::TimeScalarFrom(value, DTypeKind::kTimedelta, place));
    if (scalar) return internal::ChronoOf<D>(*scalar, place);
    PANNIER_ASSIGN_OR_RETURN(const auto micros, internal::TimedeltaFrom(value, place));
    return internal::ChronoOf<D>(micros, place);
  }
  static Value To(D duration, Builder& builder) {
    if constexpr (std::is_floating_point_v<Rep>) {
      // Also false for NaN.
      if (!(std::chrono::abs(duration) < std::chrono::duration<double>(1e14))) {
        return builder.Fail("the std::chrono::duration is longer than any timedelta");
      }
    }
    return internal::TimedeltaTo(internal::MicrosOf(duration), builder);
  }
};

}  // namespace pannier::codec

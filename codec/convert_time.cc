#include "pannier/codec/convert_time.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <span>

#include "absl/strings/str_cat.h"
#include "pannier/codec/convert_array.h"
#include "pannier/codec/convert_dtype.h"
#include "pannier/codec/convert_shapes.h"

namespace pannier::codec::internal {
namespace {

constexpr int64_t kDaySeconds = 86'400;
constexpr int64_t kMaxDeltaDays = 999'999'999;

// The packed fields of datetime.datetime: year (2, big-endian), month, day, hour, minute,
// second, microsecond (3, big-endian). A date has the first four, a time the last six. Month
// or hour, whichever comes first, carries `fold` in its high bit where a zone could need it.
struct Packed {
  BytesLike bytes;
  std::span<const Value> rest;  // the arguments after it: the zone
};

// The arguments of datetime.`name`, whose first is `size` bytes; Python 2 wrote them as text.
std::optional<Packed> PackedOf(const Value& value, std::string_view name, size_t size,
                               const Document& document) {
  const auto args = ArgumentsOf(value);
  if (!args || args->empty() || args->size() > 2) return std::nullopt;
  if (!value.callee().IsGlobal("datetime", name)) return std::nullopt;
  auto bytes = OldBytesOf((*args)[0], document);
  if (!bytes || bytes->bytes.size() != size) return std::nullopt;
  return Packed{*std::move(bytes), args->subspan(1)};
}

int Byte(const Packed& packed, size_t at) {
  return static_cast<int>(packed.bytes.bytes.data()[at]);
}

Status OutOfRange(const Place& place) {
  return place.Error("the date or time has fields that no date or time has");
}

// Fails for fields that Python's constructors refuse.
StatusOr<absl::CivilDay> UnpackDay(const Packed& packed, const Place& place) {
  const int year = Byte(packed, 0) << 8 | Byte(packed, 1);
  const int month = Byte(packed, 2) & 0x7f;
  const int day = Byte(packed, 3);
  const absl::CivilDay civil(year, month, day);
  if (year < 1 || year > 9999 || civil.month() != month || civil.day() != day) {
    return OutOfRange(place);
  }
  return civil;
}

StatusOr<Micros> UnpackTime(const Packed& packed, size_t at, int hour, const Place& place) {
  const int minute = Byte(packed, at);
  const int second = Byte(packed, at + 1);
  const int micros = Byte(packed, at + 2) << 16 | Byte(packed, at + 3) << 8 | Byte(packed, at + 4);
  if (hour > 23 || minute > 59 || second > 59 || micros > 999'999) return OutOfRange(place);
  return Micros{hour * 3600 + minute * 60 + second, micros};
}

bool IsNoZone(std::span<const Value> rest) { return rest.empty() || rest[0].is_none(); }

// The offset from UTC of datetime.timezone(offset[, name]).
StatusOr<Micros> ZoneFrom(const Value& zone, const Place& place) {
  const auto args = ArgumentsOf(zone);
  if (!args || args->empty() || !zone.callee().IsGlobal("datetime", "timezone")) {
    return place.Error(absl::StrCat("the datetime's zone is ", Describe(zone),
                                    ", no fixed offset; send d.astimezone(datetime.timezone.utc)"));
  }
  PANNIER_ASSIGN_OR_RETURN(const Micros offset, TimedeltaFrom((*args)[0], place));
  if (offset.seconds < -kDaySeconds || offset.seconds >= kDaySeconds) return OutOfRange(place);
  return offset;
}

Micros Minus(const Micros& a, const Micros& b) {
  Micros difference{a.seconds - b.seconds, a.micros - b.micros};
  if (difference.micros < 0) {
    difference.micros += 1'000'000;
    --difference.seconds;
  }
  return difference;
}

void PackDay(absl::CivilDay day, std::string* out) {
  out->push_back(static_cast<char>(day.year() >> 8));
  out->push_back(static_cast<char>(day.year() & 0xff));
  out->push_back(static_cast<char>(day.month()));
  out->push_back(static_cast<char>(day.day()));
}

// REQUIRES: less than a day.
void PackTime(const Micros& time, std::string* out) {
  for (const int64_t field :
       {time.seconds / 3600, time.seconds / 60 % 60, time.seconds % 60, int64_t{time.micros} >> 16,
        int64_t{time.micros} >> 8 & 0xff, int64_t{time.micros} & 0xff}) {
    out->push_back(static_cast<char>(field));
  }
}

bool IsPythonYear(absl::CivilDay day) { return day.year() >= 1 && day.year() <= 9999; }

// False for years that Python does not have.
bool PackDatetime(const Micros& since_1970, std::string* out) {
  int64_t days = since_1970.seconds / kDaySeconds;
  Micros time{since_1970.seconds % kDaySeconds, since_1970.micros};
  if (time.seconds < 0) {
    time.seconds += kDaySeconds;
    --days;
  }
  const absl::CivilDay day = absl::CivilDay(1970) + days;
  if (!IsPythonYear(day)) return false;
  PackDay(day, out);
  PackTime(time, out);
  return true;
}

Value PackedCall(const char* name, const std::string& packed, const Value* zone, Builder& builder) {
  Document& document = builder.document();
  const Value bytes = document.NewBytes(AsBytes(packed));
  const Value callee = document.NewGlobal("datetime", name);
  return zone != nullptr ? document.NewReduce(callee, {bytes, *zone})
                         : document.NewReduce(callee, {bytes});
}

}  // namespace

StatusOr<Micros> DatetimeFrom(const Value& value, const Place& place, bool aware) {
  const auto packed = PackedOf(value, "datetime", 10, place.document());
  if (!packed) return place.Expected("datetime", value);
  if (aware && IsNoZone(packed->rest)) {
    return place.Error(
        "expected a datetime with a zone, found one without; send "
        "d.replace(tzinfo=...), or take std::chrono::local_time");
  }
  if (!aware && !IsNoZone(packed->rest)) {
    return place.Error(
        "expected a datetime without a zone, found one with; send "
        "d.replace(tzinfo=None), or take absl::Time");
  }
  PANNIER_ASSIGN_OR_RETURN(const absl::CivilDay day, UnpackDay(*packed, place));
  PANNIER_ASSIGN_OR_RETURN(Micros time, UnpackTime(*packed, 5, Byte(*packed, 4), place));
  time.seconds += (day - absl::CivilDay(1970)) * kDaySeconds;
  if (!aware) return time;
  PANNIER_ASSIGN_OR_RETURN(const Micros offset, ZoneFrom(packed->rest[0], place));
  return Minus(time, offset);
}

Value DatetimeTo(const Micros& since_1970, bool aware, Builder& builder) {
  std::string packed;
  if (!PackDatetime(since_1970, &packed)) {
    return builder.Fail("a datetime is of the years 1 to 9999");
  }
  if (!aware) return PackedCall("datetime", packed, nullptr, builder);
  const Value utc = builder.Utc();
  return PackedCall("datetime", packed, &utc, builder);
}

StatusOr<absl::CivilDay> DateFrom(const Value& value, const Place& place) {
  const auto packed = PackedOf(value, "date", 4, place.document());
  if (!packed) return place.Expected("date", value);
  return UnpackDay(*packed, place);
}

Value DateTo(absl::CivilDay day, Builder& builder) {
  if (!IsPythonYear(day)) return builder.Fail("a date is of the years 1 to 9999");
  std::string packed;
  PackDay(day, &packed);
  return PackedCall("date", packed, nullptr, builder);
}

StatusOr<Micros> TimeOfDayFrom(const Value& value, const Place& place) {
  const auto packed = PackedOf(value, "time", 6, place.document());
  if (!packed) return place.Expected("time", value);
  if (!IsNoZone(packed->rest)) {
    return place.Error("expected a time without a zone; send t.replace(tzinfo=None)");
  }
  return UnpackTime(*packed, 1, Byte(*packed, 0) & 0x7f, place);
}

Value TimeOfDayTo(const Micros& since_midnight, Builder& builder) {
  if (since_midnight.seconds < 0 || since_midnight.seconds >= kDaySeconds) {
    return builder.Fail("a time of day is less than 24 hours");
  }
  std::string packed;
  PackTime(since_midnight, &packed);
  return PackedCall("time", packed, nullptr, builder);
}

StatusOr<Micros> TimedeltaFrom(const Value& value, const Place& place) {
  const auto args = ArgumentsOf(value);
  if (!args || args->size() != 3 || !value.callee().IsGlobal("datetime", "timedelta")) {
    return place.Expected("timedelta", value);
  }
  for (const Value& field : *args) {
    if (!field.is(Kind::kInt)) return OutOfRange(place);
  }
  // Python's own are of one form; in any other a sum could overflow.
  const int64_t days = (*args)[0].int_value();
  const int64_t seconds = (*args)[1].int_value();
  const int64_t micros = (*args)[2].int_value();
  if (days < -kMaxDeltaDays || days > kMaxDeltaDays || seconds < 0 || seconds >= kDaySeconds ||
      micros < 0 || micros > 999'999) {
    return OutOfRange(place);
  }
  return Micros{days * kDaySeconds + seconds, static_cast<int32_t>(micros)};
}

Value TimedeltaTo(const Micros& length, Builder& builder) {
  int64_t days = length.seconds / kDaySeconds;
  int64_t seconds = length.seconds % kDaySeconds;
  if (seconds < 0) {
    seconds += kDaySeconds;
    --days;
  }
  if (days < -kMaxDeltaDays || days > kMaxDeltaDays) {
    return builder.Fail("a timedelta has at most 999,999,999 days");
  }
  Document& document = builder.document();
  return document.NewReduce(document.NewGlobal("datetime", "timedelta"),
                            {Value::Int(days), Value::Int(seconds), Value::Int(length.micros)});
}

Micros MicrosOf(Wide micros) {
  constexpr Wide kMost = static_cast<Wide>(std::numeric_limits<int64_t>::max()) * 1'000'000;
  micros = std::clamp(micros, -kMost, kMost);
  auto seconds = static_cast<int64_t>(micros / 1'000'000);
  auto rest = static_cast<int32_t>(micros % 1'000'000);
  if (rest < 0) {
    rest += 1'000'000;
    --seconds;
  }
  return {seconds, rest};
}

Micros MicrosOf(absl::Duration duration) {
  absl::Duration rest;
  int64_t seconds = absl::IDivDuration(duration, absl::Seconds(1), &rest);
  if (rest < absl::ZeroDuration()) {
    rest += absl::Seconds(1);
    --seconds;
  }
  return {seconds, static_cast<int32_t>(absl::ToInt64Microseconds(rest))};
}

absl::Duration DurationOf(const Micros& micros) {
  return absl::Seconds(micros.seconds) + absl::Microseconds(micros.micros);
}

StatusOr<std::optional<TimeScalar>> TimeScalarFrom(const Value& value, DTypeKind kind,
                                                   const Place& place) {
  using Result = std::optional<TimeScalar>;
  const auto args = value.is(Kind::kReduce) ? ArgumentsOf(value) : std::nullopt;
  if (!args || args->size() != 2 || !IsNumpyCore(value.callee(), "multiarray", "scalar")) {
    return Result();
  }
  const auto dtype = codec::DTypeOf((*args)[0]);
  if (!dtype || dtype->kind != kind) return Result();
  const auto bytes = OldBytesOf((*args)[1], place.document());
  if (!bytes || bytes->bytes.size() != sizeof(uint64_t)) return Result();
  uint64_t bits;
  std::memcpy(&bits, bytes->bytes.data(), sizeof(bits));
  if (dtype->big_endian) bits = __builtin_bswap64(bits);
  TimeScalar scalar{static_cast<int64_t>(bits), 1, 1};
  if (scalar.count == std::numeric_limits<int64_t>::min()) {
    return place.Error("NaT is no time; send None, and take a std::optional");
  }
  switch (dtype->unit) {
    case TimeUnit::kWeek:
      scalar.num = 7 * kDaySeconds;
      break;
    case TimeUnit::kDay:
      scalar.num = kDaySeconds;
      break;
    case TimeUnit::kHour:
      scalar.num = 3600;
      break;
    case TimeUnit::kMinute:
      scalar.num = 60;
      break;
    default:  // each a thousandth of the one before, from the second on
      for (auto unit = TimeUnit::kSecond; unit < dtype->unit;
           unit = static_cast<TimeUnit>(static_cast<int>(unit) + 1)) {
        scalar.den *= 1000;
      }
  }
  return Result(scalar);
}

namespace {

// The zone after the packed bytes; nothing if there is none.
StatusOr<std::optional<PythonTimezone>> ZoneAfter(const Packed& packed, const Place& place) {
  using Result = std::optional<PythonTimezone>;
  if (IsNoZone(packed.rest)) return Result();
  PANNIER_ASSIGN_OR_RETURN(PythonTimezone zone,
                           From<PythonTimezone>(packed.rest[0], place.Field("tzinfo")));
  return Result(std::move(zone));
}

std::chrono::microseconds ChronoMicros(const Micros& micros) {
  return std::chrono::seconds(micros.seconds) + std::chrono::microseconds(micros.micros);
}

// `fold` in the high bit of the byte at `at`, and the zone.
Value ZonedCall(const char* name, std::string packed, size_t at, bool fold,
                const std::optional<PythonTimezone>& zone, Builder& builder) {
  // As Python does: versions that write no protocol 4 know no fold.
  if (fold && builder.protocol() >= 4) packed[at] = static_cast<char>(packed[at] | 0x80);
  if (!zone) return PackedCall(name, packed, nullptr, builder);
  const Value zone_value = To(*zone, builder);
  return PackedCall(name, packed, &zone_value, builder);
}

}  // namespace
}  // namespace pannier::codec::internal

namespace pannier::codec {

using internal::Micros;

StatusOr<PythonTimezone> Convert<PythonTimezone>::From(const Value& value, const Place& place) {
  PANNIER_ASSIGN_OR_RETURN(const Micros offset, internal::ZoneFrom(value, place));
  PythonTimezone zone{internal::ChronoMicros(offset), std::nullopt};
  const auto args = *ArgumentsOf(value);
  if (args.size() > 1) {
    if (!args[1].is(Kind::kStr)) return internal::OutOfRange(place);
    PANNIER_RETURN_IF_ERROR(place.Charge(args[1].text().size()));
    zone.name = std::string(args[1].text());
  }
  return zone;
}

Value Convert<PythonTimezone>::To(const PythonTimezone& zone, Builder& builder) {
  const std::chrono::hours day(24);
  if (zone.offset <= -day || zone.offset >= day) {
    return builder.Fail("a timezone's offset is less than a day");
  }
  if (zone.offset.count() == 0 && !zone.name) return builder.Utc();
  Document& document = builder.document();
  const Value offset = internal::TimedeltaTo(internal::MicrosOf(zone.offset), builder);
  const Value callee = document.NewGlobal("datetime", "timezone");
  return zone.name ? document.NewReduce(callee, {offset, document.NewStrView(*zone.name)})
                   : document.NewReduce(callee, {offset});
}

StatusOr<PythonTime> Convert<PythonTime>::From(const Value& value, const Place& place) {
  const auto packed = internal::PackedOf(value, "time", 6, place.document());
  if (!packed) return place.Expected(Name(), value);
  const int hour = internal::Byte(*packed, 0);
  PANNIER_ASSIGN_OR_RETURN(const Micros micros,
                           internal::UnpackTime(*packed, 1, hour & 0x7f, place));
  PythonTime time{internal::ChronoMicros(micros), std::nullopt, (hour & 0x80) != 0};
  PANNIER_ASSIGN_OR_RETURN(time.zone, internal::ZoneAfter(*packed, place));
  return time;
}

Value Convert<PythonTime>::To(const PythonTime& time, Builder& builder) {
  if (time.since_midnight.count() < 0 || time.since_midnight >= std::chrono::hours(24)) {
    return builder.Fail("a time of day is less than 24 hours");
  }
  std::string packed;
  internal::PackTime(internal::MicrosOf(time.since_midnight), &packed);
  return internal::ZonedCall("time", std::move(packed), 0, time.fold, time.zone, builder);
}

StatusOr<PythonDatetime> Convert<PythonDatetime>::From(const Value& value, const Place& place) {
  const auto packed = internal::PackedOf(value, "datetime", 10, place.document());
  if (!packed) return place.Expected(Name(), value);
  PANNIER_ASSIGN_OR_RETURN(const absl::CivilDay day, internal::UnpackDay(*packed, place));
  PANNIER_ASSIGN_OR_RETURN(Micros micros,
                           internal::UnpackTime(*packed, 5, internal::Byte(*packed, 4), place));
  micros.seconds += (day - absl::CivilDay(1970)) * internal::kDaySeconds;
  PythonDatetime datetime;
  datetime.local =
      std::chrono::local_time<std::chrono::microseconds>(internal::ChronoMicros(micros));
  datetime.fold = (internal::Byte(*packed, 2) & 0x80) != 0;
  PANNIER_ASSIGN_OR_RETURN(datetime.zone, internal::ZoneAfter(*packed, place));
  return datetime;
}

Value Convert<PythonDatetime>::To(const PythonDatetime& datetime, Builder& builder) {
  std::string packed;
  if (!internal::PackDatetime(internal::MicrosOf(datetime.local.time_since_epoch()), &packed)) {
    return builder.Fail("a datetime is of the years 1 to 9999");
  }
  return internal::ZonedCall("datetime", std::move(packed), 2, datetime.fold, datetime.zone,
                             builder);
}

}  // namespace pannier::codec

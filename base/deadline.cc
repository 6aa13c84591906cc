#include "pannier/base/deadline.h"

#include <algorithm>
#include <cstdint>
#include <limits>

namespace pannier {

Deadline Deadline::After(absl::Duration wait) {
  if (wait <= absl::ZeroDuration()) return Now();
  const auto now = Clock::now();
  const auto room = Clock::time_point::max() - now;
  if (wait >= absl::FromChrono(room)) return Never();
  return Deadline(now + absl::ToChronoNanoseconds(wait));
}

absl::Duration Deadline::Remaining() const {
  if (never()) return absl::InfiniteDuration();
  const auto now = Clock::now();
  if (now >= when_) return absl::ZeroDuration();
  return absl::FromChrono(when_ - now);
}

int Deadline::PollMillis(int cap) const {
  if (never()) return cap;
  const int64_t left = absl::ToInt64Milliseconds(Remaining() + absl::Nanoseconds(999'999));
  const int64_t most = cap >= 0 ? cap : std::numeric_limits<int>::max();
  return static_cast<int>(std::min(left, most));
}

}  // namespace pannier

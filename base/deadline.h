// A point on the monotonic clock until which a call may wait. Every blocking call
// takes one; Deadline::Never() is the caller's explicit choice to wait for ever.
#pragma once

#include <chrono>
#include <optional>

#include "absl/time/time.h"

namespace pannier {

class Deadline {
 public:
  using Clock = std::chrono::steady_clock;

  static Deadline Never() { return Deadline(Clock::time_point::max()); }
  static Deadline Now() { return Deadline(Clock::time_point::min()); }  // do not wait at all
  // A negative or zero duration has passed already; an infinite one never passes.
  static Deadline After(absl::Duration wait);
  static Deadline At(Clock::time_point when) { return Deadline(when); }

  bool never() const { return when_ == Clock::time_point::max(); }
  bool Passed() const { return !never() && Clock::now() >= when_; }
  Clock::time_point when() const { return when_; }

  // Time left: zero if passed, absl::InfiniteDuration() if never.
  absl::Duration Remaining() const;

  // For poll(2) and its kin: milliseconds rounded up, at most `cap` (which is also
  // the answer for Never when cap >= 0); -1 for Never without a cap.
  int PollMillis(int cap = -1) const;

  friend Deadline Earlier(Deadline a, Deadline b) { return a.when_ < b.when_ ? a : b; }

 private:
  explicit Deadline(Clock::time_point when) : when_(when) {}
  Clock::time_point when_;
};

}  // namespace pannier

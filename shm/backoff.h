// Backoff: waiting for something that no one announces, such as a lease that comes home by
// a store into memory.
#pragma once

#include <algorithm>
#include <thread>

#include "absl/time/time.h"
#include "pannier/base/deadline.h"

namespace pannier {

// Sleeps 50 us, then twice as long each time, up to 1 ms; never past the deadline.
class Backoff {
 public:
  explicit Backoff(Deadline deadline) : deadline_(deadline) {}

  // False, at once, if the deadline has passed.
  bool Sleep() {
    if (deadline_.Passed()) return false;
    const absl::Duration nap = std::min(nap_, deadline_.Remaining());
    std::this_thread::sleep_for(absl::ToChronoNanoseconds(nap));
    slept_ += nap;
    nap_ = std::min(nap_ * 2, absl::Milliseconds(1));
    return true;
  }

  // True at most once per 10 ms of sleep: time for what is too dear for each turn.
  bool TimeForMore() {
    if (slept_ < absl::Milliseconds(10)) return false;
    slept_ = absl::ZeroDuration();
    return true;
  }

 private:
  const Deadline deadline_;
  absl::Duration nap_ = absl::Microseconds(50);
  absl::Duration slept_;
};

}  // namespace pannier

#include "pannier/shm/spin_time.h"

#include <sched.h>
#include <time.h>

#include <algorithm>
#include <thread>
#include <utility>

namespace pannier {
namespace {

// Below this a spin cannot see more than what is there already.
constexpr SpinTime::Duration kLeast = std::chrono::microseconds(1);
// A wait that took so much longer than the longest spin might be short if both sides spun:
// each waits for the other's processor to wake.
constexpr int kShortFactor = 8;
// Of so many short waits, one is spent spinning in full: at first, and after trials in vain.
constexpr uint32_t kTryOneIn = 16;
constexpr uint32_t kTryAtLeastOneIn = 256;

}  // namespace

int ProcessorsToRunOn() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

int64_t TimerTick() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
  return time.tv_sec * 1'000'000'000 + time.tv_nsec;
}

SpinTime::SpinTime(Duration most, int processors)
    : most_(processors > 1 ? most : Duration::zero()), budget_(most_), try_one_in_(kTryOneIn) {}

void SpinTime::Paid() {
  budget_ = most_;
  on_trial_ = false;
  short_waits_ = 0;
  try_one_in_ = kTryOneIn;
}

void SpinTime::InVain(Duration took) {
  budget_ /= 2;
  if (budget_ < kLeast) budget_ = Duration::zero();
  if (std::exchange(on_trial_, false)) {
    // The peer may need this processor, and then spinning costs it what it costs us.
    budget_ = Duration::zero();
    try_one_in_ = std::min(2 * try_one_in_, kTryAtLeastOneIn);
  }
  if (took > most_ * kShortFactor) return;
  if (++short_waits_ < try_one_in_) return;
  short_waits_ = 0;
  on_trial_ = budget_ == Duration::zero();
  budget_ = most_;
}

}  // namespace pannier

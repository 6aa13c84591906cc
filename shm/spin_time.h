// SpinTime: for how long a wait may turn before it sleeps. Turning saves the system call
// and the waking of a processor, and costs a processor's time: it is worth it while answers
// come fast. One thread at a time.
#pragma once

#include <chrono>
#include <cstdint>

namespace pannier {

// How many processors this thread may run on.
int ProcessorsToRunOn();

// Tells the processor that this is a loop that waits.
inline void SpinPause() { __builtin_ia32_pause(); }

// Changes with each tick of the timer interrupt, which is what takes the processor away from a loop
// that waits: if it did not change, hardly any time was lost. A tenth of the cost of the clock.
int64_t TimerTick();

class SpinTime {
 public:
  using Clock = std::chrono::steady_clock;
  using Duration = std::chrono::nanoseconds;

  // `most` of zero: never spin. REQUIRES: processors >= 1; with one, never spin.
  SpinTime(Duration most, int processors);

  // For how long to spin in the wait that begins.
  Duration Next() const { return budget_; }
  // The spin was worth it: what was waited for came.
  void Paid();
  // It came later, or did not come: the wait took so long, spin and sleep.
  void InVain(Duration took);

 private:
  const Duration most_;
  Duration budget_;
  bool on_trial_ = false;     // the budget was used up, and is tried in full once
  uint32_t short_waits_ = 0;  // in vain, since the last that was tried in full
  uint32_t try_one_in_;       // of them; more seldom after each trial in vain
};

}  // namespace pannier

// What Ctrl-C must not cut short: the bookkeeping of futures on the main thread, where Python
// raises KeyboardInterrupt between any two instructions.
#pragma once

namespace pannier::python {

// While it lives on the main thread, a SIGINT is noted, and raised again at the end; Python handles
// it then as if it had come at that moment. On other threads, where Python handles no signals, it
// does nothing. Nests. REQUIRES: the GIL, at both ends.
class InterruptsLater {
 public:
  InterruptsLater();
  ~InterruptsLater();
  InterruptsLater(const InterruptsLater&) = delete;
  InterruptsLater& operator=(const InterruptsLater&) = delete;

 private:
  bool active_ = false;
};

// In a forked child: signals are as they were before. REQUIRES: the GIL.
void HandleSignalsAfterFork();

}  // namespace pannier::python

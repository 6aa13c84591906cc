// What benches between two processes share: the other process, and the floor of the machine, one
// cache line to and fro.
#pragma once

#include <benchmark/benchmark.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <new>

#include "pannier/shm/spin_time.h"

namespace pannier {

// Binds this thread to one processor. Spinning is of use on two alone, and a loaded machine may
// put both processes on one.
inline void RunOn(int processor) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(processor, &set);
  (void)sched_setaffinity(0, sizeof(set), &set);
}

// Binds this thread to the first as long as it lives.
class OnFirst {
 public:
  OnFirst() {
    (void)sched_getaffinity(0, sizeof(before_), &before_);
    RunOn(0);
  }
  ~OnFirst() { (void)sched_setaffinity(0, sizeof(before_), &before_); }
  OnFirst(const OnFirst&) = delete;
  OnFirst& operator=(const OnFirst&) = delete;

 private:
  cpu_set_t before_;
};

// A child that runs `body` until it is killed.
template <typename Body>
class Other {
 public:
  explicit Other(Body body) : pid_(fork()) {
    if (pid_ != 0) return;
    for (;;) body();
  }
  ~Other() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  Other(const Other&) = delete;
  Other& operator=(const Other&) = delete;

 private:
  const pid_t pid_;
};

struct Line {
  alignas(128) std::atomic<uint64_t> there{0};
  alignas(128) std::atomic<uint64_t> back{0};
};

inline void CacheLine(benchmark::State& state) {
  void* memory =
      mmap(nullptr, sizeof(Line), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return state.SkipWithError("mmap");
  auto* line = new (memory) Line;
  {
    const Other echo([line, next = uint64_t{1}]() mutable {
      if (next == 1) RunOn(1);
      while (line->there.load(std::memory_order_acquire) != next) SpinPause();
      line->back.store(next++, std::memory_order_release);
    });
    const OnFirst bound;
    uint64_t number = 0;
    for (auto _ : state) {
      line->there.store(++number, std::memory_order_release);
      while (line->back.load(std::memory_order_acquire) != number) SpinPause();
    }
  }
  munmap(memory, sizeof(Line));
}

}  // namespace pannier

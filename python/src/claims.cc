// Claims: which calls of a worker have begun, in memory that it shares with its owner, so that the
// owner can take back those that wait behind a long one.
//
// Calls have consecutive numbers from 1, modulo 2^32, and begin in their order. One word holds two
// of them: up to which calls have begun, and up to which none begins any more. Each side changes it
// only if it is as it read it. So a call either begins or is taken back, and never both.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <utility>

#include <nanobind/nanobind.h>

#include "bind.h"
#include "pannier/base/buffer.h"
#include "view.h"

namespace nb = nanobind;

namespace pannier::python {
namespace {

class Claims {
 public:
  // `memory`: two words, aligned, writable, 0 at the beginning.
  explicit Claims(Buffer memory)
      : memory_(std::move(memory)),
        word_(reinterpret_cast<uint64_t*>(memory_.mutable_data())[0]),
        nanos_(reinterpret_cast<uint64_t*>(memory_.mutable_data())[1]) {}

  // The worker's side: call `number` begins, unless it was taken back.
  bool Begin(uint32_t number) {
    // Relaxed: the word is all that the sides tell each other by it. Calls travel as messages.
    uint64_t seen = word_.load(std::memory_order_relaxed);
    do {
      if (!Later(number, Closed(seen))) return false;
    } while (!word_.compare_exchange_weak(seen, Word(number, number), std::memory_order_relaxed));
    began_ = Clock::now();
    return true;
  }
  // The worker's side: the call that began has ended. Else does nothing.
  void End() {
    if (!began_) return;
    const auto took = std::chrono::nanoseconds(Clock::now() - *began_).count();
    began_.reset();
    const uint64_t last = std::max<int64_t>(took, 1);
    const uint64_t old = nanos_.load(std::memory_order_relaxed);
    // Up at once, down little by little, or at once where it was far off.
    const uint64_t now = last > old ? last : std::min((4 * old + last) / 5, 4 * last);
    nanos_.store(now, std::memory_order_relaxed);  // relaxed: a guess, by which nothing else hangs
  }
  // The owner's side: seconds that a call took of late; 1 before the first has ended.
  double Seconds() const {
    const uint64_t nanos = nanos_.load(std::memory_order_relaxed);
    return nanos == 0 ? 1.0 : 1e-9 * static_cast<double>(nanos);
  }
  // The owner's side: no call up to `last` begins any more. The last that has begun.
  uint32_t Recall(uint32_t last) {
    uint64_t seen = word_.load(std::memory_order_relaxed);
    while (!word_.compare_exchange_weak(seen, Word(last, Begun(seen)), std::memory_order_relaxed)) {
    }
    return Begun(seen);
  }

 private:
  static uint64_t Word(uint32_t closed, uint32_t begun) { return uint64_t{closed} << 32 | begun; }
  static uint32_t Closed(uint64_t word) { return static_cast<uint32_t>(word >> 32); }
  static uint32_t Begun(uint64_t word) { return static_cast<uint32_t>(word); }
  // `left` comes after `right`, and less than 2^31 after.
  static bool Later(uint32_t left, uint32_t right) {
    return static_cast<int32_t>(left - right) > 0;
  }

  using Clock = std::chrono::steady_clock;

  Buffer memory_;
  std::atomic_ref<uint64_t> word_;
  std::atomic_ref<uint64_t> nanos_;
  std::optional<Clock::time_point> began_;  // of the call that runs; the worker's side, one thread
  static_assert(std::atomic_ref<uint64_t>::is_always_lock_free);
};

void Make(Claims* self, nb::handle memory) {
  Buffer buffer = OwnedBuffer(memory);
  if (buffer.size() != 2 * sizeof(uint64_t) || buffer.readonly() ||
      reinterpret_cast<uintptr_t>(buffer.data()) % std::atomic_ref<uint64_t>::required_alignment) {
    throw nb::value_error("claims need 16 bytes, aligned and writable");
  }
  new (self) Claims(std::move(buffer));
}

}  // namespace

void BindClaims(nb::module_& module) {
  nb::class_<Claims>(module, "Claims", "Which calls of a worker have begun; shared with it.")
      .def("__init__", &Make, nb::arg("memory"),
           nb::sig("def __init__(self, memory: typing_extensions.Buffer) -> None"))
      .def("begin", &Claims::Begin, nb::arg("number"))
      .def("end", &Claims::End)
      .def("recall", &Claims::Recall, nb::arg("last"))
      .def_prop_ro("seconds", &Claims::Seconds);
}

}  // namespace pannier::python

#include "pannier/shm/pool.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>

#include "bind.h"
#include "status.h"
#include "view.h"
#include "wait.h"

namespace nb = nanobind;

namespace pannier::python {
namespace {

using Seconds = std::optional<double>;

// How long a wait in the pool goes on before signals are looked at.
constexpr absl::Duration kSlice = absl::Milliseconds(100);

// Runs `call`, which waits until the deadline it is given, in slices, and Python's signal
// handlers in between. `again` is the kind of error with which a slice ends.
template <typename Call>
auto InSlices(Deadline deadline, ErrorKind again, Call call) {
  RaiseIfCallIsOver();
  const WaitScope scope;
  while (true) {
    const Deadline slice = Earlier(deadline, Deadline::After(kSlice));
    auto result = call(slice);
    const Status status = [&] {
      if constexpr (std::is_same_v<decltype(result), Status>)
        return result;
      else
        return result.status();
    }();
    // What failed before its time would fail again.
    if (status.ok() || KindOf(status) != again || !slice.Passed() || deadline.Passed())
      return result;
    if (Interrupted()) {
      return decltype(result)(MakeError(ErrorKind::kInterrupted, "a signal handler raised"));
    }
  }
}

std::shared_ptr<Pool> Create(uint64_t quota, std::string name, uint32_t leases_per_peer,
                             uint64_t warm, Seconds idle_time, bool debug) {
  const PoolOptions options{
      .quota = quota,
      .leases_per_peer = leases_per_peer,
      .name = std::move(name),
      .warm = warm,
      .idle_time = idle_time ? absl::Seconds(*idle_time) : absl::InfiniteDuration(),
      .guard = debug};
  return ValueOrRaise(Waiting([&] { return Pool::Create(options); }));
}

View Allocate(Pool& self, size_t size, Seconds timeout) {
  const Deadline deadline = DeadlineAfter(timeout);
  StatusOr<Buffer> block = InSlices(deadline, ErrorKind::kPoolExhausted,
                                    [&](Deadline slice) { return self.Allocate(size, slice); });
  return View(ValueOrRaise(std::move(block)), View::Origin::kOwn);
}

// Addresses are those of arrays that the caller keeps; they are compared, not read.
const std::byte* At(uintptr_t address) { return reinterpret_cast<const std::byte*>(address); }

bool Contains(const Pool& self, uintptr_t address, size_t size) {
  return size > 0 && Waiting([&] { return self.Contains(At(address), size); });
}

uint64_t Leases(Pool& self, uintptr_t address) {
  return ValueOrRaise(Waiting([&] { return self.Leases(At(address)); }));
}

void WaitHome(Pool& self, uintptr_t address, Seconds timeout) {
  const Deadline deadline = DeadlineAfter(timeout);
  RaiseIfError(InSlices(deadline, ErrorKind::kDeadlineExceeded,
                        [&](Deadline slice) { return self.WaitHome(At(address), slice); }));
}

nb::dict Stats(Pool& self) {
  const PoolStats stats = Waiting([&] { return self.Stats(); });
  nb::dict dict;
  dict["quota"] = stats.quota;
  dict["segments"] = stats.segments;
  dict["segment_bytes"] = stats.segment_bytes;
  dict["blocks"] = stats.blocks;
  dict["used_bytes"] = stats.used_bytes;
  dict["free_bytes"] = stats.free_bytes;
  dict["largest_free_bytes"] = stats.largest_free_bytes;
  dict["high_water_bytes"] = stats.high_water_bytes;
  dict["allocations"] = stats.allocations;
  dict["copied_bytes"] = stats.copied_bytes;
  nb::list peers;
  for (const PeerLeases& peer : stats.peers) {
    peers.append(
        nb::make_tuple(peer.peer, peer.leases, peer.bytes, absl::ToDoubleSeconds(peer.oldest)));
  }
  dict["peers"] = peers;
  return dict;
}

}  // namespace

void BindPool(nb::module_& module) {
  nb::class_<Pool>(module, "Pool")
      .def_static("create", &Create, nb::arg("quota"), nb::arg("name"), nb::arg("leases_per_peer"),
                  nb::arg("warm"), nb::arg("idle_time").none(), nb::arg("debug"))
      .def_static("default", &Pool::Default)
      .def("allocate", &Allocate, nb::arg("size"), nb::arg("timeout").none())
      .def("contains", &Contains, nb::arg("address"), nb::arg("size"))
      .def("leases", &Leases, nb::arg("address"))
      .def("wait", &WaitHome, nb::arg("address"), nb::arg("timeout").none())
      .def("trim", &Pool::Trim, nb::call_guard<nb::gil_scoped_release>())
      .def("close", &Pool::Close, nb::call_guard<nb::gil_scoped_release>())
      .def("stats", &Stats, nb::sig("def stats(self) -> dict[str, typing.Any]"))
      .def(
          "audit", [](Pool& self) { RaiseIfError(Waiting([&] { return self.Audit(); })); },
          "Checks every invariant of the pool, for tests.");
}

}  // namespace pannier::python

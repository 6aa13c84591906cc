// What a lease costs, and what a copy into the pool costs. Owner and receiver are in one
// process: no message is sent, so this is the price of the bookkeeping alone.
#include <benchmark/benchmark.h>
#include <fcntl.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "pannier/shm/import.h"
#include "pannier/shm/pool.h"

namespace pannier {
namespace {

constexpr size_t kKiB = 1024;
constexpr size_t kMiB = 1024 * kKiB;
constexpr size_t kPage = 4 * kKiB;

template <typename T>
T Must(StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
  std::abort();
}

struct Sides {
  explicit Sides(uint64_t quota, bool guard = false)
      : pool(Must(Pool::Create(
            {.quota = quota, .leases_per_peer = 1024, .name = "bench", .guard = guard}))),
        row(Must(pool->OpenRow("peer", nullptr))),
        import(Must(Import::Create("owner", row->ring_fd()))) {}

  LeaseDescriptor Grant(const Buffer& buffer, bool readonly) {
    const LeaseDescriptor lease =
        Must(row->Grant(buffer.data(), buffer.size(), readonly, Deadline::Now()));
    if (!import->HasSegment(lease.segment)) {
      const SegmentHandle segment = Must(pool->Segment(lease.segment));
      const int fd = ::fcntl(segment.fd, F_DUPFD_CLOEXEC, 0);
      if (!import->AddSegment(segment.id, fd, segment.size).ok()) std::abort();
    }
    return lease;
  }

  std::shared_ptr<Pool> pool;
  std::unique_ptr<LeaseRow> row;
  std::shared_ptr<Import> import;
};

// Allocate, grant, open, drop both Buffers, drain.
void RoundTrip(benchmark::State& state) {
  const auto size = static_cast<size_t>(state.range(0));
  Sides sides(512 * kMiB);
  for (auto _ : state) {
    Buffer sent = Must(sides.pool->Allocate(size));
    const LeaseDescriptor lease = Must(sides.row->Grant(sent.data(), size, true, Deadline::Now()));
    if (!sides.import->HasSegment(lease.segment)) {
      sides.row->Revoke(lease);
      sides.Grant(sent, true);
      continue;
    }
    Buffer view = Must(sides.import->Open(lease, false));
    benchmark::DoNotOptimize(view.data());
    sent = Buffer();
    view = Buffer();
    benchmark::DoNotOptimize(sides.row->Drain().ok());
  }
}
BENCHMARK(RoundTrip)->ArgName("bytes")->Arg(64)->Arg(64 * kKiB)->Arg(64 * kMiB);

// What it costs to send a block of the pool again, whatever its size: grant, open, hand back,
// collect. With a guard the owner's pages change their protection twice.
void LeaseRoundTrip(benchmark::State& state, bool guard) {
  const auto size = static_cast<size_t>(state.range(0));
  Sides sides(size + 8 * kMiB, guard);
  const auto block = sides.pool->Allocate(size);
  if (!block.ok()) {
    state.SkipWithError("this machine has no memory for it");
    return;
  }
  Must(sides.import->Open(sides.Grant(*block, true), false));
  benchmark::DoNotOptimize(sides.row->Drain().ok());
  for (auto _ : state) {
    Buffer view = Must(sides.import->Open(
        Must(sides.row->Grant(block->data(), size, true, Deadline::Now())), false));
    benchmark::DoNotOptimize(view.data());
    view = Buffer();
    benchmark::DoNotOptimize(sides.row->Drain().ok());
  }
}
BENCHMARK_CAPTURE(LeaseRoundTrip, plain, false)->ArgName("bytes")->Arg(kMiB)->Arg(1024 * kMiB);
BENCHMARK_CAPTURE(LeaseRoundTrip, guarded, true)->ArgName("bytes")->Arg(64 * kKiB)->Arg(64 * kMiB);

void AllocateAndFree(benchmark::State& state) {
  Sides sides(512 * kMiB);
  for (auto _ : state) {
    benchmark::DoNotOptimize(Must(sides.pool->Allocate(static_cast<size_t>(state.range(0)))));
  }
}
BENCHMARK(AllocateAndFree)->ArgName("bytes")->Arg(64 * kKiB);

// The death of one view, of many that are held. What was done to it: 0 nothing, 1 each
// page read, 2 each page written.
void HandBack(benchmark::State& state, bool writable, int touched) {
  const auto size = static_cast<size_t>(state.range(0));
  const size_t count = size >= kMiB ? 4 : 256;
  Sides sides(512 * kMiB);
  std::vector<Buffer> blocks;
  for (size_t i = 0; i < count; ++i) blocks.push_back(Must(sides.pool->Allocate(size)));
  std::vector<Buffer> views(count);
  for (auto _ : state) {
    for (size_t i = 0; i < count; ++i) {
      views[i] = Must(sides.import->Open(sides.Grant(blocks[i], !writable), writable));
      uint64_t sum = 0;
      for (size_t at = 0; at < size && touched > 0; at += kPage) {
        sum += static_cast<uint64_t>(views[i].data()[at]);
        if (touched == 2) views[i].mutable_data()[at] = std::byte{1};
      }
      benchmark::DoNotOptimize(sum);
    }
    const auto start = std::chrono::steady_clock::now();
    for (Buffer& view : views) view = Buffer();
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
    state.SetIterationTime(spent.count() / static_cast<double>(count));
    benchmark::DoNotOptimize(sides.row->Drain().ok());
  }
}
// What is timed is far less than what is done: a number of turns, not of seconds.
void HandBackArguments(benchmark::internal::Benchmark* bench) {
  bench->ArgName("bytes")->Arg(64 * kKiB)->Arg(64 * kMiB)->UseManualTime()->Iterations(40);
}
BENCHMARK_CAPTURE(HandBack, readonly, false, 1)->Apply(HandBackArguments);
BENCHMARK_CAPTURE(HandBack, writable_untouched, true, 0)->Apply(HandBackArguments);
BENCHMARK_CAPTURE(HandBack, writable_read, true, 1)->Apply(HandBackArguments);
BENCHMARK_CAPTURE(HandBack, writable_written, true, 2)->Apply(HandBackArguments);

// A receiver that reads all of each message, in the mapping that it was offered.
void OpenReadHandBack(benchmark::State& state, bool writable) {
  const auto size = static_cast<size_t>(state.range(0));
  Sides sides(512 * kMiB);
  const Buffer block = Must(sides.pool->Allocate(size));
  std::memset(block.mutable_data(), 1, size);
  for (auto _ : state) {
    Buffer view = Must(sides.import->Open(sides.Grant(block, !writable), writable));
    uint64_t sum = 0;
    for (size_t at = 0; at < size; at += 64) sum += static_cast<uint64_t>(view.data()[at]);
    benchmark::DoNotOptimize(sum);
    view = Buffer();
    benchmark::DoNotOptimize(sides.row->Drain().ok());
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * size));
}
void OpenReadHandBackArguments(benchmark::internal::Benchmark* bench) {
  bench->ArgName("bytes")->Arg(64 * kKiB)->Arg(4 * kMiB)->Arg(64 * kMiB);
}
BENCHMARK_CAPTURE(OpenReadHandBack, readonly, false)->Apply(OpenReadHandBackArguments);
BENCHMARK_CAPTURE(OpenReadHandBack, writable, true)->Apply(OpenReadHandBackArguments);

std::vector<std::byte> Payload(size_t size) { return std::vector<std::byte>(size, std::byte{7}); }

// Pool::Copy into a block that is used again each time, against memcpy onto the heap.
void CopyIntoPool(benchmark::State& state) {
  const auto payload = Payload(static_cast<size_t>(state.range(0)));
  Sides sides(512 * kMiB);
  for (auto _ : state) benchmark::DoNotOptimize(Must(sides.pool->Copy(payload)));
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * payload.size()));
}
BENCHMARK(CopyIntoPool)->ArgName("bytes")->Arg(kMiB)->Arg(64 * kMiB)->UseRealTime();

void WarmMemcpy(benchmark::State& state) {
  const auto payload = Payload(static_cast<size_t>(state.range(0)));
  std::vector<std::byte> target(payload.size());
  for (auto _ : state) {
    std::memcpy(target.data(), payload.data(), payload.size());
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * payload.size()));
}
BENCHMARK(WarmMemcpy)->ArgName("bytes")->Arg(kMiB)->Arg(64 * kMiB)->UseRealTime();

// Pool::Copy and memcpy in turn, so that both have the same share of a busy machine. The ratio
// is of the medians: more than 1 means that the copy into the pool is the faster one.
void CopyAgainstMemcpy(benchmark::State& state) {
  const auto payload = Payload(static_cast<size_t>(state.range(0)));
  std::vector<std::byte> target(payload.size());
  Sides sides(512 * kMiB);
  const auto timed = [](auto copy) {
    const auto start = std::chrono::steady_clock::now();
    copy();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  std::vector<double> memcpy_times, pool_times;
  for (auto _ : state) {
    memcpy_times.push_back(timed([&] {
      std::memcpy(target.data(), payload.data(), payload.size());
      benchmark::ClobberMemory();
    }));
    pool_times.push_back(
        timed([&] { benchmark::DoNotOptimize(Must(sides.pool->Copy(payload)).data()); }));
  }
  const auto median = [](std::vector<double>& times) {
    std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
    return times[times.size() / 2];
  };
  const double by_memcpy = median(memcpy_times);
  const double by_pool = median(pool_times);
  const double gigabytes = static_cast<double>(payload.size()) * 1e-9;
  state.counters["memcpy_GBps"] = gigabytes / by_memcpy;
  state.counters["pool_GBps"] = gigabytes / by_pool;
  state.counters["ratio"] = by_memcpy / by_pool;
}
BENCHMARK(CopyAgainstMemcpy)
    ->ArgName("bytes")
    ->Arg(kMiB)
    ->Arg(16 * kMiB)
    ->Arg(64 * kMiB)
    ->UseRealTime();

// The first copy of a process: its segment is made for it.
void CopyIntoFreshSegment(benchmark::State& state) {
  const auto payload = Payload(static_cast<size_t>(state.range(0)));
  for (auto _ : state) {
    const Sides sides(512 * kMiB);
    const auto start = std::chrono::steady_clock::now();
    benchmark::DoNotOptimize(Must(sides.pool->Copy(payload)));
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
    state.SetIterationTime(spent.count());
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * payload.size()));
}
BENCHMARK(CopyIntoFreshSegment)->ArgName("bytes")->Arg(64 * kMiB)->UseManualTime()->Iterations(10);

}  // namespace
}  // namespace pannier

BENCHMARK_MAIN();

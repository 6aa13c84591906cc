// A lane between two processes, next to the floors of the machine: one cache line to and fro,
// and an eventfd to and fro. Read ratios within one run.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include "pannier/shm/lane.h"
#include "pannier/shm/spin_time.h"
#include "two_processes.h"

namespace pannier {
namespace {

struct Ends {
  std::unique_ptr<LaneInbox> inbox;
  std::unique_ptr<LaneOutbox> outbox;
};

Ends MakeLane() {
  Ends ends;
  auto inbox = LaneInbox::Create();
  if (!inbox.ok()) return ends;
  auto outbox = LaneOutbox::Open(UniqueFd(fcntl((*inbox)->ring_fd(), F_DUPFD_CLOEXEC, 0)),
                                 UniqueFd(fcntl((*inbox)->doorbell().fd(), F_DUPFD_CLOEXEC, 0)));
  if (!outbox.ok()) return ends;
  ends.inbox = *std::move(inbox);
  ends.outbox = *std::move(outbox);
  return ends;
}

void Push(LaneOutbox& outbox, ByteSpan bytes) {
  std::byte* at;
  while ((at = outbox.writer().Begin(static_cast<uint32_t>(bytes.size()))) == nullptr) SpinPause();
  std::memcpy(at, bytes.data(), bytes.size());
  outbox.writer().Commit(1);
  outbox.Publish();
}

// Waits for a record, awake or asleep, copies it to `bytes` and gives its place back.
void Take(LaneInbox& inbox, bool sleeps, std::string* bytes) {
  LaneReader::Record record;
  for (;;) {
    const auto found = inbox.reader().Peek(&record);
    if (!found.ok()) std::abort();
    if (*found) break;
    if (!sleeps) {
      SpinPause();
    } else if (inbox.reader().Arm()) {
      pollfd bell{inbox.doorbell().fd(), POLLIN, 0};
      poll(&bell, 1, -1);
      inbox.doorbell().Silence();
    }
  }
  std::memcpy(bytes->data(), record.bytes.data(), record.bytes.size());
  inbox.reader().Pop();
}

void Echo(benchmark::State& state, bool sleeps) {
  const Ends there = MakeLane(), back = MakeLane();
  if (there.outbox == nullptr || back.outbox == nullptr) return state.SkipWithError("no lane");
  std::string bytes(static_cast<size_t>(state.range(0)), 'x');
  const Other echo([&, answer = bytes]() mutable {
    Take(*there.inbox, sleeps, &answer);
    Push(*back.outbox, AsBytes(answer));
  });
  for (auto _ : state) {
    Push(*there.outbox, AsBytes(bytes));
    Take(*back.inbox, sleeps, &bytes);
  }
}

void LaneAwake(benchmark::State& state) { Echo(state, false); }
void LaneAsleep(benchmark::State& state) { Echo(state, true); }

void Eventfd(benchmark::State& state) {
  auto there = Doorbell::Create(), back = Doorbell::Create();
  if (!there.ok() || !back.ok()) return state.SkipWithError("no eventfd");
  const auto await = [](Doorbell& bell) {
    pollfd poll_fd{bell.fd(), POLLIN, 0};
    poll(&poll_fd, 1, -1);
    bell.Silence();
  };
  const Other echo([&] {
    await(*there);
    back->Ring();
  });
  for (auto _ : state) {
    there->Ring();
    await(*back);
  }
}

// One process: what a record costs beside the transfer.
void PushAndTake(benchmark::State& state) {
  const Ends lane = MakeLane();
  if (lane.outbox == nullptr) return state.SkipWithError("no lane");
  std::string bytes(static_cast<size_t>(state.range(0)), 'x');
  for (auto _ : state) {
    Push(*lane.outbox, AsBytes(bytes));
    Take(*lane.inbox, false, &bytes);
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

BENCHMARK(CacheLine)->UseRealTime();
BENCHMARK(LaneAwake)->Arg(64)->Arg(1024)->UseRealTime();
BENCHMARK(Eventfd)->UseRealTime();
BENCHMARK(LaneAsleep)->Arg(64)->UseRealTime();
BENCHMARK(PushAndTake)->Arg(64)->Arg(1024)->Arg(16384);

}  // namespace
}  // namespace pannier

BENCHMARK_MAIN();

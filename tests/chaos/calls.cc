// Calls: a server whose method gives back the words that it got, and its callers.
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "pannier/rpc/client.h"
#include "pannier/rpc/server.h"
#include "worker.h"

namespace pannier::chaos {
namespace {

constexpr absl::Duration kCallWithin = absl::Seconds(3);

void FillWords(std::span<uint64_t> words, uint64_t seed) {
  for (uint64_t& word : words) word = std::exchange(seed, seed + kStep);
}

bool HasWords(std::span<const uint64_t> words, uint64_t seed) {
  for (const uint64_t word : words) {
    if (word != std::exchange(seed, seed + kStep)) return false;
  }
  return true;
}

}  // namespace

void RunServer(Worker& worker) {
  Server server;
  server.Method("echo", [](ArrayView<const uint64_t> words) {
    auto back = Array<uint64_t>::LikeShape(words);
    const std::span<const uint64_t> from = words.flat();
    std::copy(from.begin(), from.end(), back.flat().begin());
    return back;
  });
  Status status = server.Start(worker.endpoints()[0]);
  for (int i = 0; !status.ok() && i < 100; ++i) {
    absl::SleepFor(absl::Milliseconds(50));
    status = server.Start(worker.endpoints()[0]);
  }
  if (!status.ok()) return worker.Violation("serve: " + status.ToString());
  while (CurrentStage() != Stage::kEnd) {
    usleep(50'000);
    worker.Tick();
    if (CurrentStage() == Stage::kDrain) worker.Drained();
  }
  server.Stop();
  status = server.Wait();
  if (!status.ok()) worker.Violation("serve: " + status.ToString());
}

void RunCaller(Worker& worker) {
  std::shared_ptr<Client> client;
  while (CurrentStage() != Stage::kEnd) {
    worker.Tick();
    if (CurrentStage() == Stage::kDrain) {
      client.reset();
      worker.Drained();
      usleep(10'000);
      continue;
    }
    if (client == nullptr) {
      ClientOptions options;
      options.connect_timeout = kCallWithin;
      const Timed timed(worker, "connect for calls", kCallWithin);
      auto connected = Client::Connect(worker.AnyEndpoint(), options);
      worker.Expect(connected.status(), "connect for calls");
      if (!connected.ok()) continue;
      client = *std::move(connected);
    }
    const uint64_t seed = worker.random()();
    const size_t size = worker.Below(worker.Chance(0.9) ? 5'000 : 200'000);
    auto words = Array<uint64_t>::OfShape({size});
    FillWords(words.flat(), seed);
    const Timed timed(worker, "call", kCallWithin);
    const auto back = client->Call<Array<uint64_t>>({.deadline = timed.deadline()}, "echo", words);
    if (back.ok()) {
      if (back->size() != size || !HasWords(back->flat(), seed)) {
        worker.Violation("the result of a call is not its argument");
      }
      worker.Checked(size * sizeof(uint64_t));
      continue;
    }
    worker.Expect(back.status(), "call");
    if (KindOf(back.status()) == ErrorKind::kConnectionLost || worker.Chance(0.3)) {
      client.reset();
      worker.Lost();
    }
  }
}

}  // namespace pannier::chaos

// A message of 64 bytes to another process and back, over each carrier, next to the floor of the
// machine. Read ratios within one run.
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <optional>
#include <string>

#include "pannier/transport/connection.h"
#include "two_processes.h"

namespace pannier {
namespace {

const std::string& Endpoint() {
  static const std::string endpoint =
      "ipc:///tmp/pannier-message-bench-" + std::to_string(getpid());
  return endpoint;
}

// Connects when it is first called, sends back one message in each call.
class EchoBack {
 public:
  explicit EchoBack(const TransportOptions& options) : options_(options) { Endpoint(); }
  void operator()() {
    if (connection_ == nullptr) {
      connection_ = *Connection::Connect(Endpoint(), options_, Deadline::After(absl::Seconds(10)));
      RunOn(1);  // now: with one processor it would not spin
    }
    const auto message = connection_->Receive(Deadline::Never());
    if (!message.ok()) _exit(0);
    (void)connection_->Send({.envelope = message->envelope.span(),
                             .stream = message->stream.span(),
                             .buffers = message->buffers},
                            Deadline::Never());
  }

 private:
  const TransportOptions options_;
  std::shared_ptr<Connection> connection_;
};

void MessageEcho(benchmark::State& state, Carrier carrier, absl::Duration spin) {
  TransportOptions options;
  options.carrier = carrier;
  options.spin = spin;
  const Other echo{EchoBack(options)};
  const auto listener = Listener::Listen(Endpoint(), options);
  if (!listener.ok()) return state.SkipWithError("no listener");
  const auto connection = (*listener)->Accept(Deadline::After(absl::Seconds(10)));
  if (!connection.ok()) return state.SkipWithError("no connection");
  const OnFirst bound;
  const std::string stream(static_cast<size_t>(state.range(0)), 'x');
  for (auto _ : state) {
    (void)(*connection)->Send({.stream = AsBytes(stream)}, Deadline::Never());
    const auto back = (*connection)->Receive(Deadline::Never());
    if (!back.ok()) return state.SkipWithError("the echo is gone");
  }
}

void Lane(benchmark::State& state) { MessageEcho(state, Carrier::kLane, absl::Microseconds(50)); }
void LaneNoSpin(benchmark::State& state) {
  MessageEcho(state, Carrier::kLane, absl::ZeroDuration());
}
void Zmq(benchmark::State& state) { MessageEcho(state, Carrier::kZmq, absl::ZeroDuration()); }

// Both ends on one thread: what a message costs beside the transfer.
void LaneOneThread(benchmark::State& state) {
  const auto listener = Listener::Listen(Endpoint(), {});
  if (!listener.ok()) return state.SkipWithError("no listener");
  const auto near = Connection::Connect(Endpoint(), {}, Deadline::After(absl::Seconds(10)));
  const auto far = (*listener)->Accept(Deadline::After(absl::Seconds(10)));
  if (!near.ok() || !far.ok()) return state.SkipWithError("no connection");
  const std::string stream(static_cast<size_t>(state.range(0)), 'x');
  for (auto _ : state) {
    (void)(*near)->Send({.stream = AsBytes(stream)}, Deadline::Never());
    if (!(*far)->Receive(Deadline::Never()).ok()) return state.SkipWithError("lost");
  }
}

BENCHMARK(CacheLine)->UseRealTime();
BENCHMARK(LaneOneThread)->Arg(64);
BENCHMARK(Lane)->Arg(64)->Arg(4096)->UseRealTime();
BENCHMARK(LaneNoSpin)->Arg(64)->UseRealTime();
BENCHMARK(Zmq)->Arg(64)->UseRealTime();

}  // namespace
}  // namespace pannier

BENCHMARK_MAIN();

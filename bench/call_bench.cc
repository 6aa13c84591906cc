// A typed call to another process, beside the cache line, the floor of the machine; calls of many
// clients; and 100,000 small one-way messages, beside ZeroMQ's PUSH and PULL doing the same. Read
// ratios within one run.
#include <benchmark/benchmark.h>
#include <unistd.h>
#include <zmq.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "pannier/rpc/pannier.h"
#include "two_processes.h"

namespace pannier {
namespace {

constexpr int kMessages = 100'000;
constexpr size_t kBytes = 64;

std::string EndpointOf(const char* what) {
  return "ipc:///tmp/pannier-" + std::string(what) + "-bench-" + std::to_string(getpid());
}

Deadline Soon() { return Deadline::After(absl::Seconds(10)); }

// int -> int, by lane or as `carrier` says.
void TypedCall(benchmark::State& state, Carrier carrier) {
  const std::string endpoint = EndpointOf("call");
  ServerOptions server_options;
  server_options.transport.carrier = carrier;
  // Once it is connected: with one processor it would not spin.
  server_options.on_connected = [](const Connection&) { RunOn(1); };
  const Other serving([&] {
    Server server(server_options);
    server.Method("next", [](int64_t number) { return number + 1; });
    (void)server.Run(endpoint);
  });
  ClientOptions options;
  options.transport.carrier = carrier;
  const auto client = Client::Connect(endpoint, options);
  if (!client.ok()) return state.SkipWithError("no server");
  const OnFirst bound;
  for (auto _ : state) {
    const StatusOr<int64_t> next = (*client)->Call<int64_t>("next", int64_t{41});
    if (!next.ok() || *next != 42) return state.SkipWithError("the call failed");
  }
}
void CallByLane(benchmark::State& state) { TypedCall(state, Carrier::kLane); }
void CallByZmq(benchmark::State& state) { TypedCall(state, Carrier::kZmq); }

// So many clients of one server, a thread each, call as fast as they can for a second. `fairness`
// is how often the luckiest was answered for once of the unluckiest.
void Clients(benchmark::State& state) {
  const std::string endpoint = EndpointOf("clients");
  const Other serving([&] {
    Server server;
    server.Method("next", [](int64_t number) { return number + 1; });
    (void)server.Run(endpoint);
  });
  const auto count = static_cast<size_t>(state.range(0));
  std::vector<std::shared_ptr<Client>> clients;
  for (size_t i = 0; i < count; ++i) {
    const auto client = Client::Connect(endpoint);
    if (!client.ok()) return state.SkipWithError("no server");
    clients.push_back(*client);
  }
  std::vector<int64_t> answered(count);
  for (auto _ : state) {
    std::vector<std::thread> threads;
    const Deadline end = Deadline::After(absl::Seconds(1));
    for (size_t i = 0; i < count; ++i) {
      threads.emplace_back([&, i] {
        while (!end.Passed() && clients[i]->Call<int64_t>("next", int64_t{1}).ok()) ++answered[i];
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  const auto [least, most] = std::minmax_element(answered.begin(), answered.end());
  state.SetItemsProcessed(std::accumulate(answered.begin(), answered.end(), int64_t{0}));
  state.counters["fairness"] = static_cast<double>(*most) / static_cast<double>(*least);
}

// The receiver says when it has all of them.
void OneWay(benchmark::State& state) {
  const std::string endpoint = EndpointOf("one-way");
  const auto listener = Listener::Listen(endpoint, {});
  if (!listener.ok()) return state.SkipWithError("no listener");
  const Other receiving([&] {
    const auto connection = *Connection::Connect(endpoint, {}, Soon());
    for (int i = 0;; ++i) {
      if (!connection->Receive(Deadline::Never()).ok()) _exit(0);
      if ((i + 1) % kMessages == 0) (void)connection->Send({}, Deadline::Never());
    }
  });
  const auto connection = (*listener)->Accept(Soon());
  if (!connection.ok()) return state.SkipWithError("no connection");
  const std::string stream(kBytes, 'x');
  for (auto _ : state) {
    for (int i = 0; i < kMessages; ++i) {
      (void)(*connection)->Send({.stream = AsBytes(stream)}, Deadline::Never());
    }
    if (!(*connection)->Receive(Deadline::Never()).ok()) return state.SkipWithError("lost");
  }
  state.SetItemsProcessed(state.iterations() * kMessages);
}

void ZmqPushPull(benchmark::State& state) {
  const std::string there = EndpointOf("push"), back = EndpointOf("done");
  const Other receiving([&] {
    void* context = zmq_ctx_new();
    void* pull = zmq_socket(context, ZMQ_PULL);
    void* done = zmq_socket(context, ZMQ_PUSH);
    zmq_connect(pull, there.c_str());
    zmq_connect(done, back.c_str());
    char bytes[kBytes];
    for (int i = 0;; ++i) {
      if (zmq_recv(pull, bytes, kBytes, 0) < 0) _exit(0);
      if ((i + 1) % kMessages == 0) zmq_send(done, bytes, 0, 0);
    }
  });
  void* context = zmq_ctx_new();
  void* push = zmq_socket(context, ZMQ_PUSH);
  void* done = zmq_socket(context, ZMQ_PULL);
  if (zmq_bind(push, there.c_str()) != 0 || zmq_bind(done, back.c_str()) != 0) {
    return state.SkipWithError("zmq_bind");
  }
  const std::string stream(kBytes, 'x');
  char bytes[kBytes];
  for (auto _ : state) {
    for (int i = 0; i < kMessages; ++i) zmq_send(push, stream.data(), kBytes, 0);
    zmq_recv(done, bytes, kBytes, 0);
  }
  state.SetItemsProcessed(state.iterations() * kMessages);
  zmq_close(push);
  zmq_close(done);
  zmq_ctx_term(context);
}

BENCHMARK(CacheLine)->UseRealTime();
BENCHMARK(CallByLane)->UseRealTime();
BENCHMARK(CallByZmq)->UseRealTime();
BENCHMARK(Clients)->Arg(4)->Arg(64)->UseRealTime()->Iterations(3)->Unit(benchmark::kMillisecond);
BENCHMARK(OneWay)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(ZmqPushPull)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace pannier

BENCHMARK_MAIN();

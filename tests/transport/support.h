// What the transport's tests share: endpoints nobody else uses, pairs of connections,
// child processes that end with the test, counts of what must not leak.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "pannier/transport/connection.h"

namespace pannier {

inline Deadline In(int seconds) { return Deadline::After(absl::Seconds(seconds)); }

// A directory that goes with the test.
class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "pannier-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  std::string Endpoint(const std::string& name) const { return "ipc://" + path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// For suites that run over both carriers of the stream.
inline constexpr Carrier kCarriers[] = {Carrier::kZmq, Carrier::kLane};
inline std::string CarrierName(const testing::TestParamInfo<Carrier>& carrier) {
  return carrier.param == Carrier::kLane ? "Lane" : "Zmq";
}

struct Pair {
  std::shared_ptr<Listener> listener;
  std::shared_ptr<Connection> near;  // connected
  std::shared_ptr<Connection> far;   // accepted
};

// Both ends in this process, which is allowed, and leases to oneself work as to others.
inline Pair MakePair(const std::string& endpoint, const TransportOptions& near_options = {},
                     const TransportOptions& far_options = {}) {
  Pair pair;
  auto listener = Listener::Listen(endpoint, far_options);
  EXPECT_TRUE(listener.ok()) << listener.status();
  if (!listener.ok()) return pair;
  pair.listener = *listener;
  auto near = Connection::Connect(pair.listener->endpoint(), near_options, In(10));
  EXPECT_TRUE(near.ok()) << near.status();
  auto far = pair.listener->Accept(In(10));
  EXPECT_TRUE(far.ok()) << far.status();
  if (near.ok() && far.ok()) {
    pair.near = *near;
    pair.far = *far;
  }
  return pair;
}

inline Buffer Pattern(size_t size, uint32_t seed) {
  Buffer buffer = Buffer::OfHeap(size);
  uint32_t state = seed * 2654435761u + 1;
  for (std::byte& byte : buffer.mutable_span()) {
    state = state * 1664525u + 1013904223u;
    byte = static_cast<std::byte>(state >> 24);
  }
  return buffer;
}

inline bool SameBytes(const Buffer& a, const Buffer& b) {
  return AsText(a.span()) == AsText(b.span());
}

inline size_t OpenDescriptors() {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    ++count;
  }
  return count - 1;  // the one that counted
}

inline double ProcessorSeconds() {
  timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

inline uint64_t Leases(Pool& pool) {
  uint64_t sum = 0;
  for (const PeerLeases& peer : pool.Stats().peers) sum += peer.leases;
  return sum;
}

// True if `condition` comes true within the time, which is generous: a loaded machine and a
// sanitizer together make anything slow.
template <typename Condition>
bool Eventually(Condition condition, absl::Duration within = absl::Seconds(5)) {
  const Deadline deadline = Deadline::After(within);
  for (;;) {
    if (condition()) return true;
    if (deadline.Passed()) return false;
    usleep(1000);
  }
}

// The program transport_peer as a child process, killed with the test at the latest.
class Peer {
 public:
  explicit Peer(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), PANNIER_TRANSPORT_PEER);
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    pid_ = fork();
    if (pid_ == 0) {
      execv(argv[0], argv.data());
      _exit(127);
    }
  }
  ~Peer() {
    if (pid_ > 0) Kill();
  }
  void Kill() { Signal(SIGKILL), Join(); }
  void Signal(int signal) {
    if (pid_ > 0) kill(pid_, signal);
  }
  int Join() {
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    return status;
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
};

}  // namespace pannier

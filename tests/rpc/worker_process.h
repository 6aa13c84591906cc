// A worker in a process of its own: what an owner of workers does, by the protocol that
// rpc/worker.h states.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <vector>

extern char** environ;

namespace pannier {

class WorkerProcess {
 public:
  // Runs `program` with --endpoint, --parent-fd and --ready-fd. ready() is the endpoint that
  // it reported.
  WorkerProcess(const std::string& program, const std::string& endpoint) {
    int ready[2], parent[2];
    if (pipe2(ready, O_CLOEXEC) != 0 || pipe2(parent, O_CLOEXEC) != 0) return;
    Spawn({program, "--endpoint", endpoint, "--parent-fd=3", "--ready-fd", "4"},
          {{parent[0], 3}, {ready[1], 4}});
    close(parent[0]);
    close(ready[1]);
    parent_ = parent[1];
    char byte;
    while (read(ready[0], &byte, 1) == 1 && byte != '\n') ready_ += byte;
    close(ready[0]);
  }
  explicit WorkerProcess(const std::vector<std::string>& command) { Spawn(command, {}); }
  ~WorkerProcess() {
    if (parent_ >= 0) close(parent_);
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
  }
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  const std::string& ready() const { return ready_; }
  pid_t pid() const { return pid_; }
  void Kill(int signal) const { kill(pid_, signal); }
  // As if this process were gone.
  void LetGo() {
    close(parent_);
    parent_ = -1;
  }
  // The exit code, or minus the signal that killed it; nothing if it runs on.
  std::optional<int> WaitForExit(std::chrono::seconds most = std::chrono::seconds(30)) {
    const auto until = std::chrono::steady_clock::now() + most;
    int status = 0;
    while (waitpid(pid_, &status, WNOHANG) == 0) {
      if (std::chrono::steady_clock::now() > until) return std::nullopt;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

 private:
  struct Inherited {
    int from, to;
  };
  void Spawn(const std::vector<std::string>& command, const std::vector<Inherited>& inherited) {
    std::vector<char*> argv;
    for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    // Moved out of the way first, as one's source may be another's target.
    std::vector<int> moved;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    for (const auto& [from, to] : inherited) {
      moved.push_back(fcntl(from, F_DUPFD_CLOEXEC, 100));
      posix_spawn_file_actions_adddup2(&actions, moved.back(), to);
    }
    EXPECT_EQ(posix_spawn(&pid_, argv[0], &actions, nullptr, argv.data(), environ), 0) << argv[0];
    posix_spawn_file_actions_destroy(&actions);
    for (const int fd : moved) close(fd);
  }

  pid_t pid_ = -1;
  int parent_ = -1;
  std::string ready_;
};

}  // namespace pannier

#include "pannier/rpc/worker_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <random>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"

extern char** environ;

namespace pannier::internal {
namespace {

// The numbers of the descriptors in the worker.
constexpr int kParentFd = 3;
constexpr int kReadyFd = 4;
// How often an end is looked for that nothing tells of.
constexpr std::chrono::milliseconds kLookEach(2);

struct Pipe {
  UniqueFd reading, writing;
};

StatusOr<Pipe> MakePipe() {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return SystemError(errno, "pipe2");
  return Pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

// An abstract socket, so that no file can be left behind.
std::string NewEndpoint() {
  std::random_device random;
  return absl::StrCat("ipc://@pannier-", getpid(), "-", absl::Hex(random(), absl::kZeroPad8),
                      absl::Hex(random(), absl::kZeroPad8));
}

}  // namespace

StatusOr<std::unique_ptr<WorkerProcess>> WorkerProcess::Spawn(
    const std::vector<std::string>& command) {
  if (command.empty()) return MakeError(ErrorKind::kInvalidArgument, "a worker needs a command");
  PANNIER_ASSIGN_OR_RETURN(Pipe parent, MakePipe());
  PANNIER_ASSIGN_OR_RETURN(Pipe ready, MakePipe());
  std::vector<std::string> words = command;
  words.insert(words.end(), {"--endpoint", NewEndpoint(), "--parent-fd", std::to_string(kParentFd),
                             "--ready-fd", std::to_string(kReadyFd)});
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  // Out of the way first, as the source of one may be the number of the other.
  const UniqueFd high_parent(fcntl(parent.reading.get(), F_DUPFD_CLOEXEC, kReadyFd + 1));
  const UniqueFd high_ready(fcntl(ready.writing.get(), F_DUPFD_CLOEXEC, kReadyFd + 1));
  if (!high_parent.valid() || !high_ready.valid()) return SystemError(errno, "fcntl");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, high_parent.get(), kParentFd);
  posix_spawn_file_actions_adddup2(&actions, high_ready.get(), kReadyFd);
  pid_t pid = -1;
  const int failed = posix_spawnp(&pid, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) return SystemError(failed, absl::StrCat("start worker ", command[0]));
  return std::unique_ptr<WorkerProcess>(
      new WorkerProcess(command[0], pid, std::move(parent.writing), std::move(ready.reading)));
}

WorkerProcess::~WorkerProcess() {
  if (Ended()) return;
  kill(pid_, SIGKILL);
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

StatusOr<std::string> WorkerProcess::AwaitReady(Deadline deadline) {
  std::string line;
  for (;;) {
    pollfd readable{ready_.get(), POLLIN, 0};
    const int polled = poll(&readable, 1, deadline.PollMillis());
    if (polled < 0 && errno == EINTR) continue;
    if (polled < 0) return SystemError(errno, "poll");
    if (polled == 0) {
      return MakeError(ErrorKind::kDeadlineExceeded,
                       absl::StrCat("worker ", program_, " does not listen in time"));
    }
    char byte;
    const ssize_t got = read(ready_.get(), &byte, 1);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      return MakeError(ErrorKind::kConnectionLost,
                       absl::StrCat("worker ", program_, " ended before it listened"));
    }
    if (byte == '\n') return line;
    line += byte;
  }
}

bool WorkerProcess::Ended() {
  if (reaped_) return true;
  const pid_t got = waitpid(pid_, nullptr, WNOHANG);
  // ECHILD: somebody else reaped it.
  reaped_ = got == pid_ || (got < 0 && errno == ECHILD);
  return reaped_;
}

void WorkerProcess::Terminate() {
  if (!Ended()) kill(pid_, SIGTERM);
}

bool WorkerProcess::AwaitEnd(Deadline deadline) {
  while (!Ended()) {
    if (deadline.Passed()) return false;
    std::this_thread::sleep_for(kLookEach);
  }
  return true;
}

}  // namespace pannier::internal

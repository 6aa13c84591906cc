#include "pannier/rpc/worker.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "pannier/base/unique_fd.h"

namespace pannier {
namespace {

constexpr int kExitStopped = 0;
constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;
constexpr int kGraceMillis = 5000;

constexpr char kUsage[] =
    "usage: %s --endpoint ENDPOINT [--parent-fd N] [--ready-fd N]\n"
    "\n"
    "  --endpoint ENDPOINT  where to listen: ipc://PATH, tcp://HOST:PORT\n"
    "  --parent-fd N        stop when this pipe, held by the parent, ends\n"
    "  --ready-fd N         write the endpoint as bound to this descriptor, and close it\n";

struct Arguments {
  std::string endpoint;
  int parent_fd = -1;
  int ready_fd = -1;
  bool help = false;
};

// A descriptor that is open. The message of a failure names the argument.
std::optional<int> ParseDescriptor(std::string_view text) {
  int fd = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), fd);
  if (error != std::errc() || end != text.data() + text.size() || fd < 0) return std::nullopt;
  if (fcntl(fd, F_GETFD) < 0) return std::nullopt;
  return fd;
}

std::optional<Arguments> ParseArguments(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    std::string_view name = argv[i];
    if (name == "--help") {
      arguments.help = true;
      return arguments;
    }
    std::string_view value;
    if (const size_t equals = name.find('='); equals != name.npos) {
      value = name.substr(equals + 1);
      name = name.substr(0, equals);
    } else if (i + 1 < argc) {
      value = argv[++i];
    }
    if (name == "--endpoint" && !value.empty()) {
      arguments.endpoint = value;
      continue;
    }
    int* const fd = name == "--parent-fd"  ? &arguments.parent_fd
                    : name == "--ready-fd" ? &arguments.ready_fd
                                           : nullptr;
    const std::optional<int> number = fd != nullptr ? ParseDescriptor(value) : std::nullopt;
    if (!number) {
      std::fprintf(stderr, "%s: bad argument: %s\n", argv[0], argv[i]);
      return std::nullopt;
    }
    *fd = *number;
  }
  if (arguments.endpoint.empty()) {
    std::fprintf(stderr, "%s: --endpoint is missing\n", argv[0]);
    return std::nullopt;
  }
  return arguments;
}

// What the signal handler reaches: an eventfd on which StopWatch waits. Whenever the signal comes,
// the watch finds it there, so none is lost between a look and a wait. Lock-free, so that a handler
// may read it; set before the handler is installed, and the descriptor is never closed.
std::atomic<int> g_stop_fd{-1};
static_assert(std::atomic<int>::is_always_lock_free);

extern "C" void OnStopSignal(int) {
  const int saved = errno;
  const uint64_t one = 1;
  (void)!write(g_stop_fd, &one, sizeof(one));
  errno = saved;
}

// SA_RESETHAND: the second signal has its default effect, for a handler that never ends.
void InstallSignals() {
  struct sigaction action = {};
  action.sa_handler = OnStopSignal;
  action.sa_flags = SA_RESETHAND;
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

// Keeps the stop signals pending, for this thread and those that it starts meanwhile: the library's
// own threads inherit that and never run the handler.
class HeldSignals {
 public:
  HeldSignals() {
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    pthread_sigmask(SIG_BLOCK, &stop, &before_);
  }
  ~HeldSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  HeldSignals(const HeldSignals&) = delete;
  HeldSignals& operator=(const HeldSignals&) = delete;

 private:
  sigset_t before_;
};

void ReportReady(int fd, const std::string& endpoint) {
  const std::string line = endpoint + "\n";
  size_t written = 0;
  while (written < line.size()) {
    const ssize_t wrote = write(fd, line.data() + written, line.size() - written);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) break;  // nobody reads; --parent-fd tells if the parent is gone
    written += static_cast<size_t>(wrote);
  }
  close(fd);
}

// Stops the server at a signal, or when the parent's pipe ends. A thread of its own, until the
// worker ends.
class StopWatch {
 public:
  // `parent_fd`: -1 for none.
  StopWatch(int parent_fd, Server& server)
      : parent_fd_(parent_fd), server_(server), done_(eventfd(0, EFD_CLOEXEC)) {
    if (done_.valid()) thread_ = std::thread([this] { Watch(); });
  }
  ~StopWatch() {
    if (!thread_.joinable()) return;
    const uint64_t one = 1;
    (void)!write(done_.get(), &one, sizeof(one));
    thread_.join();
  }
  bool failed() const { return !done_.valid(); }

 private:
  void Watch() {
    pollfd fds[] = {{g_stop_fd, POLLIN, 0}, {done_.get(), POLLIN, 0}, {parent_fd_, POLLIN, 0}};
    for (bool stopped = false, orphan = false; !orphan;) {
      if (poll(fds, 3, -1) < 0) continue;  // EINTR
      if (fds[1].revents != 0) return;
      char ignored[64];
      orphan = fds[2].revents != 0 && read(parent_fd_, ignored, sizeof(ignored)) <= 0;
      if (fds[0].revents == 0 && !orphan) continue;
      if (!std::exchange(stopped, true)) server_.Stop();
      fds[0].fd = -1;  // once is enough
    }
    // A handler that does not end would outlive its parent for ever.
    if (poll(&fds[1], 1, kGraceMillis) == 0) _exit(kExitFailed);
  }

  const int parent_fd_;
  Server& server_;
  const UniqueFd done_;
  std::thread thread_;
};

Status Serve(const Arguments& arguments, Server& server) {
  {
    const HeldSignals held;
    PANNIER_RETURN_IF_ERROR(server.Listen(arguments.endpoint));
  }
  const StopWatch watch(arguments.parent_fd, server);
  if (watch.failed()) return SystemError(errno, "eventfd");
  if (arguments.ready_fd >= 0) ReportReady(arguments.ready_fd, server.endpoint());
  return server.Serve();
}

}  // namespace

int WorkerMain(int argc, char** argv, Server& server) {
  const std::optional<Arguments> arguments = ParseArguments(argc, argv);
  if (!arguments || arguments->help) {
    std::fprintf(arguments ? stdout : stderr, kUsage, argv[0]);
    return arguments ? kExitStopped : kExitUsage;
  }
  if (g_stop_fd < 0) g_stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  Status served = g_stop_fd < 0 ? SystemError(errno, "eventfd") : absl::OkStatus();
  if (served.ok()) {
    InstallSignals();
    served = Serve(*arguments, server);
  }
  if (served.ok()) return kExitStopped;
  std::fprintf(stderr, "%s: %s\n", argv[0], std::string(served.message()).c_str());
  return kExitFailed;
}

}  // namespace pannier

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

// What the signal handler reaches. Set before the handler is installed and cleared after
// it is gone; lock-free, so that a handler may use them.
std::atomic<Server*> g_worker{nullptr};
std::atomic<bool> g_stopped{false};

extern "C" void OnStopSignal(int) {
  const int saved = errno;
  g_stopped = true;
  if (Server* server = g_worker; server != nullptr) server->Stop();
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

// Stops the server when the parent's pipe ends. A thread of its own, until the worker ends.
class ParentWatch {
 public:
  ParentWatch(int parent_fd, Server& server)
      : parent_fd_(parent_fd), server_(server), done_(eventfd(0, EFD_CLOEXEC)) {
    if (parent_fd_ >= 0 && done_ >= 0) thread_ = std::thread([this] { Watch(); });
  }
  ~ParentWatch() {
    const uint64_t one = 1;
    if (done_ >= 0) (void)!write(done_, &one, sizeof(one));
    if (thread_.joinable()) thread_.join();
    if (done_ >= 0) close(done_);
  }
  bool failed() const { return parent_fd_ >= 0 && done_ < 0; }

 private:
  void Watch() {
    pollfd fds[] = {{parent_fd_, POLLIN, 0}, {done_, POLLIN, 0}};
    for (;;) {
      if (poll(fds, 2, -1) < 0) continue;  // EINTR
      if (fds[1].revents != 0) return;
      char ignored[64];
      if (fds[0].revents != 0 && read(parent_fd_, ignored, sizeof(ignored)) <= 0) break;
    }
    g_stopped = true;
    server_.Stop();
    // A handler that does not end would outlive its parent for ever.
    if (poll(&fds[1], 1, kGraceMillis) == 0) _exit(kExitFailed);
  }

  const int parent_fd_;
  Server& server_;
  const int done_;
  std::thread thread_;
};

int Serve(const Arguments& arguments, const char* program, Server& server) {
  Status served = server.Listen(arguments.endpoint);
  if (served.ok()) {
    const ParentWatch watch(arguments.parent_fd, server);
    if (watch.failed()) {
      served = SystemError(errno, "watch the parent");
    } else {
      if (arguments.ready_fd >= 0) ReportReady(arguments.ready_fd, server.endpoint());
      // A signal that came before Listen.
      if (g_stopped) server.Stop();
      served = server.Serve();
    }
  }
  if (served.ok()) return kExitStopped;
  std::fprintf(stderr, "%s: %s\n", program, std::string(served.message()).c_str());
  return kExitFailed;
}

}  // namespace

int WorkerMain(int argc, char** argv, Server& server) {
  const std::optional<Arguments> arguments = ParseArguments(argc, argv);
  if (!arguments || arguments->help) {
    std::fprintf(arguments ? stdout : stderr, kUsage, argv[0]);
    return arguments ? kExitStopped : kExitUsage;
  }
  g_worker = &server;
  InstallSignals();
  const int code = Serve(*arguments, argv[0], server);
  g_worker = nullptr;  // the handler stays, and does nothing more
  return code;
}

}  // namespace pannier

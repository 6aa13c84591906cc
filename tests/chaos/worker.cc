// chaos_worker ROLE REPORT_FD SEED ENDPOINT...: one process of the chaos test (chaos.py).
#include "worker.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"

namespace pannier::chaos {
namespace {

// Beyond a deadline: what a loaded machine may add.
constexpr absl::Duration kGrace = absl::Seconds(15);
constexpr absl::Duration kReportEach = absl::Milliseconds(300);
constexpr absl::Duration kHomeWithin = absl::Seconds(20);
constexpr size_t kMostHeld = 16;

volatile sig_atomic_t g_stage = 0;
std::atomic<int> g_stops{0};  // signals alone write it; relaxed, as nothing else hangs on it

void OnSignal(int signal) {
  if (signal == SIGCONT) g_stops.fetch_add(1, std::memory_order_relaxed);
  if (signal == SIGUSR1) g_stage = static_cast<int>(Stage::kDrain);
  if (signal == SIGUSR2) g_stage = static_cast<int>(Stage::kRun);
  if (signal == SIGTERM) g_stage = static_cast<int>(Stage::kEnd);
}

struct Mappings {
  size_t all = 0;
  size_t ours = 0;  // of the memory that processes share
};

Mappings CountMappings() {
  std::ifstream file("/proc/self/maps");
  Mappings count;
  for (std::string line; std::getline(file, line);) {
    ++count.all;
    if (line.find("/memfd:pannier") != std::string::npos) ++count.ours;
  }
  return count;
}

size_t ResidentKib() {
  std::ifstream file("/proc/self/statm");
  size_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * static_cast<size_t>(sysconf(_SC_PAGESIZE)) / 1024;
}

}  // namespace

Stage CurrentStage() { return static_cast<Stage>(g_stage); }

Worker::Worker(int report_fd, uint64_t seed, std::vector<std::string> endpoints)
    : report_fd_(report_fd), random_(seed), endpoints_(std::move(endpoints)) {
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  for (const int signal : {SIGCONT, SIGUSR1, SIGUSR2, SIGTERM}) sigaction(signal, &action, nullptr);
}

void Worker::Say(const std::string& line) {
  const std::string whole = line + "\n";
  // The driver reads all the time; if it is gone, so are we, by the signal it left.
  (void)!write(report_fd_, whole.data(), whole.size());
}

void Worker::Violation(const std::string& what) { Say(absl::StrCat("v ", what)); }

void Worker::Expect(const Status& status, const std::string& what) {
  switch (KindOf(status)) {
    case ErrorKind::kConnectionLost:
    case ErrorKind::kDeadlineExceeded:
    case ErrorKind::kPoolExhausted:
    case ErrorKind::kRefused:
      return;
    default:
      if (!status.ok()) Violation(absl::StrCat(what, ": ", status.ToString()));
  }
}

void Worker::Tick() {
  if (next_report_.Passed()) {
    next_report_ = Deadline::After(kReportEach);
    Say(absl::StrCat("s ", messages_, " ", bytes_, " ", lost_));
  }
  int status = 0;
  while (waitpid(-1, &status, WNOHANG) > 0) {
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
      Violation(absl::StrCat("a forked child ended with ", status));
    }
  }
  if (CurrentStage() == Stage::kRun) drained_ = false;
}

void Worker::Drained() {
  if (!drained_) AwaitHome();
  if (!drained_ || !next_count_.Passed()) return;
  next_count_ = Deadline::After(kReportEach);
  size_t fds = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    ++fds;
  }
  const Mappings mappings = CountMappings();
  Say(absl::StrCat("d ", fds, " ", mappings.ours, " ", mappings.all, " ", ResidentKib()));
}

void Worker::AwaitHome() {
  const auto pool = Pool::Default();
  const Deadline deadline = Deadline::After(kHomeWithin);
  PoolStats stats = pool->Stats();
  while (stats.blocks > 0 && !deadline.Passed() && CurrentStage() == Stage::kDrain) {
    usleep(5000);
    Tick();
    stats = pool->Stats();
  }
  if (CurrentStage() != Stage::kDrain) return;
  drained_ = true;
  if (stats.blocks > 0) {
    std::string who;
    for (const PeerLeases& peer : stats.peers)
      absl::StrAppend(&who, " ", peer.peer, ": ", peer.leases);
    Violation(absl::StrCat(stats.blocks, " blocks did not come home;", who));
  }
  const Status audit = pool->Audit();
  if (!audit.ok()) Violation(absl::StrCat("audit: ", audit.ToString()));
  pool->Trim();
}

Parcel Worker::NewParcel() {
  Parcel parcel;
  parcel.number = ++number_;
  const size_t count = Chance(0.02) ? 40 : Below(4);
  for (size_t i = 0; i < count; ++i) {
    const uint64_t dice = Below(100);
    const uint64_t most = dice < 40 ? 200 : dice < 96 ? 100'000 : dice < 99 ? 1 << 20 : 8 << 20;
    parcel.pieces.push_back({Below(most), random_()});
  }
  return parcel;
}

Timed::Timed(Worker& worker, const char* what, absl::Duration allowed)
    : worker_(worker),
      what_(what),
      stops_(g_stops.load(std::memory_order_relaxed)),
      due_(Deadline::Clock::now() + absl::ToChronoNanoseconds(allowed)) {}

Timed::~Timed() {
  const auto late = absl::FromChrono(Deadline::Clock::now() - due_);
  if (late > kGrace && stops_ == g_stops.load(std::memory_order_relaxed)) {
    worker_.Violation(absl::StrCat(what_, " ended ", absl::FormatDuration(late), " too late"));
  }
}

void Held::Take(const Parcel& parcel, std::vector<Buffer> buffers) {
  const std::string fault = parcel.Fault(buffers);
  if (!fault.empty()) return worker_.Violation("received: " + fault);
  uint64_t bytes = 0;
  for (const Parcel::Piece& piece : parcel.pieces) bytes += piece.size;
  worker_.Checked(bytes);
  items_.push_back({parcel, std::move(buffers)});
  // A write is seen by nobody else: whoever holds the same block checks that.
  if (worker_.Chance(0.3)) {
    Item& item = items_.back();
    for (size_t i = 0; i < item.buffers.size(); ++i) {
      if (item.buffers[i].readonly() || item.buffers[i].size() == 0) continue;
      item.parcel.pieces[i].seed = worker_.random()();
      FillPattern(item.buffers[i].mutable_span(), item.parcel.pieces[i].seed);
    }
  }
  while (items_.size() > worker_.Below(kMostHeld)) DropOne(worker_.Below(items_.size()));
}

void Held::DropOne(size_t index) {
  const std::string fault = items_[index].parcel.Fault(items_[index].buffers);
  if (!fault.empty()) worker_.Violation("held: " + fault);
  items_.erase(items_.begin() + static_cast<ptrdiff_t>(index));
}

void Held::Clear() {
  while (!items_.empty()) DropOne(items_.size() - 1);
}

}  // namespace pannier::chaos

int main(int argc, char** argv) {
  using namespace pannier::chaos;
  if (argc < 5) {
    std::fputs("usage: chaos_worker hub|peer|server|caller|liar REPORT_FD SEED ENDPOINT...\n",
               stderr);
    return 2;
  }
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const std::string role = argv[1];
  Worker worker(atoi(argv[2]), strtoull(argv[3], nullptr, 10), {argv + 4, argv + argc});
  if (role == "hub") RunHub(worker);
  if (role == "peer") RunPeer(worker);
  if (role == "server") RunServer(worker);
  if (role == "caller") RunCaller(worker);
  if (role == "liar") RunLiar(worker);
  return 0;
}

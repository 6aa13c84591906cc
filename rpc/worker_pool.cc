#include "pannier/rpc/worker_pool.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "pannier/rpc/worker_process.h"

namespace pannier {

StatusOr<std::unique_ptr<WorkerPool>> WorkerPool::Start(std::vector<std::string> command,
                                                        const WorkerPoolOptions& options) {
  std::unique_ptr<WorkerPool> pool(new WorkerPool(std::move(command), options));
  const size_t count = options.workers != 0
                           ? options.workers
                           : std::max<size_t>(1, std::thread::hardware_concurrency());
  const std::lock_guard lock(pool->mutex_);
  pool->workers_.resize(count);
  PANNIER_RETURN_IF_ERROR(pool->StartMissing());
  return pool;
}

WorkerPool::WorkerPool(std::vector<std::string> command, const WorkerPoolOptions& options)
    : command_(std::move(command)), options_(options) {}
WorkerPool::~WorkerPool() { Stop(); }

bool WorkerPool::Alive(const Worker& worker) {
  return worker.client != nullptr && worker.client->status().ok() && !worker.process->Ended();
}

Status WorkerPool::StartMissing() {
  Status failed;
  const Deadline deadline = Deadline::After(options_.start_timeout);
  for (Worker& worker : workers_) {
    if (Alive(worker)) continue;
    worker = {};  // closes the client, whose calls fail, and reaps the process
    auto process = internal::WorkerProcess::Spawn(command_);
    if (process.ok()) {
      worker.process = *std::move(process);
    } else {
      failed = process.status();
    }
  }
  for (Worker& worker : workers_) {
    if (worker.process == nullptr || worker.client != nullptr) continue;
    const StatusOr<std::string> endpoint = worker.process->AwaitReady(deadline);
    auto client = endpoint.ok() ? Client::Connect(*endpoint, options_.client) : endpoint.status();
    if (client.ok()) {
      worker.client = *std::move(client);
    } else {
      failed = client.status();
      worker.process.reset();
    }
  }
  return failed;
}

StatusOr<std::shared_ptr<Client>> WorkerPool::Choose() {
  const std::lock_guard lock(mutex_);
  if (stopped_) return MakeError(ErrorKind::kClosed, "the pool of workers was stopped");
  Status failed;
  if (options_.replace && !std::all_of(workers_.begin(), workers_.end(), Alive)) {
    failed = StartMissing();
  }
  const Worker* best = nullptr;
  size_t fewest = 0;
  for (const Worker& worker : workers_) {
    if (!Alive(worker)) continue;
    const size_t calls = worker.client->InFlight();
    if (best == nullptr || calls < fewest) {
      best = &worker;
      fewest = calls;
    }
  }
  if (best != nullptr) return best->client;
  return failed.ok() ? MakeError(ErrorKind::kConnectionLost,
                                 absl::StrCat("no worker ", command_[0], " is alive"))
                     : Annotate(failed, "no worker is alive");
}

bool WorkerPool::MayTryAgain(const Status& status, const CallOptions& options) {
  return KindOf(status) == ErrorKind::kConnectionLost && !options.deadline.Passed();
}

std::vector<pid_t> WorkerPool::pids() const {
  const std::lock_guard lock(mutex_);
  std::vector<pid_t> pids;
  for (const Worker& worker : workers_) {
    if (worker.process != nullptr) pids.push_back(worker.process->pid());
  }
  return pids;
}

void WorkerPool::Stop() {
  const std::lock_guard lock(mutex_);
  stopped_ = true;
  for (const Worker& worker : workers_) {
    if (worker.process != nullptr) worker.process->Terminate();
  }
  const Deadline deadline = Deadline::After(options_.stop_timeout);
  for (Worker& worker : workers_) {
    if (worker.process != nullptr) worker.process->AwaitEnd(deadline);
    if (worker.client != nullptr) worker.client->Close();
  }
  workers_.clear();
}

}  // namespace pannier

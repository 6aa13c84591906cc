// WorkerPool: calls to worker processes, each a program that calls WorkerMain, and each with a
// connection of its own: no broker. A call goes to the worker with the fewest calls in flight.
//
//   auto pool = WorkerPool::Start({"./image_worker"}, {.workers = 4});
//   auto y = (*pool)->Call<Array<float>>("blur", x, 2.0f);
//
// When a worker dies its calls fail with ConnectionLost, at once. The next call finds it dead
// and, with `replace`, starts another in its place. Workers end with the pool, and with the
// process, however that ends.
//
// Thread-safe; starts no thread.
#pragma once

#include <sys/types.h>

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "pannier/base/deadline.h"
#include "pannier/base/status.h"
#include "pannier/rpc/client.h"

namespace pannier {

namespace internal {
class WorkerProcess;
}  // namespace internal

struct WorkerPoolOptions {
  size_t workers = 0;   // 0: as many as processors
  bool replace = true;  // a worker that died, by another
  absl::Duration start_timeout = absl::Seconds(60);
  // How long workers have to end by themselves in Stop, before they are killed.
  absl::Duration stop_timeout = absl::Seconds(10);
  ClientOptions client;
};

class WorkerPool {
 public:
  // Starts the workers: `command` and the arguments that rpc/worker.h states. Errors: kSystem
  // (no such program); ConnectionLost (one ended at once); those of Client::Connect.
  static StatusOr<std::unique_ptr<WorkerPool>> Start(std::vector<std::string> command,
                                                     const WorkerPoolOptions& options = {});
  ~WorkerPool();  // Stop
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // As of Client, by the worker with the fewest calls in flight. With `options.retries` a call
  // whose worker died is made again, by another. Errors: those of Client::Call;
  // ConnectionLost (no worker is alive, and none could be started); Closed.
  template <class R, class... A>
  auto Call(const CallOptions& options, std::string_view method, const A&... arguments) {
    using Result = decltype(std::declval<Client&>().Call<R>(options, method, arguments...));
    const CallOptions once{.deadline = options.deadline};
    Result result = Result(MakeError(ErrorKind::kConnectionLost, "not called"));
    for (int left = options.retries; left >= 0; --left) {
      const StatusOr<std::shared_ptr<Client>> client = Choose();
      result =
          client.ok() ? (*client)->Call<R>(once, method, arguments...) : Result(client.status());
      if (!MayTryAgain(StatusOf(result), options)) break;
    }
    return result;
  }
  template <class R, class... A>
  auto Call(std::string_view method, const A&... arguments) {
    return Call<R>(CallOptions(), method, arguments...);
  }

  // The client of the worker with the fewest calls in flight, for any form of call.
  StatusOr<std::shared_ptr<Client>> Choose();

  std::vector<pid_t> pids() const;
  // Ends the workers, each after the handler that runs, and waits for that. Calls in flight
  // fail. Idempotent.
  void Stop();

 private:
  struct Worker {
    std::unique_ptr<internal::WorkerProcess> process;
    std::shared_ptr<Client> client;
  };

  WorkerPool(std::vector<std::string> command, const WorkerPoolOptions& options);
  // Starts processes first and connects then, so that they come up side by side.
  Status StartMissing();
  static bool Alive(const Worker& worker);
  static Status StatusOf(const Status& status) { return status; }
  template <class T>
  static Status StatusOf(const StatusOr<T>& result) {
    return result.status();
  }
  static bool MayTryAgain(const Status& status, const CallOptions& options);

  const std::vector<std::string> command_;
  const WorkerPoolOptions options_;
  mutable std::mutex mutex_;  // held while workers are started, as calls have to wait for them
  // Guarded by mutex_.
  std::vector<Worker> workers_;
  bool stopped_ = false;
};

}  // namespace pannier

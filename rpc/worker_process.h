// WorkerProcess: a process that runs WorkerMain, owned by this one (rpc/worker.h states the
// protocol). Internal to rpc/.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "pannier/base/deadline.h"
#include "pannier/base/status.h"
#include "pannier/base/unique_fd.h"

namespace pannier::internal {

class WorkerProcess {
 public:
  // Runs `command` with the protocol's arguments. Errors: kSystem; InvalidArgument (no command).
  static StatusOr<std::unique_ptr<WorkerProcess>> Spawn(const std::vector<std::string>& command);
  // Kills it, if it runs, and reaps it.
  ~WorkerProcess();
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  // Waits until it listens; its endpoint. Errors: ConnectionLost (it ended), DeadlineExceeded.
  StatusOr<std::string> AwaitReady(Deadline deadline);
  // True if it has ended; reaps it then.
  bool Ended();
  // Asks it to end after the handler that runs.
  void Terminate();
  // Waits for its end. False if it runs on at the deadline.
  bool AwaitEnd(Deadline deadline);
  pid_t pid() const { return pid_; }

 private:
  WorkerProcess(std::string program, pid_t pid, UniqueFd parent, UniqueFd ready)
      : program_(std::move(program)),
        pid_(pid),
        parent_(std::move(parent)),
        ready_(std::move(ready)) {}

  const std::string program_;
  const pid_t pid_;
  bool reaped_ = false;
  UniqueFd parent_;  // whose end tells the worker that this process is gone
  UniqueFd ready_;
};

}  // namespace pannier::internal

#include "pannier/rpc/server_work.h"

#include <iterator>

namespace pannier::internal {

void ServerWork::Park(std::weak_ptr<ServerCall> call) {
  {
    const std::lock_guard lock(mutex);
    parked.push_back(std::move(call));
  }
  LeaveChores();
  NudgeFromElsewhere();
}

void ServerWork::Doom(const Connection* connection, const Status& why) {
  {
    const std::lock_guard lock(mutex);
    doomed.emplace_back(connection, why);
  }
  LeaveChores();
  NudgeFromElsewhere();
}

void ServerWork::LetReplyWait() {
  replies_wait = true;
  LeaveChores();
  NudgeFromElsewhere();
}

void ServerWork::Push(Task task) {
  if (own_thread_ && OnServingThread()) {
    own_tasks_.push_back(std::move(task));
    own_queued_.store(own_tasks_.size(), std::memory_order_relaxed);
    return;
  }
  {
    const std::lock_guard lock(mutex);
    if (!closed_) {
      tasks_.push_back(std::move(task));
      any_tasks_ = true;
    }
  }
  // A task that was dropped is destroyed here, under no lock.
  own_thread_ ? Nudge() : pushed_.notify_one();
}

std::optional<ServerWork::Task> ServerWork::TryPop() {
  if (any_tasks_) {  // from elsewhere: what waited goes on first
    const std::lock_guard lock(mutex);
    std::optional<Task> task(std::move(tasks_.front()));
    tasks_.pop_front();
    any_tasks_ = !tasks_.empty();
    return task;
  }
  if (own_tasks_.empty()) return std::nullopt;
  std::optional<Task> task(std::move(own_tasks_.front()));
  own_tasks_.pop_front();
  own_queued_.store(own_tasks_.size(), std::memory_order_relaxed);
  return task;
}

void ServerWork::RunTasks(const std::function<void(Task)>& run) {
  std::unique_lock lock(mutex);
  ++runners_;
  for (;;) {
    pushed_.wait(lock, [this] { return closed_ || !tasks_.empty(); });
    if (closed_) break;
    Task task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    run(std::move(task));  // and what it holds dies under no lock
    lock.lock();
  }
  --runners_;
  left_.notify_all();
}

void ServerWork::AwaitRunners() {
  std::unique_lock lock(mutex);
  left_.wait(lock, [this] { return runners_ == 0; });
}

size_t ServerWork::queued() {
  const std::lock_guard lock(mutex);
  return tasks_.size() + own_queued_.load(std::memory_order_relaxed);
}

std::deque<ServerWork::Task> ServerWork::Close() {
  const std::lock_guard lock(mutex);
  closed_ = true;
  any_tasks_ = false;
  pushed_.notify_all();
  return std::exchange(tasks_, {});
}

void ServerWork::Reopen() {
  const std::lock_guard lock(mutex);
  closed_ = false;
}

void ServerWork::Enter(std::function<void(Deadline)> pump) {
  pump_ = std::move(pump);
  serving_ = std::this_thread::get_id();
}

void ServerWork::Pump(Deadline deadline) {
  if (std::exchange(pumping_, true)) return;
  pump_(deadline);
  pumping_ = false;
}

void ServerWork::Leave() {
  serving_ = std::thread::id();
  pump_ = nullptr;
  const std::lock_guard lock(mutex);
  tasks_.insert(tasks_.end(), std::make_move_iterator(own_tasks_.begin()),
                std::make_move_iterator(own_tasks_.end()));
  any_tasks_ = !tasks_.empty();
  own_tasks_.clear();
  own_queued_ = 0;
}

bool ServerWork::OnServingThread() const { return serving_ == std::this_thread::get_id(); }

void ServerWork::Nudge() {
  if (!nudged_.exchange(true)) Wake();
}

void ServerWork::Employ(Listener* listener) {
  stopped_ = false;
  draining_ = false;
  nudged_ = false;
  interrupted = false;
  listener_ = listener;
}

void ServerWork::Retire() {
  listener_ = nullptr;
  while (waking_now_ != 0) std::this_thread::yield();
}

void ServerWork::Stop() {
  stopped_ = true;
  Wake();
}

void ServerWork::Drain() {
  draining_ = true;
  nudged_ = true;
  Wake();
}

void ServerWork::Wake() {
  ++waking_now_;
  if (Listener* listener = listener_; listener != nullptr) listener->Wake();
  --waking_now_;
}

}  // namespace pannier::internal

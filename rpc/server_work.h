// ServerWork: what a server shares with its calls, which may outlive it: the queue of what is to be
// run, the counts, and the way to wake the serving thread. Internal to rpc/.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "pannier/base/deadline.h"
#include "pannier/base/status.h"
#include "pannier/rpc/reply_queue.h"
#include "pannier/rpc/server.h"
#include "pannier/transport/connection.h"
#include "pannier/transport/message.h"

namespace pannier::internal {

class ServerCall;

// One connection of a server.
struct ServerPeer {
  ServerPeer(std::shared_ptr<Connection> of, const rpc::ReplyQueue::Limits& limits)
      : connection(std::move(of)), replies(connection, limits) {}
  const std::shared_ptr<Connection> connection;
  rpc::ReplyQueue replies;
  // Guarded by ServerWork::mutex: its calls that are not over.
  absl::flat_hash_map<uint64_t, std::weak_ptr<ServerCall>> calls;
};

class ServerWork {
 public:
  // What is to be run on a thread that runs handlers: a call, or something that waited.
  struct Task {
    std::shared_ptr<ServerCall> call;  // with its message; or null
    Message message;
    std::function<void()> resume;
  };

  // `own_thread`: tasks are run by the serving thread, and by no other.
  explicit ServerWork(bool own_thread) : own_thread_(own_thread) {}

  std::mutex mutex;
  // Guarded by mutex.
  ServerStats stats;  // but for queued and connections
  // Calls whose OnReady waits: the serving thread looks at their deadlines.
  std::vector<std::weak_ptr<ServerCall>> parked;
  // Connections that have to be dropped, and why.
  std::vector<std::pair<const Connection*, Status>> doomed;

  // Calls that are not in flight any more, and whose answer is being sent. Goes up under mutex,
  // with in_flight going down. Sequentially consistent: who takes it down looks at draining()
  // afterwards, who drains looks at it after draining() is set, so one of them sees the other.
  std::atomic<uint64_t> ending{0};

  // ---- What the serving thread has to look at. Any thread; none under mutex.
  void Park(std::weak_ptr<ServerCall> call);
  void Doom(const Connection* connection, const Status& why);
  // A reply waits for room.
  void LetReplyWait();
  // False: no connection is doomed, no call is parked, and no reply waits.
  bool has_chores() const { return has_chores_; }
  // The serving thread is about to look, and says afterwards whether something is left.
  void TakeChores() { has_chores_ = false; }
  void LeaveChores() { has_chores_ = true; }

  // ---- Tasks. Any thread; none under mutex.
  void Push(Task task);
  // The next, if there is one. REQUIRES: OnServingThread().
  std::optional<Task> TryPop();
  // Gives tasks to `run`, waiting for them, until Close.
  void RunTasks(const std::function<void(Task)>& run);
  // Waits until no thread is in RunTasks. REQUIRES: Close was called.
  void AwaitRunners();
  size_t queued();
  // RunTasks ends, TryPop gives nothing any more, Push drops. The tasks that were queued. Reopen
  // undoes.
  std::deque<Task> Close();
  void Reopen();

  // ---- The serving thread, between Enter and Leave. `pump` receives what is
  // there, waiting for it until a deadline; it is called on that thread alone, inside handlers.
  void Enter(std::function<void(Deadline)> pump);
  void Leave();
  bool OnServingThread() const;
  // Does nothing inside itself. REQUIRES: OnServingThread().
  void Pump(Deadline deadline);
  // Makes the serving thread look around. Any thread.
  void Nudge();
  // To be called by the serving thread before it looks around: a later Nudge wakes it again.
  void TakeNudge() {
    if (nudged_) nudged_ = false;
  }
  // The interrupt hook said that the wait of the serving thread is to end.
  std::atomic<bool> interrupted{false};

  // ---- Stop's side, which takes no lock, as it may run in a signal handler.
  // Whoever wakes counts himself in waking_now_ before he reads listener_; Retire clears listener_
  // before it reads waking_now_ and waits for 0. Sequential consistency makes one of them see the
  // other, so that the listener outlives its Wake.
  void Employ(Listener* listener);  // forgets earlier stops
  void Retire();
  void Stop();
  void Drain();
  bool stopped() const { return stopped_; }
  bool draining() const { return draining_; }

  // A reply waits for room: flushed by the serving thread. Sequentially consistent like all flags
  // here: set by handler threads before Nudge.
  std::atomic<bool> replies_wait{false};

 private:
  void Wake();
  void NudgeFromElsewhere() {
    if (!OnServingThread()) Nudge();
  }

  const bool own_thread_;
  // The serving thread's alone, between Enter and Leave: what it is to run itself. So most calls
  // need no lock for the queue. The number is for queued.
  std::deque<Task> own_tasks_;
  std::atomic<size_t> own_queued_{0};
  std::condition_variable pushed_;
  std::deque<Task> tasks_;  // guarded by mutex
  // Of tasks_; goes with them. For a look without the lock: who pushes nudges afterwards
  // (own_thread_).
  std::atomic<bool> any_tasks_{false};
  bool closed_ = false;  // guarded by mutex
  int runners_ = 0;      // guarded by mutex: threads in RunTasks
  std::condition_variable left_;

  // The serving thread's alone.
  std::function<void(Deadline)> pump_;
  bool pumping_ = false;
  std::atomic<std::thread::id> serving_{};
  std::atomic<bool> nudged_{false};
  std::atomic<bool> has_chores_{false};
  std::atomic<bool> stopped_{false};
  std::atomic<bool> draining_{false};
  std::atomic<Listener*> listener_{nullptr};
  std::atomic<int> waking_now_{0};
  static_assert(std::atomic<Listener*>::is_always_lock_free);
};

}  // namespace pannier::internal

// Hub: one ZeroMQ socket, what is watched beside it, and the duty of watching.
//
// pannier starts no thread. Threads that wait for something (a message, a connection,
// room in a window) call Wait; one of them has the duty: it receives frames for all and
// sleeps in epoll, the others sleep on condition variables of their own. Who has what he
// waited for passes the duty on. This is the leader/followers pattern (Schmidt et al.,
// Pattern-Oriented Software Architecture 2); docs/threading.md tells it at length.
//
// Every member but Wake and the constants needs mutex() held, and every virtual call is
// made with it held. Nothing here waits with it held.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>

#include "absl/functional/function_ref.h"
#include "pannier/base/deadline.h"
#include "pannier/base/status.h"
#include "pannier/shm/spin_time.h"
#include "pannier/transport/lane_set.h"
#include "pannier/transport/link_socket.h"
#include "pannier/transport/zmq_socket.h"

namespace pannier {

class Hub : public std::enable_shared_from_this<Hub> {
 public:
  using Lock = std::unique_lock<std::mutex>;

  virtual ~Hub();
  Hub(const Hub&) = delete;
  Hub& operator=(const Hub&) = delete;

  std::mutex& mutex() { return mutex_; }

  // Waits until `done`, a pure function of what mutex() guards, or `deadline`; serves the
  // socket and all watches meanwhile, at least once. Errors: DeadlineExceeded (bare; the
  // caller says of what), Interrupted, kSystem. With `own`, a lane of this hub, it is also over
  // when something is on that, unless another thread has the duty: the caller takes it off.
  Status Wait(Lock& lock, Deadline deadline, absl::FunctionRef<bool()> done,
              const LaneReader* own = nullptr);

  // Serves what is there already, unless another thread has the duty. True if there is more.
  bool ServeOnce(Lock& lock);

  // Whether the caller may take a record off a lane by itself: nobody has the duty, and it is not
  // time to serve all else too. To be asked for each record.
  bool MayTakeOffLane();

  // Sends one frame. Full: a peer that asks and asks, and never reads.
  ZmqSocket::Sent Send(const RoutingId& to, OutFrame& frame);

  // Calls `on_event`, on the thread that has the duty, when `fd` is readable or hung up.
  // Returns a number for Unwatch, which must come before `fd` is closed; 0 if the kernel
  // has no memory for it.
  uint64_t Watch(int fd, std::function<void()> on_event);
  void Unwatch(uint64_t number);

  // Serves a lane with the rest: calls `on_records` on the thread that has the duty when
  // something is on it. Returns a number for RemoveLane; 0 if the kernel has no memory for it.
  uint64_t AddLane(std::shared_ptr<LaneInbox> inbox, std::function<void()> on_records);
  void RemoveLane(uint64_t number);

  // What Wait asks for may have changed, by another thread than the one on duty.
  void StateChanged();
  // Any thread, under no lock, also from a signal handler: the thread on duty looks again.
  void Wake();

  // Closes the socket; frames under way have `linger` to leave. Idempotent.
  void Shutdown(absl::Duration linger);
  bool IsShutdown() const { return socket_ == nullptr; }
  void StopListening();

  // A descriptor for others to poll: readable whenever a call of Wait would find something
  // to do, also by time. From now on the hub takes the trouble to make it so. The hub's.
  // Errors: kSystem.
  StatusOr<int> Expose();
  uint32_t epoch() const { return epoch_; }

 protected:
  // `spin` is the longest that a wait for a lane may turn before it sleeps.
  Hub(std::unique_ptr<ZmqSocket> socket, std::function<bool()> interrupted, absl::Duration spin);
  // To be called once, before the hub is used. Errors: kSystem.
  Status Open();

  virtual void OnFrame(RawFrame frame) = 0;
  // A connection below the socket was lost: of whom, ZeroMQ does not say.
  virtual void OnDisconnect() = 0;
  // Does what is due by time; returns when to call again.
  virtual Deadline OnTimer() = 0;

 private:
  struct Waiter {
    absl::FunctionRef<bool()> done;
    std::condition_variable wake = {};
  };

  Status WaitTurns(Lock& lock, Deadline deadline, absl::FunctionRef<bool()> done,
                   const LaneReader* own);
  // One turn of the duty: serves, and sleeps if `done` is not so yet. `may_spin` is of the whole
  // wait, and used up. True if the caller's interrupt hook should be asked.
  bool TakeTurn(Lock& lock, Deadline deadline, absl::FunctionRef<bool()> done,
                const LaneReader* own, bool* may_spin);
  bool SpinOnLanes(Lock& lock, SpinTime::Clock::time_point until);
  // Until `done`, or nothing is there.
  void ReceiveFrames(absl::FunctionRef<bool()> done);
  // Has the epoll tell of the socket. Until there is a lane, or who polls, it need not: see
  // WaitBeside. Errors: kSystem.
  Status WatchSocket();
  // Watch, of these events of epoll.
  uint64_t AddWatch(int fd, uint32_t events, std::function<void()> on_event);
  // Sleeps in epoll, the lock released, and serves what woke it. True if a signal did.
  bool Sleep(Lock& lock, Deadline until, absl::FunctionRef<bool()> done);
  void SleepAsFollower(Lock& lock, Deadline deadline, absl::FunctionRef<bool()> done);
  void NotifyWaiters();
  bool Interrupted(Lock& lock);
  // If nobody has the duty now: one who waits is called to it, and what there is to do shows in the
  // exposed descriptor. To be called by whoever had the duty, or was called to it.
  void Rest();
  void ArmTimer(Deadline when);

  const std::function<bool()> interrupted_;
  const uint32_t epoch_;
  std::mutex mutex_;
  std::unique_ptr<ZmqSocket> socket_;
  UniqueFd epoll_;
  UniqueFd wake_;   // eventfd
  UniqueFd timer_;  // timerfd, once exposed
  Deadline timer_due_ = Deadline::Never();
  bool socket_watched_ = false;
  // Since ZeroMQ was last found empty it was used: what came may raise no event any more.
  bool socket_used_ = true;
  // Its monitor told of a disconnect, perhaps. As the socket, it tells of more only when it was
  // found empty.
  bool monitor_told_ = true;
  uint64_t receive_turns_ = 0;
  LaneSet lanes_;
  std::map<uint64_t, uint64_t> lane_watches_;  // of their doorbells
  SpinTime spin_time_;
  uint64_t lane_turns_ = 0;          // since the start, that ended on a lane alone
  std::atomic<bool> nudged_{false};  // who spins shall look; see Wake
  bool on_duty_ = false;             // a thread has the duty
  bool sleeping_ = false;            // and sleeps in epoll
  uint64_t next_watch_;
  std::map<uint64_t, std::pair<int, std::function<void()>>> watches_;
  std::list<Waiter*> waiters_;
};

}  // namespace pannier

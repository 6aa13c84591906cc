// ClientCore: what a Client and its PendingCalls share: the connection, the calls in flight, and
// the duty of receiving.
//
// Of the threads that wait, one has the duty: it receives replies for all calls. The others sleep,
// each on a condition variable of its own, and are woken when their call is done or the duty is
// free. Who leaves passes the duty on to one that waits (docs/threading.md).
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "pannier/base/deadline.h"
#include "pannier/base/status.h"
#include "pannier/rpc/envelope.h"
#include "pannier/rpc/raw.h"
#include "pannier/transport/connection.h"

namespace pannier::internal {

// A thread that waits while another has the duty.
struct CallWaiter {
  std::condition_variable wake;
};

// How a call is made.
struct CallStart {
  Deadline deadline = Deadline::Never();
  bool one_way = false;
  uint32_t credit = 0;  // not 0: a sequence, of which so many items may be under way
  bool wait = true;     // for room; else Start gives null where there is none
};

// One call. Constant but for what the core's mutex guards.
struct CallState {
  CallState(uint64_t call_id, std::string_view name, const CallStart& how)
      : id(call_id), method(name), deadline(how.deadline), credit(how.credit) {}
  const uint64_t id;
  const std::string method;
  const Deadline deadline;
  const uint32_t credit;  // of a sequence; else 0

  // Guarded by ClientCore::mutex_.
  bool done = false;
  std::optional<StatusOr<RawResult>> result;  // from done until taken
  std::vector<CallWaiter*> waiters;           // who sleep for this call
  std::function<void()> on_done;
  // Of a sequence.
  std::list<RawResult> items;       // received and not taken
  uint32_t owed = 0;                // taken, of which the server was not told
  bool credit_due = false;          // in ClientCore::credits_due_
  std::function<void()> on_change;  // called at each item
};

class ClientCore {
 public:
  // `options` are those of the connection.
  ClientCore(std::shared_ptr<Connection> connection, const TransportOptions& options);

  // See Client and PendingCall for what these mean. Null: there is no room now, and `how` says not
  // to wait. A one-way call is done at once.
  StatusOr<std::shared_ptr<CallState>> Start(std::string_view method, const RawArgs& args,
                                             const CallStart& how);
  StatusOr<std::optional<RawResult>> Next(const std::shared_ptr<CallState>& call,
                                          Deadline deadline);
  Status WaitReady(CallState& call, Deadline deadline);
  void OnChange(CallState& call, std::function<void()> change);
  // Calls are in flight, and no thread waits for replies.
  bool Unattended() const;
  size_t InFlight() const;
  // The time of calls is over, and another Dispatch would end them.
  bool Overdue() const;
  StatusOr<RawResult> Wait(CallState& call, Deadline deadline);
  Status WaitDone(CallState& call, Deadline deadline);
  bool Done(const CallState& call) const;
  bool IsReady(const CallState& call) const;
  void OnDone(CallState& call, std::function<void()> done);
  // Ends the call, if it is in flight, with kCancelled; `tell` says so to the server too.
  void Abandon(CallState& call, bool tell);
  Status Dispatch(Deadline deadline);
  // If nothing can be sent any more: receives what the peer sent before its end, until that or
  // `deadline`. Errors: Interrupted.
  Status AwaitEnd(Deadline deadline);
  void Close();
  Status status() const;

  Connection& connection() const { return *connection_; }

 private:
  using Lock = std::unique_lock<std::mutex>;
  using Callbacks = std::vector<std::function<void()>>;

  Status CheckUsable() const;
  Status SendRequest(const CallState& call, const RawArgs& args, const CallStart& how);
  // Waits for `ready`, of what mutex_ guards about `call`, or the call's end, which may be its own
  // deadline; receives meanwhile. Errors: DeadlineExceeded and Interrupted, as Wait's.
  template <class Ready>
  Status Await(Lock& lock, CallState& call, Deadline deadline, Ready ready);
  // Tells the server of items that were taken, as far as there is room.
  void SendCredits(Lock& lock);

  // With the duty taken: receives one message and completes its call. Releases the lock meanwhile.
  // Errors: those of the wait itself (DeadlineExceeded, Interrupted); kSystem, which has failed all
  // calls. What ends the connection ends all calls, and the result is OK. `called`, if given: were
  // there callbacks to run?
  Status ReceiveOne(Lock& lock, Deadline deadline, bool* called = nullptr);
  // Sleeps until woken, `deadline`, or a look at the interrupt hook is due. Errors: those two.
  Status SleepAsFollower(Lock& lock, CallWaiter& waiter, Deadline deadline);
  void PassDuty();
  static void Wake(CallState& call);
  Status HandleMessage(Message message, Callbacks* callbacks);
  void Complete(CallState& call, StatusOr<RawResult> result, Callbacks* callbacks);
  void EndAll(const Status& status, Callbacks* callbacks);
  void FailAll(const Status& status, Callbacks* callbacks);
  void ExpireCalls(Callbacks* callbacks);
  void SendCancel(uint64_t id, bool expired);
  // Why no call can be made any more; OK else. With the lock.
  const Status& Unusable() const { return ended_.ok() ? unsendable_ : ended_; }
  // Runs them with the lock released.
  void Run(Lock& lock, Callbacks callbacks);
  std::string Describe(const CallState& call) const;

  const std::shared_ptr<Connection> connection_;
  const std::function<bool()> interrupted_;
  const uint64_t inline_threshold_;
  const uint32_t epoch_;

  mutable std::mutex mutex_;
  // Guarded by mutex_.
  Status ended_;       // OK while the connection stands
  Status unsendable_;  // why nothing can be sent any more, though replies may come until its end
  uint64_t last_id_ = rpc::kNoCall;
  absl::flat_hash_map<uint64_t, std::shared_ptr<CallState>> calls_;  // in flight
  std::vector<std::shared_ptr<CallState>> credits_due_;
  Deadline next_expiry_ = Deadline::Never();  // no call in flight expires before
  bool on_duty_ = false;
  std::vector<CallWaiter*> waiters_;
};

}  // namespace pannier::internal

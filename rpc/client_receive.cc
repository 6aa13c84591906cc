// How a client waits and receives: the duty of receiving, and what becomes of what is received.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "pannier/base/process_epoch.h"
#include "pannier/rpc/client_core.h"

namespace pannier::internal {
namespace {

// How soon a credit for which there was no room is sent again.
constexpr absl::Duration kCreditSlice = absl::Milliseconds(2);
// How often a follower asks the interrupt hook, as TransportOptions promises.
constexpr absl::Duration kInterruptSlice = absl::Milliseconds(100);
// Most calls that one Dispatch ends: an event loop has other things to do, and what is told of each
// may be some microseconds of Python.
constexpr size_t kMostPerDispatch = 64;

bool IsWaitError(ErrorKind kind) {
  return kind == ErrorKind::kDeadlineExceeded || kind == ErrorKind::kInterrupted;
}

}  // namespace

// ---- Waiting

template <class Ready>
Status ClientCore::Await(Lock& lock, CallState& call, Deadline deadline, Ready ready) {
  const Deadline until = Earlier(deadline, call.deadline);
  while (!call.done && !ready()) {
    if (!credits_due_.empty()) SendCredits(lock);
    if (call.done || ready()) break;
    Status waited;
    if (!on_duty_) {
      // Room for a credit is not told of.
      const Deadline slice =
          credits_due_.empty() ? until : Earlier(until, Deadline::After(kCreditSlice));
      bool called = false;
      waited = ReceiveOne(lock, slice, &called);
      // A signal that came while callbacks ran interrupts nothing any more.
      if (called && !call.done && !ready() && interrupted_) {
        lock.unlock();
        if (interrupted_()) waited = MakeError(ErrorKind::kInterrupted, "interrupted");
        lock.lock();
      }
      if (KindOf(waited) == ErrorKind::kDeadlineExceeded && !until.Passed()) continue;
    } else {
      CallWaiter waiter;
      call.waiters.push_back(&waiter);
      waited = SleepAsFollower(lock, waiter, until);
      std::erase(call.waiters, &waiter);
    }
    if (call.done || ready() || waited.ok()) continue;
    PassDuty();
    if (KindOf(waited) == ErrorKind::kInterrupted) return Annotate(waited, Describe(call));
    Status late =
        MakeError(ErrorKind::kDeadlineExceeded, absl::StrCat(Describe(call), ": no reply in time"));
    if (!call.deadline.Passed()) return late;
    Callbacks callbacks;
    Complete(call, std::move(late), &callbacks);
    callbacks.push_back([this, id = call.id] { SendCancel(id, /*expired=*/true); });
    Run(lock, std::move(callbacks));
  }
  PassDuty();
  return absl::OkStatus();
}

StatusOr<RawResult> ClientCore::Wait(CallState& call, Deadline deadline) {
  PANNIER_RETURN_IF_ERROR(CheckUsable());
  Lock lock(mutex_);
  PANNIER_RETURN_IF_ERROR(Await(lock, call, deadline, [] { return false; }));
  if (!call.result) {
    return MakeError(ErrorKind::kInvalidArgument,
                     absl::StrCat(Describe(call), ": its result was taken before"));
  }
  StatusOr<RawResult> result = *std::move(call.result);
  call.result.reset();
  return result;
}

Status ClientCore::WaitDone(CallState& call, Deadline deadline) {
  PANNIER_RETURN_IF_ERROR(CheckUsable());
  Lock lock(mutex_);
  return Await(lock, call, deadline, [] { return false; });
}

Status ClientCore::WaitReady(CallState& call, Deadline deadline) {
  PANNIER_RETURN_IF_ERROR(CheckUsable());
  Lock lock(mutex_);
  return Await(lock, call, deadline, [&] { return !call.items.empty(); });
}

StatusOr<std::optional<RawResult>> ClientCore::Next(const std::shared_ptr<CallState>& call,
                                                    Deadline deadline) {
  PANNIER_RETURN_IF_ERROR(CheckUsable());
  Lock lock(mutex_);
  PANNIER_RETURN_IF_ERROR(Await(lock, *call, deadline, [&] { return !call->items.empty(); }));
  if (call->items.empty()) {
    if (call->result && !call->result->ok()) return call->result->status();
    return std::optional<RawResult>();
  }
  std::optional<RawResult> item = std::move(call->items.front());
  call->items.pop_front();
  ++call->owed;
  if (!call->done && !call->credit_due && call->owed >= std::max(1u, call->credit / 2)) {
    call->credit_due = true;
    credits_due_.push_back(call);
  }
  if (!credits_due_.empty()) SendCredits(lock);
  return item;
}

void ClientCore::SendCredits(Lock& lock) {
  std::vector<std::shared_ptr<CallState>> due = std::exchange(credits_due_, {});
  while (!due.empty()) {
    CallState& call = *due.back();
    if (call.done) {
      due.pop_back();
      continue;
    }
    // Taken off first: items for it may come before the send returns.
    const uint32_t told = std::exchange(call.owed, 0);
    const rpc::EnvelopeBytes envelope =
        rpc::PlainEnvelope(rpc::EnvelopeKind::kCredit, call.id, told);
    lock.unlock();
    const Status sent = connection_->Send({.envelope = envelope.span()}, Deadline::Now());
    lock.lock();
    if (!sent.ok()) {
      call.owed += told;
      break;  // no room: later; or the end, of which the calls learn by receiving
    }
    call.credit_due = false;
    due.pop_back();
  }
  credits_due_.insert(credits_due_.end(), due.begin(), due.end());
}

Status ClientCore::Dispatch(Deadline deadline) {
  PANNIER_RETURN_IF_ERROR(CheckUsable());
  Lock lock(mutex_);
  Status waited;
  while (on_duty_ && waited.ok()) {
    CallWaiter waiter;
    waited = SleepAsFollower(lock, waiter, deadline);
  }
  if (KindOf(waited) == ErrorKind::kInterrupted) {
    PassDuty();
    return waited;
  }
  Status received = ended_;
  Deadline until = deadline;
  for (size_t count = 0; count < kMostPerDispatch && received.ok() && ended_.ok(); ++count) {
    if (on_duty_) break;  // still; or a callback waits, or a thread took over while they ran
    received = ReceiveOne(lock, until);
    until = Deadline::Now();
  }
  if (!credits_due_.empty()) SendCredits(lock);
  // Also while another thread has the duty, which looks at the time of its own call alone.
  if (next_expiry_.Passed()) {
    Callbacks callbacks;
    ExpireCalls(&callbacks);
    Run(lock, std::move(callbacks));
  }
  PassDuty();
  return KindOf(received) == ErrorKind::kDeadlineExceeded ? ended_ : received;
}

Status ClientCore::AwaitEnd(Deadline deadline) {
  for (;;) {
    {
      const Lock lock(mutex_);
      if (!ended_.ok() || unsendable_.ok() || deadline.Passed()) return absl::OkStatus();
    }
    if (const Status status = Dispatch(deadline); KindOf(status) == ErrorKind::kInterrupted) {
      return status;
    }
  }
}

Status ClientCore::SleepAsFollower(Lock& lock, CallWaiter& waiter, Deadline deadline) {
  if (deadline.Passed()) return MakeError(ErrorKind::kDeadlineExceeded, "waited for replies");
  const Deadline until =
      interrupted_ ? Earlier(deadline, Deadline::After(kInterruptSlice)) : deadline;
  waiters_.push_back(&waiter);
  bool woken = true;
  if (until.never()) {
    waiter.wake.wait(lock);
  } else {
    woken = waiter.wake.wait_until(lock, until.when()) == std::cv_status::no_timeout;
  }
  std::erase(waiters_, &waiter);
  if (!woken && interrupted_) {
    lock.unlock();
    const bool stop = interrupted_();
    lock.lock();
    if (stop) return MakeError(ErrorKind::kInterrupted, "interrupted");
  }
  return absl::OkStatus();  // whether the deadline passed is asked above, the next time
}

void ClientCore::PassDuty() {
  if (!on_duty_ && !waiters_.empty()) waiters_.front()->wake.notify_one();
}

void ClientCore::Wake(CallState& call) {
  for (CallWaiter* waiter : call.waiters) waiter->wake.notify_one();
}

// ---- Receiving

Status ClientCore::ReceiveOne(Lock& lock, Deadline deadline, bool* called) {
  on_duty_ = true;
  lock.unlock();
  StatusOr<Message> message = connection_->Receive(deadline);
  lock.lock();
  on_duty_ = false;
  Callbacks callbacks;
  if (message.ok()) {
    const Status handled = HandleMessage(*std::move(message), &callbacks);
    if (!handled.ok()) EndAll(handled, &callbacks);
  } else if (IsWaitError(KindOf(message.status()))) {
    return message.status();
  } else if (KindOf(message.status()) == ErrorKind::kSystem) {
    // A message was lost, and of which call it was nobody can tell.
    FailAll(message.status(), &callbacks);
    Run(lock, std::move(callbacks));
    return message.status();
  } else {
    EndAll(message.status(), &callbacks);
  }
  if (called != nullptr) *called = !callbacks.empty();
  Run(lock, std::move(callbacks));
  return absl::OkStatus();
}

Status ClientCore::HandleMessage(Message message, Callbacks* callbacks) {
  PANNIER_ASSIGN_OR_RETURN(const rpc::Envelope envelope,
                           rpc::ParseEnvelope(message.envelope.span()));
  StatusOr<RawResult> result = RawResult();
  if (envelope.known() && envelope.kind() == rpc::EnvelopeKind::kItem) {
    const auto found = calls_.find(envelope.header.call_id);
    if (found == calls_.end()) return absl::OkStatus();  // late
    CallState& call = *found->second;
    if (call.items.size() + call.owed >= call.credit) {
      return MakeError(ErrorKind::kCorruptMessage,
                       absl::StrCat(Describe(call), ": an item that was not asked for"));
    }
    call.items.push_back({std::move(message.stream), std::move(message.buffers)});
    Wake(call);
    if (call.on_change) callbacks->push_back(call.on_change);
    return absl::OkStatus();
  }
  if (!envelope.known()) {
    result = MakeError(ErrorKind::kCorruptMessage, rpc::DescribeUnknown(envelope));
  } else if (envelope.kind() == rpc::EnvelopeKind::kReply) {
    result = RawResult{std::move(message.stream), std::move(message.buffers)};
  } else if (envelope.kind() == rpc::EnvelopeKind::kError) {
    PANNIER_ASSIGN_OR_RETURN(RemoteFailure failure, rpc::ParseFailure(envelope.rest, nullptr));
    failure.exception = AsText(message.stream.span());
    if (envelope.header.call_id == rpc::kNoCall) {
      return MakeRemoteError(failure, connection_->info().peer);
    }
    result = MakeRemoteError(failure);
  } else {
    return MakeError(ErrorKind::kCorruptMessage,
                     absl::StrCat("envelope of kind ", envelope.header.kind, " from a server"));
  }
  const auto found = calls_.find(envelope.header.call_id);
  // Late: the caller gave up. What came is handed back here.
  if (found == calls_.end()) return absl::OkStatus();
  const std::shared_ptr<CallState> call = found->second;
  if (!result.ok()) result = Annotate(result.status(), Describe(*call));
  Complete(*call, std::move(result), callbacks);
  return absl::OkStatus();
}

void ClientCore::Complete(CallState& call, StatusOr<RawResult> result, Callbacks* callbacks) {
  call.done = true;
  call.result.emplace(std::move(result));
  Wake(call);
  if (call.on_done) callbacks->push_back(std::exchange(call.on_done, nullptr));
  if (call.on_change) callbacks->push_back(std::exchange(call.on_change, nullptr));
  calls_.erase(call.id);  // may destroy the call: keep it last
}

void ClientCore::FailAll(const Status& status, Callbacks* callbacks) {
  while (!calls_.empty()) {
    const std::shared_ptr<CallState> call = calls_.begin()->second;
    Complete(*call, Annotate(status, Describe(*call)), callbacks);
  }
}

void ClientCore::EndAll(const Status& status, Callbacks* callbacks) {
  if (ended_.ok()) ended_ = status;
  FailAll(status, callbacks);
}

bool ClientCore::Overdue() const {
  if (Forked(epoch_)) return false;
  const Lock lock(mutex_);
  return next_expiry_.Passed();
}

void ClientCore::ExpireCalls(Callbacks* callbacks) {
  std::vector<std::shared_ptr<CallState>> expired;
  next_expiry_ = Deadline::Never();
  const Deadline now = Deadline::At(Deadline::Clock::now());
  for (const auto& [id, call] : calls_) {
    if (call->deadline.when() <= now.when() && expired.size() < kMostPerDispatch) {
      expired.push_back(call);
    } else {
      next_expiry_ = Earlier(next_expiry_, call->deadline);
    }
  }
  for (const auto& call : expired) {
    Complete(*call,
             MakeError(ErrorKind::kDeadlineExceeded,
                       absl::StrCat(Describe(*call), ": no reply in time")),
             callbacks);
    callbacks->push_back([this, id = call->id] { SendCancel(id, /*expired=*/true); });
  }
}

void ClientCore::Run(Lock& lock, Callbacks callbacks) {
  if (callbacks.empty()) return;
  lock.unlock();
  for (const auto& callback : callbacks) callback();
  callbacks.clear();
  lock.lock();
}

}  // namespace pannier::internal

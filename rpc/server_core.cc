#include "pannier/rpc/server_core.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "pannier/base/process_epoch.h"
#include "pannier/rpc/pool_allocator.h"

namespace pannier::internal {
namespace {

// How soon a reply that found no room is tried again. Nothing tells of room, and a caller that lets
// a thousand replies wait does not notice milliseconds.
constexpr absl::Duration kRetry = absl::Milliseconds(2);
// How soon the serving thread sees that the time of a call that OnReady waits for is over.
constexpr absl::Duration kParkedLook = absl::Milliseconds(50);
// Where the serving thread runs handlers, it looks for what came meanwhile when they took so long
// together, or were so many. To look in vain costs more than a short handler.
constexpr std::chrono::microseconds kLookAfter(50);
constexpr int kLookEach = 64;
// Most messages that are taken in before the next handler runs, and most calls that wait in a
// server whose serving thread runs them: the others wait at their callers.
constexpr int kMostTakenIn = 64;
constexpr size_t kMostQueued = 64;

// The options, with an interrupt hook that tells `work` what it said: a wait that Wake ended and
// one that the hook ended look the same.
ServerOptions Watched(ServerOptions options, const std::shared_ptr<ServerWork>& work) {
  if (auto hook = std::move(options.transport.interrupted)) {
    options.transport.interrupted = [hook = std::move(hook), work] {
      if (!hook()) return false;
      work->interrupted = true;
      return true;
    };
  }
  return options;
}

}  // namespace

ServerCore::ServerCore(ServerOptions options)
    : work_(std::make_shared<ServerWork>(/*own_thread=*/options.threads == 0)),
      options_(Watched(std::move(options), work_)),
      epoch_(ProcessEpoch()) {
  rpc::InstallPoolAllocator();
}

ServerCore::~ServerCore() {
  if (Forked(epoch_)) {
    // The thread is the parent's.
    if (thread_.joinable()) thread_.detach();
    return;
  }
  Stop();
  Wait().IgnoreError();
  Retire();
}

void ServerCore::RawMethod(std::string name, RawHandler handler, MethodInfo info) {
  NamedMethod method{std::make_shared<const RawHandler>(std::move(handler)), std::move(info)};
  const std::lock_guard lock(mutex_);
  // The old handler is destroyed after the lock is gone.
  std::swap(methods_[std::move(name)], method);
}

Status ServerCore::Listen(const std::string& endpoint) {
  const std::lock_guard lock(mutex_);
  if (listener_ != nullptr) {
    return MakeError(ErrorKind::kInvalidArgument,
                     absl::StrCat("listen on ", endpoint, ": the server listens already, on ",
                                  listener_->endpoint()));
  }
  PANNIER_ASSIGN_OR_RETURN(listener_, Listener::Listen(endpoint, options_.transport));
  work_->Reopen();
  work_->Employ(listener_.get());
  return absl::OkStatus();
}

StatusOr<std::shared_ptr<Listener>> ServerCore::Claim() {
  const std::lock_guard lock(mutex_);
  if (listener_ == nullptr || serving_) {
    return MakeError(ErrorKind::kInvalidArgument,
                     listener_ == nullptr ? "serve: the server does not listen; call Listen first"
                                          : "serve: the server serves already");
  }
  serving_ = true;
  return listener_;
}

Status ServerCore::Serve() {
  PANNIER_ASSIGN_OR_RETURN(const std::shared_ptr<Listener> listener, Claim());
  return ServeClaimed(*listener);
}

// Closes the listener, once no Stop uses it.
void ServerCore::Retire() {
  std::shared_ptr<Listener> listener;
  {
    const std::lock_guard lock(mutex_);
    work_->Retire();
    listener.swap(listener_);
    serving_ = false;
  }
  if (listener != nullptr) listener->Close();
}

Status ServerCore::Start(const std::string& endpoint) {
  PANNIER_RETURN_IF_ERROR(Listen(endpoint));
  Wait().IgnoreError();  // of a thread that ended before; what it left nobody asked for
  PANNIER_ASSIGN_OR_RETURN(const std::shared_ptr<Listener> listener, Claim());
  int failed = 0;
  try {
    const std::lock_guard lock(mutex_);
    thread_ = std::thread([this, listener] {
      const Status served = ServeClaimed(*listener);
      const std::lock_guard status_lock(mutex_);
      thread_status_ = served;
    });
  } catch (const std::system_error& error) {
    failed = error.code().value();
  }
  if (failed == 0) return absl::OkStatus();
  Retire();
  return SystemError(failed, absl::StrCat("start serving ", endpoint, ": a thread"));
}

Status ServerCore::Wait() {
  std::thread thread;
  {
    const std::lock_guard lock(mutex_);
    if (thread_.get_id() == std::this_thread::get_id()) {
      return MakeError(ErrorKind::kInvalidArgument, "a handler cannot wait for its own server");
    }
    thread.swap(thread_);
  }
  if (!thread.joinable()) return absl::OkStatus();
  thread.join();
  const std::lock_guard lock(mutex_);
  return std::exchange(thread_status_, absl::OkStatus());
}

std::string ServerCore::endpoint() const {
  const std::lock_guard lock(mutex_);
  return listener_ != nullptr ? listener_->endpoint() : std::string();
}

ServerStats ServerCore::Stats() const {
  const size_t queued = work_->queued();
  const std::lock_guard lock(work_->mutex);
  ServerStats stats = work_->stats;
  stats.queued = queued;
  return stats;
}

void ServerCore::Work() {
  work_->RunTasks([this](ServerWork::Task task) { Run(std::move(task)); });
}

// ---- The serving thread

Status ServerCore::ServeClaimed(Listener& listener) {
  std::vector<std::thread> threads;
  Status ended;
  try {
    for (size_t i = 0; options_.own_threads && i < options_.threads; ++i) {
      threads.emplace_back([this] { Work(); });
    }
  } catch (const std::system_error& error) {
    ended = SystemError(error.code().value(), "serve: a handler thread");
  }
  if (ended.ok()) ended = Loop(listener);
  EndCalls();
  work_->AwaitRunners();
  for (std::thread& thread : threads) thread.join();
  for (auto& [connection, peer] : peers_) peer->replies.Flush();
  for (auto& [connection, peer] : peers_) peer->connection->Close();
  {
    const std::lock_guard lock(work_->mutex);
    work_->stats.connections = 0;
  }
  peers_.clear();
  Retire();
  return ended;
}

// Handlers that run are told; calls that wait for a thread end unanswered.
void ServerCore::EndCalls() {
  const std::deque<ServerWork::Task> tasks = work_->Close();
  std::vector<std::shared_ptr<ServerCall>> calls;
  {
    const std::lock_guard lock(work_->mutex);
    for (auto& [connection, peer] : peers_) {
      for (auto& [id, weak] : peer->calls) {
        if (auto call = weak.lock()) calls.push_back(std::move(call));
      }
    }
    work_->parked.clear();
    work_->doomed.clear();
  }
  for (const auto& call : calls) {
    call->Cancel(MakeError(ErrorKind::kClosed, "the server stops"));
    if (!call->started()) call->Abandon();
  }
}

Status ServerCore::Loop(Listener& listener) {
  const bool runs_handlers = options_.threads == 0;
  work_->Enter([this, &listener](Deadline deadline) {
    // A few: a handler asks for news of its own call, and comes back.
    for (int i = 0; i < kMostTakenIn; ++i) {
      StatusOr<Listener::Event> event = listener.Next(i == 0 ? deadline : Deadline::Now());
      if (!event.ok()) break;  // what it is, the loop finds out
      OnEvent(*std::move(event));
    }
    LookAround();
  });
  Status ended;
  int taken_in = 0;
  // How many tasks ran since it looked at all that came, and for how long.
  int ran = 0;
  std::chrono::steady_clock::duration ran_for{};
  took_in_last_ = false;
  while (ended.ok() && !work_->stopped() && !Drained()) {
    if (work_->draining() && !Refuses()) {
      TakeInTheLast(listener);
      continue;
    }
    const bool look = ran >= kLookEach || ran_for >= kLookAfter;
    if (runs_handlers && !look) {
      if (std::optional<ServerWork::Task> task = work_->TryPop()) {
        ++ran;
        ran_for += Run(*std::move(task));
        LookAround();
        continue;
      }
    }
    const size_t queued = look ? work_->queued() : 0;
    // What came while handlers ran is taken in before the next one runs, so that limits and cancels
    // are of the present.
    bool found = false;
    if (queued < kMostQueued) {
      StatusOr<Listener::Event> event = listener.Next(queued > 0 ? Deadline::Now() : NextLook());
      found = event.ok();
      if (found) {
        OnEvent(*std::move(event));
      } else {
        ended = Judge(event.status());
      }
      LookAround();
    }
    if (!look || (found && ++taken_in < kMostTakenIn)) continue;
    taken_in = ran = 0;
    ran_for = ran_for.zero();
  }
  work_->Leave();
  return ended.ok() ? ended : Annotate(ended, "serve");
}

Status ServerCore::Judge(const Status& status) const {
  switch (KindOf(status)) {
    case ErrorKind::kDeadlineExceeded:
      return absl::OkStatus();
    case ErrorKind::kInterrupted:  // by Wake, or by the program's own hook
      return work_->interrupted.exchange(false) ? status : absl::OkStatus();
    default:
      return work_->stopped() ? absl::OkStatus() : status;
  }
}

Deadline ServerCore::NextLook() {
  if (!work_->has_chores()) return Deadline::Never();
  if (work_->replies_wait) return Deadline::After(kRetry);
  const std::lock_guard lock(work_->mutex);
  return work_->parked.empty() ? Deadline::Never() : Deadline::After(kParkedLook);
}

bool ServerCore::Refuses() const {
  return work_->draining() && (options_.threads != 0 || took_in_last_);
}

// A thread that runs handlers reads nothing meanwhile: what lies in the windows when it is told to
// drain came before.
void ServerCore::TakeInTheLast(Listener& listener) {
  for (uint64_t i = 0; i < options_.max_calls; ++i) {
    StatusOr<Listener::Event> event = listener.Next(Deadline::Now());
    if (event.ok()) {
      OnEvent(*std::move(event));
    } else if (KindOf(event.status()) != ErrorKind::kInterrupted || work_->interrupted) {
      break;  // what it is, the loop finds out; but that it was woken, it knows
    }
  }
  LookAround();
  took_in_last_ = true;
}

bool ServerCore::Drained() {
  if (!Refuses() || work_->replies_wait) return false;
  const std::lock_guard lock(work_->mutex);
  return work_->stats.in_flight == 0 && work_->ending == 0;
}

// What other threads left for this one, and what is due by time.
void ServerCore::LookAround() {
  decltype(work_->doomed) doomed;
  decltype(work_->parked) parked;
  work_->TakeNudge();
  if (!work_->has_chores()) return;
  work_->TakeChores();
  {
    const std::lock_guard lock(work_->mutex);
    doomed.swap(work_->doomed);
    parked.swap(work_->parked);
  }
  for (const auto& [connection, why] : doomed) Drop(connection, why);
  std::erase_if(parked, [](const std::weak_ptr<ServerCall>& weak) {
    const auto call = weak.lock();
    return call == nullptr || !call->StillParked();
  });
  {
    const std::lock_guard lock(work_->mutex);
    work_->parked.insert(work_->parked.end(), parked.begin(), parked.end());
  }
  if (!parked.empty()) work_->LeaveChores();
  if (!work_->replies_wait.exchange(false)) return;
  for (auto& [connection, peer] : peers_) {
    peer->replies.Flush();
    if (!peer->replies.empty()) work_->LetReplyWait();
  }
}

void ServerCore::OnEvent(Listener::Event event) {
  const Connection* key = event.connection.get();
  switch (event.kind) {
    case Listener::Event::Kind::kAccepted: {
      const rpc::ReplyQueue::Limits limits{options_.max_waiting_bytes, options_.pool_patience,
                                           options_.transport.inline_threshold};
      peers_.emplace(key, std::make_shared<ServerPeer>(event.connection, limits));
      {
        const std::lock_guard lock(work_->mutex);
        work_->stats.connections = peers_.size();
      }
      if (options_.on_connected) options_.on_connected(*key);
      return;
    }
    case Listener::Event::Kind::kMessage:
      if (const auto peer = peers_.find(key); peer != peers_.end()) {
        const std::shared_ptr<ServerPeer> kept = peer->second;  // it may be dropped meanwhile
        OnMessage(kept, std::move(event.message));
      }
      return;
    case Listener::Event::Kind::kLost:
      // Of which call it was nobody can tell, and its caller may wait without a deadline.
      if (const auto peer = peers_.find(key); peer != peers_.end()) {
        peer->second->replies.SendError(rpc::kNoCall, event.status, Deadline::Never())
            .IgnoreError();
      }
      Drop(key, event.status);
      return;
    case Listener::Event::Kind::kEnded:
      Drop(key, event.status);
      return;
  }
}

void ServerCore::Drop(const Connection* connection, const Status& why) {
  const auto found = peers_.find(connection);
  if (found == peers_.end()) return;
  const std::shared_ptr<ServerPeer> peer = found->second;
  peers_.erase(found);
  std::vector<std::shared_ptr<ServerCall>> calls;
  {
    const std::lock_guard lock(work_->mutex);
    for (auto& [id, weak] : peer->calls) {
      if (auto call = weak.lock()) calls.push_back(std::move(call));
    }
    work_->stats.connections = peers_.size();
  }
  peer->connection->Close();
  for (const auto& call : calls) {
    call->Cancel(MakeError(ErrorKind::kConnectionLost,
                           absl::StrCat(peer->connection->info().peer, ", the caller, is gone")));
  }
  if (options_.on_ended) options_.on_ended(*peer->connection, why);
}

}  // namespace pannier::internal

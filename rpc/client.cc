#include "pannier/rpc/client.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"

#include "pannier/rpc/client_core.h"
#include "pannier/rpc/pool_allocator.h"

namespace pannier {
namespace {

// Pauses between attempts, of connecting and of calling: each twice the one before.
constexpr absl::Duration kFirstPause = absl::Milliseconds(10);
constexpr absl::Duration kLongestPause = absl::Seconds(1);
// An attempt to connect, after which a new socket may do better.
constexpr absl::Duration kOneAttempt = absl::Seconds(2);
// How often a pause asks the interrupt hook.
constexpr absl::Duration kSlice = absl::Milliseconds(50);

// Sleeps. False if the caller is interrupted.
bool Pause(absl::Duration pause, const TransportOptions& options) {
  const Deadline until = Deadline::After(pause);
  while (!until.Passed()) {
    std::this_thread::sleep_for(absl::ToChronoNanoseconds(std::min(until.Remaining(), kSlice)));
    if (options.interrupted && options.interrupted()) return false;
  }
  return true;
}

// May the call be made again, if its caller lets it run twice?
bool MayTryAgain(const Status& status) {
  switch (KindOf(status)) {
    case ErrorKind::kConnectionLost:
      return true;
    case ErrorKind::kLimit:
    case ErrorKind::kRefused:  // said by the server: it did not run the call
      return RemoteFailureOf(status).has_value();
    default:
      return false;
  }
}

Status NoCall() { return MakeError(ErrorKind::kInvalidArgument, "this PendingCall holds no call"); }

}  // namespace

PendingCall& PendingCall::operator=(PendingCall&& other) noexcept {
  if (this != &other) {
    Abandon();
    core_ = std::move(other.core_);
    state_ = std::move(other.state_);
  }
  return *this;
}

PendingCall::~PendingCall() { Abandon(); }

void PendingCall::Abandon() {
  if (state_ != nullptr) core_->Abandon(*state_, /*tell=*/false);
}

StatusOr<RawResult> PendingCall::Wait(Deadline deadline) {
  if (state_ == nullptr) return NoCall();
  return core_->Wait(*state_, deadline);
}

Status PendingCall::WaitDone(Deadline deadline) {
  if (state_ == nullptr) return NoCall();
  return core_->WaitDone(*state_, deadline);
}

bool PendingCall::Done() const { return state_ == nullptr || core_->Done(*state_); }

void PendingCall::Cancel() {
  if (state_ != nullptr) core_->Abandon(*state_, /*tell=*/true);
}

void PendingCall::OnDone(std::function<void()> done) {
  if (state_ == nullptr) {
    done();
  } else {
    core_->OnDone(*state_, std::move(done));
  }
}

PendingStream& PendingStream::operator=(PendingStream&& other) noexcept {
  if (this != &other) {
    Cancel();
    core_ = std::move(other.core_);
    state_ = std::move(other.state_);
  }
  return *this;
}

StatusOr<std::optional<RawResult>> PendingStream::Next(Deadline deadline) {
  if (state_ == nullptr) return NoCall();
  return core_->Next(state_, deadline);
}

Status PendingStream::WaitReady(Deadline deadline) {
  if (state_ == nullptr) return NoCall();
  return core_->WaitReady(*state_, deadline);
}

StatusOr<RawResult> PendingStream::Result() {
  if (state_ == nullptr) return NoCall();
  return core_->Wait(*state_, Deadline::Now());
}

bool PendingStream::Done() const { return state_ == nullptr || core_->Done(*state_); }

bool PendingStream::Ready() const { return state_ == nullptr || core_->IsReady(*state_); }

void PendingStream::Cancel() {
  if (state_ != nullptr) core_->Abandon(*state_, /*tell=*/true);
}

void PendingStream::OnChange(std::function<void()> change) {
  if (state_ == nullptr) {
    change();
  } else {
    core_->OnChange(*state_, std::move(change));
  }
}

StatusOr<std::shared_ptr<Client>> Client::Connect(const std::string& endpoint,
                                                  const ClientOptions& options) {
  rpc::InstallPoolAllocator();
  PANNIER_ASSIGN_OR_RETURN(
      std::shared_ptr<Connection> connection,
      Connection::Connect(endpoint, options.transport, Deadline::After(options.connect_timeout)));
  return std::shared_ptr<Client>(
      new Client(endpoint, options,
                 std::make_shared<internal::ClientCore>(std::move(connection), options.transport)));
}

Client::~Client() { Close(); }

std::shared_ptr<internal::ClientCore> Client::Core() const {
  if (!connects_again()) return core_;
  const std::lock_guard lock(mutex_);
  return core_;
}

StatusOr<std::shared_ptr<internal::ClientCore>> Client::Usable(Deadline deadline) {
  if (!connects_again()) return core_;
  std::unique_lock lock(mutex_);
  const auto& interrupted = options_.transport.interrupted;
  for (absl::Duration pause = kFirstPause;; pause = std::min(2 * pause, kLongestPause)) {
    const std::shared_ptr<internal::ClientCore> core = core_;
    lock.unlock();  // replies may come, whose callbacks may call
    core->Dispatch(Deadline::Now()).IgnoreError();
    PANNIER_RETURN_IF_ERROR(core->AwaitEnd(deadline));
    const Status ended = core->status();
    lock.lock();
    if (core != core_) continue;  // another thread was faster
    if (closed_ || KindOf(ended) != ErrorKind::kConnectionLost) return core_;
    if (deadline.Passed()) return Annotate(ended, "and it could not be connected again");
    if (!connecting_) {
      PANNIER_RETURN_IF_ERROR(ConnectAgain(lock, deadline, pause));
      continue;
    }
    connected_.wait_for(lock, absl::ToChronoNanoseconds(std::min(deadline.Remaining(), kSlice)));
    lock.unlock();
    const bool stop = interrupted && interrupted();
    lock.lock();
    if (stop) return MakeError(ErrorKind::kInterrupted, "interrupted while connecting again");
  }
}

Status Client::ConnectAgain(std::unique_lock<std::mutex>& lock, Deadline deadline,
                            absl::Duration pause) {
  connecting_ = true;
  lock.unlock();
  auto connection = Connection::Connect(endpoint_, options_.transport,
                                        Earlier(deadline, Deadline::After(kOneAttempt)));
  // The first connection says whether what comes may be unpickled; one that is trusted less is no
  // substitute.
  if (connection.ok() && info().same_user && !(*connection)->info().same_user) {
    (*connection)->Close();
    connection = MakeError(ErrorKind::kRefused, "the server may not be of the same user any more");
  }
  Status interrupted;
  if (KindOf(connection.status()) == ErrorKind::kInterrupted) {
    interrupted = connection.status();
  } else if (!connection.ok() &&
             !Pause(std::min(pause, deadline.Remaining()), options_.transport)) {
    interrupted = MakeError(ErrorKind::kInterrupted, "interrupted while connecting again");
  }
  lock.lock();
  connecting_ = false;
  connected_.notify_all();
  if (!connection.ok()) return interrupted;
  if (closed_) {
    (*connection)->Close();
  } else {
    core_ = std::make_shared<internal::ClientCore>(*std::move(connection), options_.transport);
  }
  return absl::OkStatus();
}

StatusOr<Client::Started> Client::Start(std::string_view method, const RawArgs& args,
                                        const internal::CallStart& how) {
  const bool again = connects_again();
  const Deadline until =
      again ? Earlier(how.deadline, Deadline::After(options_.reconnect_timeout)) : how.deadline;
  for (;;) {
    PANNIER_ASSIGN_OR_RETURN(auto core, Usable(until));
    auto call = core->Start(method, args, how);
    if (call.ok()) return Started{std::move(core), *std::move(call)};
    // What could not be sent was not made: another connection may carry it.
    if (!again || until.Passed() || KindOf(call.status()) != ErrorKind::kConnectionLost) {
      return call.status();
    }
  }
}

StatusOr<RawResult> Client::CallOnce(std::string_view method, const RawArgs& args,
                                     Deadline deadline) {
  PANNIER_ASSIGN_OR_RETURN(const Started started, Start(method, args, {.deadline = deadline}));
  StatusOr<RawResult> result = started.core->Wait(*started.call, Deadline::Never());
  if (KindOf(result.status()) == ErrorKind::kInterrupted) {
    started.core->Abandon(*started.call, /*tell=*/true);
  }
  return result;
}

StatusOr<RawResult> Client::CallRaw(std::string_view method, const RawArgs& args,
                                    Deadline deadline) {
  return CallOnce(method, args, deadline);
}

StatusOr<RawResult> Client::CallRaw(std::string_view method, const RawArgs& args,
                                    const CallOptions& options) {
  StatusOr<RawResult> result = CallOnce(method, args, options.deadline);
  absl::Duration pause = kFirstPause;
  for (int left = options.retries; left > 0 && MayTryAgain(result.status()); --left) {
    if (options.deadline.Remaining() <= pause) break;
    if (!Pause(pause, options_.transport)) {
      return MakeError(ErrorKind::kInterrupted, "interrupted before the call was made again");
    }
    pause = std::min(2 * pause, kLongestPause);
    result = CallOnce(method, args, options.deadline);
  }
  return result;
}

StatusOr<PendingCall> Client::StartRaw(std::string_view method, const RawArgs& args,
                                       Deadline deadline) {
  PANNIER_ASSIGN_OR_RETURN(Started started, Start(method, args, {.deadline = deadline}));
  return PendingCall(std::move(started.core), std::move(started.call));
}

StatusOr<PendingCall> Client::TryStartRaw(std::string_view method, const RawArgs& args,
                                          Deadline deadline) {
  PANNIER_ASSIGN_OR_RETURN(Started started,
                           Start(method, args, {.deadline = deadline, .wait = false}));
  return PendingCall(std::move(started.core), std::move(started.call));
}

StatusOr<PendingStream> Client::StartStreamRaw(std::string_view method, const RawArgs& args,
                                               Deadline deadline, uint32_t credit, bool wait) {
  if (credit == 0) {
    return MakeError(ErrorKind::kInvalidArgument, "a sequence needs a credit of at least 1");
  }
  PANNIER_ASSIGN_OR_RETURN(
      Started started, Start(method, args, {.deadline = deadline, .credit = credit, .wait = wait}));
  return PendingStream(std::move(started.core), std::move(started.call));
}

Status Client::NotifyRaw(std::string_view method, const RawArgs& args, Deadline deadline) {
  return Start(method, args, {.deadline = deadline, .one_way = true}).status();
}

Status Client::Dispatch(Deadline deadline) { return Core()->Dispatch(deadline); }
StatusOr<int> Client::fd() { return Core()->connection().fd(); }
bool Client::Unattended() const { return Core()->Unattended(); }
size_t Client::InFlight() const { return Core()->InFlight(); }
bool Client::Overdue() const { return Core()->Overdue(); }
void Client::Close() {
  std::shared_ptr<internal::ClientCore> core;
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    core = core_;
  }
  core->Close();
}
Status Client::status() const { return Core()->status(); }
ConnectionInfo Client::info() const { return Core()->connection().info(); }
ConnectionStats Client::Stats() const { return Core()->connection().Stats(); }
std::shared_ptr<Pool> Client::pool() const { return Core()->connection().pool(); }

}  // namespace pannier

#include "pannier/rpc/server_call.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"

namespace pannier::internal {
namespace {

// How often a handler on the serving thread looks for messages when it asks Check.
constexpr std::chrono::microseconds kLookEach(200);
// How long EmitRaw on the serving thread waits for messages at a time.
constexpr absl::Duration kPumpSlice = absl::Milliseconds(100);

}  // namespace

ServerCall::ServerCall(std::shared_ptr<ServerWork> work, std::shared_ptr<ServerPeer> peer,
                       const rpc::Envelope& envelope, Deadline deadline, uint64_t bytes)
    : work_(std::move(work)),
      peer_(std::move(peer)),
      id_(envelope.header.call_id),
      method_(envelope.method),
      flags_(envelope.header.flags),
      deadline_(deadline),
      bytes_(bytes),
      credit_(envelope.header.credit) {}

ServerCall::~ServerCall() {
  if (over_) return;  // nobody else is here
  Finish(MakeError(ErrorKind::kRemote,
                   absl::StrCat("the handler of '", method_, "' dropped the call unanswered")));
}

Status ServerCall::Gone(const Lock&) const {
  if (!gone_.ok()) return gone_;
  if (over_) return MakeError(ErrorKind::kClosed, absl::StrCat("'", method_, "' is answered"));
  if (deadline_.Passed()) {
    return MakeError(ErrorKind::kDeadlineExceeded,
                     absl::StrCat("the time for '", method_, "' is over"));
  }
  return absl::OkStatus();
}

Status ServerCall::Check() {
  if (work_->OnServingThread()) {
    const auto now = std::chrono::steady_clock::now();
    if (now - looked_ >= kLookEach) {
      looked_ = now;
      work_->Pump(Deadline::Now());
    }
  }
  const Lock lock(mutex_);
  return Gone(lock);
}

Status ServerCall::EmitRaw(RawResult item, Deadline deadline) {
  if (!wants_items()) {
    return MakeError(ErrorKind::kInvalidArgument,
                     absl::StrCat("'", method_,
                                  "' was called for one value, and its handler emits "
                                  "several; call it as a stream"));
  }
  Lock lock(mutex_);
  while (!Ready(lock)) {
    if (deadline.Passed()) {
      return MakeError(ErrorKind::kDeadlineExceeded,
                       absl::StrCat("'", method_, "': the caller takes no item in time"));
    }
    const Deadline until = Earlier(deadline, deadline_);
    if (work_->OnServingThread()) {
      lock.unlock();
      work_->Pump(Earlier(until, Deadline::After(kPumpSlice)));
      lock.lock();
    } else if (until.never()) {
      changed_.wait(lock);
    } else {
      changed_.wait_until(lock, until.when());
    }
  }
  PANNIER_RETURN_IF_ERROR(Gone(lock));
  --credit_;
  lock.unlock();
  {
    const std::lock_guard work_lock(work_->mutex);
    ++work_->stats.items;
  }
  const std::weak_ptr<ServerCall> weak = Self();
  const Status sent = peer_->replies.SendItem(id_, std::move(item), deadline_, [weak] {
    // The caller was told.
    if (const auto call = weak.lock()) {
      call->Cancel(MakeError(ErrorKind::kCancelled, "an item could not be sent"));
    }
  });
  LookAfter(sent);
  return sent;
}

uint32_t ServerCall::credit() {
  const Lock lock(mutex_);
  return over_ ? 0 : credit_;
}

void ServerCall::Defer() {
  const Lock lock(mutex_);
  deferred_ = true;
}

bool ServerCall::started() const {
  const Lock lock(mutex_);
  return started_;
}

Status ServerCall::Begin() {
  const Lock lock(mutex_);
  Status gone = Gone(lock);
  started_ = gone.ok();
  return gone;
}

bool ServerCall::End(bool failed, const Ran* ran, bool* wanted) {
  std::function<void()> resume;  // destroyed under no lock
  bool over;
  {
    const Lock lock(mutex_);
    // A handler that failed answers for itself.
    over = (ran != nullptr && deferred_ && !failed) || std::exchange(over_, true);
    // Where the server's clock alone says that the time is over, the caller is told.
    *wanted = !one_way() && (gone_.ok() || KindOf(gone_) == ErrorKind::kClosed);
    if (!over) {
      resume.swap(resume_);
      changed_.notify_all();
    }
  }
  if (over && ran == nullptr) return false;
  const std::lock_guard lock(work_->mutex);
  ServerStats& stats = work_->stats;
  if (ran != nullptr) Count(*ran, &stats);
  if (over) return false;
  peer_->calls.erase(id_);
  --stats.in_flight;
  stats.in_flight_bytes -= bytes_;
  if (failed) ++stats.failed;
  ++work_->ending;
  return true;
}

void ServerCall::Count(const Ran& ran, ServerStats* stats) const {
  ++stats->calls;
  if (!ran.known) return;
  ServerStats::OfMethod& method = stats->methods[method_];
  ++method.calls;
  method.seconds += std::chrono::duration<double>(ran.took).count();
}

void ServerCall::Ended() {
  --work_->ending;
  if (work_->draining() && !work_->OnServingThread()) work_->Nudge();
}

void ServerCall::Abandon() {
  bool wanted;
  if (End(/*failed=*/true, /*ran=*/nullptr, &wanted)) Ended();
}

void ServerCall::Finish(StatusOr<RawResult> result) { FinishAs(std::move(result), nullptr); }

void ServerCall::Return(StatusOr<RawResult> result, const Ran& ran) {
  FinishAs(std::move(result), &ran);
}

void ServerCall::FinishAs(StatusOr<RawResult> result, const Ran* ran) {
  bool wanted;
  // Before it is sent: a caller that has the answer finds the call counted as over.
  if (!End(!result.ok(), ran, &wanted)) return;
  if (wanted) Answer(std::move(result));
  Ended();
}

void ServerCall::Answer(StatusOr<RawResult> result) {
  const Status sent = result.ok() ? peer_->replies.SendResult(id_, *std::move(result), deadline_)
                      : KindOf(result.status()) == ErrorKind::kDeadlineExceeded
                          ? peer_->replies.SendError(id_, result.status(), Deadline::Never())
                          : peer_->replies.SendError(id_, result.status(), deadline_);
  LookAfter(sent);
}

void ServerCall::LookAfter(const Status& sent) {
  if (!sent.ok()) {
    work_->Doom(peer_->connection.get(), sent);
  } else if (!peer_->replies.empty()) {
    work_->LetReplyWait();
  }
}

void ServerCall::OnReady(std::function<void()> resume) {
  {
    Lock lock(mutex_);
    if (over_) return;
    resume_.swap(resume);
    if (Ready(lock)) return ResumeIfReady(std::move(lock));
    if (deadline_.never() || std::exchange(parked_, true)) return;
  }
  work_->Park(Self());
}

void ServerCall::ResumeIfReady(Lock lock) {
  if (!resume_ || !Ready(lock)) return;
  std::function<void()> resume = std::exchange(resume_, nullptr);
  lock.unlock();
  work_->Push({.call = nullptr, .message = {}, .resume = std::move(resume)});
}

void ServerCall::AddCredit(uint32_t more) {
  Lock lock(mutex_);
  credit_ += std::min(more, std::numeric_limits<uint32_t>::max() - credit_);
  changed_.notify_all();
  ResumeIfReady(std::move(lock));
}

void ServerCall::Cancel(Status why) {
  Lock lock(mutex_);
  if (over_ || !gone_.ok()) return;
  gone_ = std::move(why);
  changed_.notify_all();
  ResumeIfReady(std::move(lock));
}

bool ServerCall::StillParked() {
  Lock lock(mutex_);
  if (resume_ && !Ready(lock)) return true;
  parked_ = false;
  ResumeIfReady(std::move(lock));
  return false;
}

}  // namespace pannier::internal

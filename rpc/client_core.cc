#include "pannier/rpc/client_core.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "pannier/base/process_epoch.h"
#include "pannier/rpc/placement.h"

namespace pannier::internal {
namespace {

// A send that finds no room lets this much time pass before it looks for replies, as a server may
// have no room for its replies either.
constexpr absl::Duration kSendSlice = absl::Milliseconds(2);
// With this many calls in flight, one start in kLookEach looks for replies: they shall not pile up
// at the server while a thread starts call after call and waits for none.
constexpr size_t kManyCalls = 256;
constexpr uint64_t kLookEach = 64;

}  // namespace

ClientCore::ClientCore(std::shared_ptr<Connection> connection, const TransportOptions& options)
    : connection_(std::move(connection)),
      interrupted_(options.interrupted),
      inline_threshold_(options.inline_threshold),
      epoch_(ProcessEpoch()) {}

std::string ClientCore::Describe(const CallState& call) const {
  return absl::StrCat("call of '", call.method, "' at ", connection_->info().endpoint);
}

Status ClientCore::CheckUsable() const {
  if (!Forked(epoch_)) return absl::OkStatus();
  return MakeError(ErrorKind::kForked,
                   absl::StrCat("the client of ", connection_->info().endpoint,
                                " belongs to the parent process; a forked child has to make its "
                                "own"));
}

// ---- Sending

StatusOr<std::shared_ptr<CallState>> ClientCore::Start(std::string_view method, const RawArgs& args,
                                                       const CallStart& how) {
  PANNIER_RETURN_IF_ERROR(CheckUsable());
  if (method.empty() || method.size() > rpc::kMaxMethodBytes) {
    return MakeError(ErrorKind::kInvalidArgument,
                     absl::StrCat("a method's name has 1 to ", rpc::kMaxMethodBytes,
                                  " bytes, and this one has ", method.size()));
  }
  std::shared_ptr<CallState> call;
  bool look = false;
  {
    const Lock lock(mutex_);
    if (const Status& unusable = Unusable(); !unusable.ok()) {
      return Annotate(unusable, absl::StrCat("call of '", ToAbsl(method), "'"));
    }
    // In the table before it is sent: another thread may receive the reply first.
    call = std::make_shared<CallState>(++last_id_, method, how);
    if (!how.one_way) {
      calls_.emplace(call->id, call);
      next_expiry_ = Earlier(next_expiry_, how.deadline);
    }
    look = calls_.size() >= kManyCalls && call->id % kLookEach == 0;
  }
  Status sent = look ? Dispatch(Deadline::Now()) : absl::OkStatus();
  if (sent.ok()) sent = SendRequest(*call, args, how);
  if (sent.ok() && !how.one_way) return call;
  const Lock lock(mutex_);
  // Ended by another thread, while it was being sent: its callers learn of it by waiting.
  if (!sent.ok() && call->done) return call;
  calls_.erase(call->id);
  if (sent.ok()) {
    call->done = true;
    call->result.emplace(RawResult());
    return call;
  }
  const ErrorKind kind = KindOf(sent);
  if (kind == ErrorKind::kConnectionLost || kind == ErrorKind::kClosed) unsendable_ = sent;
  const bool full = kind == ErrorKind::kDeadlineExceeded ||
                    (kind == ErrorKind::kPoolExhausted && rpc::MayFit(*connection_, args.buffers));
  if (full && !how.wait && !how.deadline.Passed()) return nullptr;
  return Annotate(sent, Describe(*call));
}

Status ClientCore::SendRequest(const CallState& call, const RawArgs& args, const CallStart& how) {
  const uint8_t flags = (args.keywords ? rpc::kFlagKeywords : 0) |
                        (how.credit != 0 ? rpc::kFlagItems : 0) |
                        (how.one_way ? rpc::kFlagOneWay : 0);
  OutgoingMessage message{.stream = args.stream, .buffers = args.buffers};
  std::vector<Buffer> placed;
  for (bool first = true;; first = false) {
    const rpc::EnvelopeBytes envelope =
        rpc::RequestEnvelope(call.id, call.method, flags, call.deadline, how.credit);
    message.envelope = envelope.span();
    // Small ones at once: there is room, as a rule.
    const bool wait = how.wait && !(first && args.buffers.empty());
    Status sent = connection_->Send(
        message, wait ? Earlier(call.deadline, Deadline::After(kSendSlice)) : Deadline::Now());
    const ErrorKind kind = KindOf(sent);
    if (!how.wait) return sent;
    if (kind != ErrorKind::kDeadlineExceeded && kind != ErrorKind::kPoolExhausted) return sent;
    if (call.deadline.Passed()) return sent;
    if (first) {
      PANNIER_ASSIGN_OR_RETURN(
          placed, rpc::PlaceInPool(*connection_, args.buffers, inline_threshold_, call.deadline));
      message.buffers = placed;
    }
    if (interrupted_ && interrupted_()) {
      return MakeError(ErrorKind::kInterrupted, "interrupted while the server had no room");
    }
    PANNIER_RETURN_IF_ERROR(Dispatch(Deadline::Now()));
  }
}

// ---- The rest

bool ClientCore::Unattended() const {
  if (Forked(epoch_)) return false;
  const Lock lock(mutex_);
  return !calls_.empty() && !on_duty_;
}

size_t ClientCore::InFlight() const {
  if (Forked(epoch_)) return 0;
  const Lock lock(mutex_);
  return calls_.size();
}

bool ClientCore::Done(const CallState& call) const {
  if (Forked(epoch_)) return true;
  const Lock lock(mutex_);
  return call.done;
}

bool ClientCore::IsReady(const CallState& call) const {
  if (Forked(epoch_)) return true;
  const Lock lock(mutex_);
  return call.done || !call.items.empty();
}

void ClientCore::OnDone(CallState& call, std::function<void()> done) {
  if (!Forked(epoch_)) {
    const Lock lock(mutex_);
    if (!call.done) {
      call.on_done = std::move(done);
      return;
    }
  }
  done();
}

void ClientCore::OnChange(CallState& call, std::function<void()> change) {
  if (!Forked(epoch_)) {
    const Lock lock(mutex_);
    if (!call.done) {
      call.on_change = change;
      if (call.items.empty()) return;
    }
  }
  change();
}

void ClientCore::Abandon(CallState& call, bool tell) {
  if (Forked(epoch_)) return;
  // Destroyed under no lock: what they hold may need the GIL to die, whose holder may wait for it.
  std::function<void()> on_done, on_change;
  {
    Lock lock(mutex_);
    if (call.done) return;
    Callbacks callbacks;
    on_done.swap(call.on_done);
    on_change.swap(call.on_change);
    call.items.clear();
    Complete(call, MakeError(ErrorKind::kCancelled, absl::StrCat(Describe(call), ": cancelled")),
             &callbacks);
  }
  if (tell) SendCancel(call.id, /*expired=*/false);
}

void ClientCore::SendCancel(uint64_t id, bool expired) {
  const rpc::EnvelopeBytes envelope = rpc::CancelEnvelope(id, expired);
  // A hint: if there is no room for it, the server runs the call in vain.
  connection_->Send({.envelope = envelope.span()}, Deadline::Now()).IgnoreError();
}

void ClientCore::Close() {
  if (Forked(epoch_)) return;
  connection_->Close();
  Lock lock(mutex_);
  Callbacks callbacks;
  EndAll(MakeError(ErrorKind::kClosed,
                   absl::StrCat("the client of ", connection_->info().endpoint, " is closed")),
         &callbacks);
  Run(lock, std::move(callbacks));
}

Status ClientCore::status() const {
  PANNIER_RETURN_IF_ERROR(CheckUsable());
  const Lock lock(mutex_);
  return Unusable();
}

}  // namespace pannier::internal

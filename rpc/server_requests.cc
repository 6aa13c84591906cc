// What a server does with what its callers send: requests are admitted and become tasks, which run
// handlers.
#include <algorithm>
#include <chrono>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "pannier/rpc/invoke.h"
#include "pannier/rpc/method.h"
#include "pannier/rpc/pool_allocator.h"
#include "pannier/rpc/server_core.h"

namespace pannier::internal {
namespace {

// Most names that an error about an unknown method lists.
constexpr size_t kMaxNames = 16;

// Unix sockets do not leave the host, and with it its clock.
bool ReadsOurClock(const ConnectionInfo& info) {
  return info.link || info.endpoint.starts_with("ipc://");
}

}  // namespace

// ---- The serving thread

void ServerCore::OnMessage(const std::shared_ptr<ServerPeer>& peer, Message message) {
  const Buffer bytes = std::move(message.envelope);
  const StatusOr<rpc::Envelope> envelope = rpc::ParseEnvelope(bytes.span());
  Status failed = envelope.status();
  if (!envelope.ok()) {
    peer->replies.SendError(rpc::kNoCall, failed, Deadline::Never()).IgnoreError();
  } else if (!envelope->known()) {
    // Of a later version. It may be answered, and what it says else may be understood.
    failed = peer->replies.SendError(
        envelope->header.call_id,
        MakeError(ErrorKind::kCorruptMessage, rpc::DescribeUnknown(*envelope)), Deadline::Never());
  } else if (envelope->kind() == rpc::EnvelopeKind::kRequest) {
    failed = OnRequest(peer, *envelope, std::move(message));
  } else if (envelope->kind() == rpc::EnvelopeKind::kCancel) {
    OnCancel(*peer, envelope->header);
  } else if (envelope->kind() == rpc::EnvelopeKind::kCredit) {
    std::shared_ptr<ServerCall> call;
    {
      const std::lock_guard lock(work_->mutex);
      const auto found = peer->calls.find(envelope->header.call_id);
      if (found != peer->calls.end()) call = found->second.lock();
    }
    if (call != nullptr) call->AddCredit(envelope->header.credit);  // else it is over
  } else {
    failed = MakeError(ErrorKind::kCorruptMessage,
                       absl::StrCat("envelope of kind ", envelope->header.kind, " from a client"));
    peer->replies.SendError(rpc::kNoCall, failed, Deadline::Never()).IgnoreError();
  }
  if (!failed.ok()) return Drop(peer->connection.get(), failed);
  if (!peer->replies.empty()) work_->LetReplyWait();
}

Status ServerCore::OnRequest(const std::shared_ptr<ServerPeer>& peer, const rpc::Envelope& envelope,
                             Message message) {
  const uint64_t id = envelope.header.call_id;
  const bool one_way = (envelope.header.flags & rpc::kFlagOneWay) != 0;
  uint64_t bytes = message.stream.size();
  for (const Buffer& buffer : message.buffers) bytes += buffer.size();
  Status refused;
  ServerWork::Task task;
  {
    const std::lock_guard lock(work_->mutex);
    refused = Admit(*peer, envelope, bytes);
    if (refused.ok()) {
      task.call = std::make_shared<ServerCall>(
          work_, peer, envelope,
          rpc::DeadlineOf(envelope.header, ReadsOurClock(peer->connection->info())), bytes);
      peer->calls.emplace(id, task.call);
    }
  }
  if (!refused.ok()) {
    if (KindOf(refused) == ErrorKind::kCorruptMessage) return refused;
    return one_way ? absl::OkStatus() : peer->replies.SendError(id, refused, Deadline::Never());
  }
  task.message = std::move(message);
  work_->Push(std::move(task));
  return absl::OkStatus();
}

Status ServerCore::Admit(const ServerPeer& peer, const rpc::Envelope& envelope, uint64_t bytes) {
  ServerStats& stats = work_->stats;
  Status refused;
  if (peer.calls.count(envelope.header.call_id) != 0) {
    return MakeError(ErrorKind::kCorruptMessage,
                     absl::StrCat("call ", envelope.header.call_id, " is in flight already"));
  } else if (Refuses()) {
    refused = MakeError(ErrorKind::kRefused, "the server is stopping; the call was not run");
  } else if (stats.in_flight >= options_.max_calls) {
    refused = MakeError(ErrorKind::kLimit, absl::StrCat("the server has ", stats.in_flight,
                                                        " calls in flight and "
                                                        "takes no more; the call was not run"));
  } else if (peer.calls.size() >= options_.max_calls_per_peer) {
    refused =
        MakeError(ErrorKind::kLimit,
                  absl::StrCat("this connection has ", peer.calls.size(),
                               " calls in flight and may have no more; the call was not run"));
  } else if (stats.in_flight > 0 &&
             bytes > options_.max_call_bytes -
                         std::min(stats.in_flight_bytes, options_.max_call_bytes)) {
    refused =
        MakeError(ErrorKind::kLimit,
                  absl::StrCat("arguments of ", bytes, " bytes are too much besides those of ",
                               stats.in_flight_bytes, " bytes in flight, of ",
                               options_.max_call_bytes, "; the call was not run"));
  }
  if (refused.ok()) {
    ++stats.in_flight;
    stats.in_flight_bytes += bytes;
  } else {
    ++stats.refused;
  }
  return refused;
}

void ServerCore::OnCancel(ServerPeer& peer, const rpc::EnvelopeHeader& header) {
  const bool expired = (header.flags & rpc::kFlagExpired) != 0;
  std::shared_ptr<ServerCall> call;
  {
    const std::lock_guard lock(work_->mutex);
    const auto found = peer.calls.find(header.call_id);
    if (found == peer.calls.end()) return;  // it is over
    call = found->second.lock();
    if (!expired) ++work_->stats.cancelled;
  }
  if (call == nullptr) return;
  call->Cancel(expired ? MakeError(ErrorKind::kDeadlineExceeded,
                                   absl::StrCat("the time for '", call->method(), "' is over"))
                       : MakeError(ErrorKind::kCancelled, "cancelled by the caller"));
}

// ---- Where handlers run

std::chrono::steady_clock::duration ServerCore::Run(ServerWork::Task task) {
  const auto start = std::chrono::steady_clock::now();
  if (task.resume) {
    task.resume();
    return std::chrono::steady_clock::now() - start;
  }
  const std::shared_ptr<ServerCall>& call = task.call;
  Message& message = task.message;
  if (const Status gone = call->Begin(); !gone.ok()) {  // while it waited
    message = Message();
    if (KindOf(gone) == ErrorKind::kDeadlineExceeded) {
      const std::lock_guard lock(work_->mutex);
      ++work_->stats.expired;
    }
    call->Finish(Annotate(gone, "the call was not run"));
    return {};
  }
  StatusOr<RawResult> result = Handle(call, message);
  const auto took = std::chrono::steady_clock::now() - start;
  const bool known = KindOf(result.status()) != ErrorKind::kUnknownMethod;
  call->Return(std::move(result), {.took = took, .known = known});
  return took;
}

StatusOr<RawResult> ServerCore::Handle(const std::shared_ptr<ServerCall>& call, Message& message) {
  const StatusOr<std::shared_ptr<const RawHandler>> handler = Find(call->method());
  if (!handler.ok()) {
    message = Message();
    if (call->method() == kMethodsMethod) return Describe();
    return handler.status();
  }
  RawCall raw{.method = call->method(),
              .keywords = call->keywords(),
              .stream = std::move(message.stream),
              .buffers = std::move(message.buffers),
              .deadline = call->deadline(),
              .connection = call->peer(),
              .context = call};
  const rpc::PoolScope pool(*call->peer().pool());
  return rpc::Invoke(**handler, raw);
}

StatusOr<std::shared_ptr<const RawHandler>> ServerCore::Find(std::string_view method) const {
  const std::lock_guard lock(mutex_);
  if (const auto found = methods_.find(method); found != methods_.end()) {
    return found->second.handler;
  }
  std::string text =
      absl::StrCat("there is no method '", ToAbsl(method), "' at ",
                   listener_ != nullptr ? listener_->endpoint() : std::string("a stopped server"));
  size_t named = 0;
  for (const auto& [name, other] : methods_) {
    if (named == kMaxNames) break;
    absl::StrAppend(&text, named == 0 ? "; it has " : ", ", name);
    ++named;
  }
  if (methods_.size() > named) absl::StrAppend(&text, " and ", methods_.size() - named, " more");
  if (methods_.empty()) text += ", nor any other";
  return MakeError(ErrorKind::kUnknownMethod, text);
}

StatusOr<RawResult> ServerCore::Describe() const {
  std::vector<std::tuple<std::string, std::string, std::string>> list;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [name, method] : methods_) {
      list.emplace_back(name, method.info.signature, method.info.doc);
    }
  }
  return rpc::ResultOf(codec::Dumps(list));
}

}  // namespace pannier::internal

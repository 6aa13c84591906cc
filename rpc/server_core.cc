#include "pannier/rpc/server_core.h"

#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "pannier/base/process_epoch.h"
#include "pannier/rpc/invoke.h"
#include "pannier/rpc/pool_allocator.h"

namespace pannier::internal {
namespace {

// How soon a reply that found no room is tried again. Nothing tells of room, and a caller
// that lets a thousand replies wait does not notice milliseconds.
constexpr absl::Duration kRetry = absl::Milliseconds(2);
// Most names that an error about an unknown method lists.
constexpr size_t kMaxNames = 16;

}  // namespace

ServerCore::ServerCore(ServerOptions options)
    : options_(std::move(options)), epoch_(ProcessEpoch()) {
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

void ServerCore::RawMethod(std::string name, RawHandler handler) {
  auto shared = std::make_shared<const RawHandler>(std::move(handler));
  const std::lock_guard lock(mutex_);
  // The old handler is destroyed after the lock is gone.
  methods_[std::move(name)].swap(shared);
}

Status ServerCore::Listen(const std::string& endpoint) {
  const std::lock_guard lock(mutex_);
  if (listener_ != nullptr) {
    return MakeError(ErrorKind::kInvalidArgument,
                     absl::StrCat("listen on ", endpoint, ": the server listens already, on ",
                                  listener_->endpoint()));
  }
  PANNIER_ASSIGN_OR_RETURN(listener_, Listener::Listen(endpoint, options_.transport));
  stop_ = false;
  waking_ = listener_.get();
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

Status ServerCore::ServeClaimed(Listener& listener) {
  Status ended = Loop(listener);
  for (auto& [connection, peer] : peers_) peer.connection->Close();
  peers_.clear();
  replies_wait_ = false;
  Retire();
  return ended;
}

// Closes the listener, once no Stop uses it.
void ServerCore::Retire() {
  std::shared_ptr<Listener> listener;
  {
    const std::lock_guard lock(mutex_);
    waking_ = nullptr;
    while (stopping_ != 0) std::this_thread::yield();
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

void ServerCore::Stop() {
  ++stopping_;
  stop_ = true;
  if (Listener* listener = waking_; listener != nullptr) listener->Wake();
  --stopping_;
}

std::string ServerCore::endpoint() const {
  const std::lock_guard lock(mutex_);
  return listener_ != nullptr ? listener_->endpoint() : std::string();
}

// ---- The serving thread -------------------------------------------------------------

Status ServerCore::Loop(Listener& listener) {
  while (!stop_) {
    StatusOr<Listener::Event> event =
        listener.Next(replies_wait_ ? Deadline::After(kRetry) : Deadline::Never());
    if (event.ok()) {
      OnEvent(*std::move(event));
    } else if (KindOf(event.status()) != ErrorKind::kDeadlineExceeded && !stop_) {
      return Annotate(event.status(), "serve");
    }
    if (replies_wait_) FlushReplies();
  }
  return absl::OkStatus();
}

void ServerCore::OnEvent(Listener::Event event) {
  const Connection* key = event.connection.get();
  switch (event.kind) {
    case Listener::Event::Kind::kAccepted:
      peers_.emplace(key, Peer{event.connection,
                               {event.connection,
                                {options_.max_waiting_bytes, options_.pool_patience,
                                 options_.transport.inline_threshold}}});
      if (options_.on_connected) options_.on_connected(*key);
      return;
    case Listener::Event::Kind::kMessage:
      if (const auto peer = peers_.find(key); peer != peers_.end()) {
        OnMessage(peer->second, std::move(event.message));
      }
      return;
    case Listener::Event::Kind::kLost:
      // Of which call it was nobody can tell, and its caller may wait without a deadline.
      if (const auto peer = peers_.find(key); peer != peers_.end()) {
        peer->second.replies.SendError(rpc::kNoCall, event.status, Deadline::Never()).IgnoreError();
      }
      Drop(key, event.status);
      return;
    case Listener::Event::Kind::kEnded:
      Drop(key, event.status);
      return;
  }
}

void ServerCore::OnMessage(Peer& peer, Message message) {
  const Buffer bytes = std::move(message.envelope);
  const StatusOr<rpc::Envelope> envelope = rpc::ParseEnvelope(bytes.span());
  Status failed = envelope.status();
  if (!envelope.ok()) {
    peer.replies.SendError(rpc::kNoCall, failed, Deadline::Never()).IgnoreError();
  } else if (!envelope->known()) {
    // Of a later version. It may be answered, and what it says else may be understood.
    failed = peer.replies.SendError(
        envelope->header.call_id,
        MakeError(ErrorKind::kCorruptMessage, rpc::DescribeUnknown(*envelope)), Deadline::Never());
  } else if (envelope->kind() == rpc::EnvelopeKind::kRequest) {
    failed = OnRequest(peer, *envelope, message);
  } else if (envelope->kind() != rpc::EnvelopeKind::kCancel) {
    failed = MakeError(ErrorKind::kCorruptMessage,
                       absl::StrCat("envelope of kind ", envelope->header.kind, " from a client"));
    peer.replies.SendError(rpc::kNoCall, failed, Deadline::Never()).IgnoreError();
  }
  // A cancel: messages come in order and handlers run one by one, so the call that it
  // names is over.
  if (!failed.ok()) return Drop(peer.connection.get(), failed);
  if (!peer.replies.empty()) replies_wait_ = true;
}

Status ServerCore::OnRequest(Peer& peer, const rpc::Envelope& envelope, Message& message) {
  const uint64_t id = envelope.header.call_id;
  const Deadline deadline = rpc::DeadlineOf(envelope.header, peer.connection->info().link);
  if (deadline.Passed()) {
    // Not with that deadline, or the reply would be dropped: the caller's clock decides.
    return peer.replies.SendError(
        id,
        MakeError(ErrorKind::kDeadlineExceeded,
                  "the time for this call was over before the server came to it; it was not run"),
        Deadline::Never());
  }
  StatusOr<RawResult> result = Handle(peer, envelope, message, deadline);
  if (!result.ok()) return peer.replies.SendError(id, result.status(), deadline);
  return peer.replies.SendResult(id, *std::move(result), deadline);
}

StatusOr<RawResult> ServerCore::Handle(const Peer& peer, const rpc::Envelope& envelope,
                                       Message& message, Deadline deadline) {
  std::shared_ptr<const RawHandler> handler;
  {
    const std::lock_guard lock(mutex_);
    const auto found = methods_.find(envelope.method);
    if (found == methods_.end()) return UnknownMethod(envelope.method);
    handler = found->second;
  }
  RawCall call{.method = envelope.method,
               .keywords = (envelope.header.flags & rpc::kFlagKeywords) != 0,
               .stream = std::move(message.stream),
               .buffers = std::move(message.buffers),
               .deadline = deadline,
               .connection = *peer.connection};
  const rpc::PoolScope pool(*peer.connection->pool());
  return rpc::Invoke(*handler, call);
}

Status ServerCore::UnknownMethod(std::string_view method) const {
  std::string text =
      absl::StrCat("there is no method '", ToAbsl(method), "' at ", listener_->endpoint());
  size_t named = 0;
  for (const auto& [name, handler] : methods_) {
    if (named == kMaxNames) break;
    absl::StrAppend(&text, named == 0 ? "; it has " : ", ", name);
    ++named;
  }
  if (methods_.size() > named) absl::StrAppend(&text, " and ", methods_.size() - named, " more");
  if (methods_.empty()) text += ", nor any other";
  return MakeError(ErrorKind::kUnknownMethod, text);
}

void ServerCore::Drop(const Connection* connection, const Status& why) {
  const auto found = peers_.find(connection);
  if (found == peers_.end()) return;
  const std::shared_ptr<Connection> kept = found->second.connection;
  peers_.erase(found);
  kept->Close();
  if (options_.on_ended) options_.on_ended(*kept, why);
}

void ServerCore::FlushReplies() {
  replies_wait_ = false;
  for (auto& [connection, peer] : peers_) {
    peer.replies.Flush();
    if (!peer.replies.empty()) replies_wait_ = true;
  }
}

}  // namespace pannier::internal

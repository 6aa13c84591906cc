#include <atomic>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "pannier/base/process_epoch.h"
#include "pannier/transport/connection.h"
#include "pannier/transport/listening_hub.h"

namespace pannier {
namespace {

class ListenerImpl final : public Listener {
 public:
  explicit ListenerImpl(std::shared_ptr<ListeningHub> hub) : hub_(std::move(hub)) {}
  ~ListenerImpl() override {
    Close();
    if (Forked(hub_->epoch())) return;
    // Nobody can receive any more from what is served or waits to be accepted.
    std::vector<std::shared_ptr<Channel>> dropped;  // after the lock
    const Hub::Lock lock(hub_->mutex());
    dropped = hub_->TakeAll();
  }

  StatusOr<std::shared_ptr<Connection>> Accept(Deadline deadline) override;
  StatusOr<Event> Next(Deadline deadline) override;
  void Wake() override {
    woken_.store(true, std::memory_order_relaxed);
    hub_->Wake();
  }
  void Close() override;
  const std::string& endpoint() const override { return hub_->endpoint(); }

 private:
  Status CheckUsable() const;
  Status Closed() const {
    return MakeError(ErrorKind::kClosed,
                     absl::StrCat("the listener on ", endpoint(), " is closed"));
  }

  const std::shared_ptr<ListeningHub> hub_;
  // Relaxed: the eventfd that Wake writes, and the lock after it, order it.
  std::atomic<bool> woken_{false};
  bool closed_ = false;  // guarded by the hub's mutex
};

Status ListenerImpl::CheckUsable() const {
  if (!Forked(hub_->epoch())) return absl::OkStatus();
  return MakeError(ErrorKind::kForked,
                   absl::StrCat("the listener on ", endpoint(), " belongs to the parent process"));
}

StatusOr<std::shared_ptr<Connection>> ListenerImpl::Accept(Deadline deadline) {
  PANNIER_RETURN_IF_ERROR(CheckUsable());
  Hub::Lock lock(hub_->mutex());
  const Status waited = hub_->Wait(lock, deadline, [this] {
    return closed_ || woken_.load(std::memory_order_relaxed) || hub_->HasAccepted();
  });
  // What came while the hook ran stays for the next call: the caller has an exception to raise.
  if (KindOf(waited) == ErrorKind::kInterrupted) {
    return Annotate(waited, absl::StrCat("accept on ", endpoint()));
  }
  if (closed_) return Closed();
  if (hub_->HasAccepted()) return hub_->TakeAccepted();
  if (woken_.exchange(false)) {
    return MakeError(ErrorKind::kInterrupted, absl::StrCat("accept on ", endpoint(), ": woken"));
  }
  return Annotate(waited, absl::StrCat("accept on ", endpoint()));
}

StatusOr<Listener::Event> ListenerImpl::Next(Deadline deadline) {
  PANNIER_RETURN_IF_ERROR(CheckUsable());
  std::shared_ptr<Channel> channel;
  Inbound inbound;
  Event event;
  {
    Hub::Lock lock(hub_->mutex());
    const Status waited = hub_->Wait(lock, deadline, [this] {
      return woken_.load(std::memory_order_relaxed) || hub_->HasAccepted() || hub_->HasReady() ||
             hub_->IsShutdown();
    });
    if (woken_.exchange(false)) {
      return MakeError(ErrorKind::kInterrupted, absl::StrCat("serving ", endpoint(), ": woken"));
    }
    if (KindOf(waited) == ErrorKind::kInterrupted) {
      return Annotate(waited, absl::StrCat("serving ", endpoint()));
    }
    if (hub_->HasAccepted()) {
      channel = hub_->TakeAccepted();
      hub_->Serve(channel);
      event.kind = Event::Kind::kAccepted;
      event.connection = std::move(channel);
      return event;
    }
    if (!hub_->HasReady() && hub_->IsShutdown()) return Closed();
    if (!hub_->HasReady()) return Annotate(waited, absl::StrCat("serving ", endpoint()));
    channel = hub_->TakeReady();
    if (!channel->TakeInbound(&inbound)) {  // queued for its end, then
      event.kind = Event::Kind::kEnded;
      event.status = channel->OverStatus();
      event.connection = hub_->StopServing(*channel);
      return event;
    }
    if (channel->HasMessage() || channel->Over()) hub_->OnReady(*channel);
  }
  StatusOr<Message> message = channel->OpenInbound(std::move(inbound));
  event.connection = std::move(channel);
  if (message.ok()) {
    event.kind = Event::Kind::kMessage;
    event.message = *std::move(message);
    return event;
  }
  if (KindOf(message.status()) != ErrorKind::kCorruptMessage) {
    // That message could not be opened; its connection goes on.
    event.kind = Event::Kind::kLost;
    event.status = message.status();
    return event;
  }
  return Next(deadline);  // it has ended, and kEnded says so in its turn
}

void ListenerImpl::Close() {
  if (Forked(hub_->epoch())) return;
  const Hub::Lock lock(hub_->mutex());
  if (closed_) return;
  closed_ = true;
  hub_->StopAccepting();
  hub_->StateChanged();
}

}  // namespace

StatusOr<std::shared_ptr<Listener>> Listener::Listen(const std::string& endpoint,
                                                     const TransportOptions& options) {
  PANNIER_ASSIGN_OR_RETURN(const Endpoint parsed, ParseEndpoint(endpoint));
  TransportOptions complete = options;
  if (complete.pool == nullptr) complete.pool = Pool::Default();
  PANNIER_ASSIGN_OR_RETURN(std::shared_ptr<ListeningHub> hub, ListeningHub::Open(parsed, complete));
  return std::make_shared<ListenerImpl>(std::move(hub));
}

}  // namespace pannier

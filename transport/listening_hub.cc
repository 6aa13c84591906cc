#include "pannier/transport/listening_hub.h"

#include <sys/random.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "pannier/base/process_epoch.h"

namespace pannier {
namespace {

// Peers that may be half-way through the handshake.
constexpr size_t kMaxGreetings = 1024;
// Connections that the program has not accepted yet.
constexpr size_t kMaxAccepted = 1024;

// Endpoints of this process: a connect in the same thread serves its listener meanwhile.
std::mutex g_mutex;
std::map<std::string, std::weak_ptr<ListeningHub>>& Bound() {
  static auto* bound = new std::map<std::string, std::weak_ptr<ListeningHub>>;
  return *bound;  // guarded by g_mutex
}

// Returns when the next of those that stay expires.
template <class Promises>
Deadline ForgetExpired(Promises& promises) {
  Deadline next = Deadline::Never();
  for (auto promise = promises.begin(); promise != promises.end();) {
    if (promise->second.expires.Passed()) {
      promise = promises.erase(promise);
    } else {
      next = Earlier(next, promise->second.expires);
      ++promise;
    }
  }
  return next;
}

}  // namespace

StatusOr<std::shared_ptr<ListeningHub>> ListeningHub::Open(const Endpoint& endpoint,
                                                           const TransportOptions& options) {
  if (endpoint.scheme == Endpoint::Scheme::kTcp && !options.insecure) {
    return MakeError(ErrorKind::kInvalidArgument,
                     absl::StrCat("listen on ", endpoint.text,
                                  ": tcp is neither encrypted nor authenticated; say insecure to "
                                  "listen all the same, or use ipc://"));
  }
  PANNIER_ASSIGN_OR_RETURN(std::unique_ptr<ZmqSocket> socket,
                           ZmqSocket::Listen(endpoint, options.max_message_bytes));
  std::string bound = socket->bound_endpoint();
  std::shared_ptr<ListeningHub> hub(new ListeningHub(std::move(socket), options));
  hub->endpoint_ = std::move(bound);
  PANNIER_RETURN_IF_ERROR(hub->Hub::Open());
  if (options.link) PANNIER_RETURN_IF_ERROR(hub->door_.Listen());
  const std::lock_guard lock(g_mutex);
  Bound()[hub->endpoint_] = hub;
  return hub;
}

ListeningHub::ListeningHub(std::unique_ptr<ZmqSocket> socket, const TransportOptions& options)
    : ChannelOwner(std::move(socket), options.interrupted, options.spin),
      options_(options),
      door_(*this, options.handshake_timeout, [this](std::shared_ptr<LinkSocket> arrived) {
        // A peer whose link cannot be established sees its socket closed and goes on without.
        (void)EstablishLink(std::move(arrived));
      }) {}

ListeningHub::~ListeningHub() {
  if (Forked(epoch())) return;  // the mutex may be held by a thread that is not here
  const std::lock_guard lock(g_mutex);
  const auto bound = Bound().find(endpoint_);
  if (bound != Bound().end() && bound->second.expired()) Bound().erase(bound);
}

std::shared_ptr<ListeningHub> ListeningHub::Find(const std::string& endpoint) {
  const std::lock_guard lock(g_mutex);
  const auto bound = Bound().find(endpoint);
  std::shared_ptr<ListeningHub> hub = bound == Bound().end() ? nullptr : bound->second.lock();
  return hub != nullptr && !Forked(hub->epoch()) ? hub : nullptr;
}

// ---- Hellos -------------------------------------------------------------------------

void ListeningHub::OnFrame(RawFrame raw) {
  std::vector<uint64_t> part_sizes;
  for (const Buffer& part : raw.parts) part_sizes.push_back(part.size());
  StatusOr<wire::Frame> frame = wire::ParseFrame(raw.head.span(), part_sizes);
  if (frame.ok() && frame->header.Is(wire::FrameType::kHello)) {
    return OnHello(raw, *frame);
  }
  if (const auto greeting = greetings_.find(raw.from); greeting != greetings_.end()) {
    const bool ready = frame.ok() && frame->header.connection == greeting->second.number &&
                       frame->header.Is(wire::FrameType::kReady);
    if (ready) return OnReadyFrame(greeting, *frame);
    Refuse(raw.from, greeting->second.number,
           frame.ok()
               ? MakeError(ErrorKind::kCorruptMessage, "a frame out of turn in the handshake")
               : frame.status());
    greetings_.erase(greeting);
    return;
  }
  const auto channel = channels_.find(raw.from);
  if (channel == channels_.end() ||
      (frame.ok() && frame->header.connection != channel->second->number())) {
    // Of an earlier life of the endpoint, or of a connection closed meanwhile.
    // Its peer may wait for something to come: it must know.
    if (frame.ok() && !frame->header.Is(wire::FrameType::kBye) && channel == channels_.end()) {
      const wire::Reason reason{ErrorKind::kConnectionLost, "the connection is not known here"};
      SendTo(raw.from, frame->header.connection, wire::FrameType::kBye, wire::Serialize(reason));
    }
    return;
  }
  channel->second->OnFrame(std::move(raw), std::move(frame));
}

void ListeningHub::OnHello(const RawFrame& raw, const wire::Frame& frame) {
  const uint64_t number = frame.header.connection;
  if (const auto known = greetings_.find(raw.from); known != greetings_.end()) {
    // Repeated: the same answer.
    if (known->second.number == number) {
      SendTo(raw.from, number, wire::FrameType::kWelcome, known->second.welcome);
    }
    return;
  }
  if (channels_.contains(raw.from)) return;
  if (stopped_) {
    return Refuse(raw.from, number, MakeError(ErrorKind::kRefused, "the listener is closed"));
  }
  const StatusOr<wire::Hello> hello = wire::ParseHello(frame.stream);
  if (!hello.ok()) return Refuse(raw.from, number, hello.status());
  const StatusOr<uint16_t> version = wire::AgreeOnVersion(*hello);
  if (!version.ok()) return Refuse(raw.from, number, version.status());
  const bool lane =
      options_.link && options_.carrier != Carrier::kZmq && hello->wants_link && hello->takes_lane;
  if (options_.carrier == Carrier::kLane && !lane) {
    return Refuse(raw.from, number,
                  MakeError(ErrorKind::kRefused,
                            "the listener carries by lane alone, and the connecting side asked for "
                            "none"));
  }
  if (greetings_.size() >= kMaxGreetings || accepted_.size() >= kMaxAccepted) {
    return Refuse(raw.from, number,
                  MakeError(ErrorKind::kLimit,
                            absl::StrCat(greetings_.size(), " handshakes are under way and ",
                                         accepted_.size(), " connections wait to be accepted")));
  }
  Greeting greeting;
  greeting.number = number;
  if (getrandom(greeting.token.data(), greeting.token.size(), 0) !=
      static_cast<ssize_t>(greeting.token.size())) {
    return Refuse(raw.from, number, SystemError(errno, "getrandom"));
  }
  wire::Welcome welcome;
  welcome.version = *version;
  welcome.limits = Channel::LimitsOf(options_);
  welcome.token = greeting.token;
  if (hello->wants_link) welcome.link_name = door_.name();
  welcome.lane = greeting.with_lane = lane && !welcome.link_name.empty();
  greeting.hello = *hello;
  greeting.welcome = wire::Serialize(welcome);
  greeting.expires = Deadline::After(options_.handshake_timeout);
  SendTo(raw.from, number, wire::FrameType::kWelcome, greeting.welcome);
  greetings_.emplace(raw.from, std::move(greeting));
}

void ListeningHub::OnReadyFrame(std::map<RoutingId, Greeting>::iterator found,
                                const wire::Frame& frame) {
  Greeting greeting = std::move(found->second);
  const RoutingId routing = found->first;
  greetings_.erase(found);
  const StatusOr<wire::Ready> ready = wire::ParseReady(frame.stream);
  if (!ready.ok()) return Refuse(routing, greeting.number, ready.status());
  if (ready->has_link && greeting.link == nullptr) {
    return Refuse(routing, greeting.number,
                  MakeError(ErrorKind::kCorruptMessage, "ready with a link that does not stand"));
  }
  if (!ready->has_link) {
    greeting.link.reset();
    greeting.lane.reset();
  }
  if (options_.carrier == Carrier::kLane && greeting.lane == nullptr) {
    // The other side holds the connection for open.
    const wire::Reason reason{ErrorKind::kRefused, "the listener carries by lane alone"};
    return SendTo(routing, greeting.number, wire::FrameType::kBye, wire::Serialize(reason));
  }
  Channel::Agreement agreement;
  agreement.version = frame.header.version;
  agreement.peer_limits = greeting.hello.limits;
  agreement.peer = greeting.hello.name;
  agreement.no_link_reason = ready->no_link_reason;
  auto channel =
      std::make_shared<Channel>(std::static_pointer_cast<ChannelOwner>(shared_from_this()),
                                options_, routing, greeting.number, endpoint_);
  channel->Open(agreement, std::move(greeting.link), std::move(greeting.lane));
  channels_.emplace(routing, channel.get());
  accepted_.push_back(std::move(channel));
}

void ListeningHub::SendTo(const RoutingId& to, uint64_t number, wire::FrameType type,
                          const std::string& body) {
  wire::FrameHeader header;
  header.type = static_cast<uint8_t>(type);
  header.connection = number;
  header.stream_size = body.size();
  const std::array<ByteSpan, 2> pieces = {std::as_bytes(std::span(&header, 1)), AsBytes(body)};
  OutFrame out(pieces, {});
  Send(to, out);
}

void ListeningHub::Refuse(const RoutingId& to, uint64_t number, const Status& status) {
  const wire::Reason reason{KindOf(status), std::string(status.message())};
  SendTo(to, number, wire::FrameType::kRefuse, wire::Serialize(reason));
}

// ---- Connections --------------------------------------------------------------------

std::shared_ptr<Channel> ListeningHub::TakeAccepted() {
  std::shared_ptr<Channel> channel = std::move(accepted_.front());
  accepted_.pop_front();
  return channel;
}

void ListeningHub::Serve(std::shared_ptr<Channel> channel) {
  Channel& served = *channel;
  served_.emplace(&served, std::move(channel));
  if (served.HasMessage() || served.Over()) OnReady(served);
}

std::shared_ptr<Channel> ListeningHub::StopServing(Channel& channel) {
  const auto served = served_.find(&channel);
  if (served == served_.end()) return nullptr;
  std::shared_ptr<Channel> strong = std::move(served->second);
  served_.erase(served);
  std::erase(ready_, &channel);
  return strong;
}

std::shared_ptr<Channel> ListeningHub::TakeReady() {
  Channel* channel = ready_.front();
  ready_.pop_front();
  channel->queued = false;
  return channel->shared_from_this();
}

void ListeningHub::OnReady(Channel& channel) {
  if (channel.queued || !served_.contains(&channel)) return;
  channel.queued = true;
  ready_.push_back(&channel);
}

void ListeningHub::OnClosed(Channel& channel, absl::Duration) {
  const auto known = channels_.find(channel.routing());
  if (known != channels_.end() && known->second == &channel) {
    offered_.erase(known->first);
    channels_.erase(known);
  }
  OnReady(channel);  // a server learns of the end of what it closed itself
  ShutdownIfUnused();
}

void ListeningHub::StopAccepting() {
  if (stopped_) return;
  stopped_ = true;
  greetings_.clear();
  door_.Close();
  StopListening();
  ShutdownIfUnused();
}

std::vector<std::shared_ptr<Channel>> ListeningHub::TakeAll() {
  std::vector<std::shared_ptr<Channel>> all(accepted_.begin(), accepted_.end());
  accepted_.clear();
  for (auto& [channel, strong] : served_) all.push_back(std::move(strong));
  served_.clear();
  ready_.clear();
  return all;
}

void ListeningHub::ShutdownIfUnused() {
  if (!stopped_ || !channels_.empty()) return;
  door_.Close();  // it may have been opened again for a new link
  Shutdown(absl::Seconds(5));
}

// ---- Time ---------------------------------------------------------------------------

void ListeningHub::OnDisconnect() {
  // ZeroMQ says that a connection broke, not whose, and forgets the peer a little later.
  for (const int millis : {0, 20, 200})
    probes_.push_back(Deadline::After(absl::Milliseconds(millis)));
  std::sort(probes_.begin(), probes_.end(),
            [](Deadline a, Deadline b) { return a.when() < b.when(); });
}

Deadline ListeningHub::OnTimer() {
  bool probe = false;
  while (!probes_.empty() && probes_.front().Passed()) {
    probes_.pop_front();
    probe = true;
  }
  Deadline next = Earlier(door_.OnTimer(), options_.pool->Maintain());
  if (!probes_.empty()) next = Earlier(next, probes_.front());
  for (const auto& [routing, channel] : channels_) {
    if (probe) channel->Probe();
    next = Earlier(next, channel->OnTimer());
  }
  next = Earlier(next, ForgetExpired(greetings_));
  return Earlier(next, ForgetExpired(offered_));
}

}  // namespace pannier

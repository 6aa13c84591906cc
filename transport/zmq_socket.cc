#include "pannier/transport/zmq_socket.h"

#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <utility>
#include <zmq.hpp>

#include "absl/strings/str_cat.h"
#include "pannier/base/process_epoch.h"
#include "pannier/base/unique_fd.h"
#include "pannier/transport/connection.h"

namespace pannier {
namespace {

// Frames of a closed socket may take this long to leave, and so may a process that ends.
constexpr int kLingerMillis = 5000;
// tcp only: a peer whose machine vanished is noticed after this long. A stopped process
// of a live machine is not affected: its ZeroMQ thread is stopped too, so this is long.
constexpr int kHeartbeatMillis = 10'000;
constexpr int kHeartbeatTimeoutMillis = 60'000;
// Frames of one peer that ZeroMQ takes in while nobody receives: more than the window lets
// a correct peer send, and the others must not fill the memory.
constexpr int kMostQueued = 4096;
// Frames of ours that wait for a peer: far more than its window, the credit for what it may have
// sent, and the pings while it stands still. One that asks and asks and never reads gets no further
// answer.
constexpr int kMostUnsent = 65536;

// One context per process, and another for a forked child, who may not touch its parent's.
// Never destroyed but for the flush at exit, when no socket is open.
struct ProcessContext {
  zmq::context_t context;
  std::atomic<int> sockets{0};
  uint32_t epoch = ProcessEpoch();
};

std::mutex g_mutex;
ProcessContext* g_context = nullptr;  // guarded by g_mutex

// ZeroMQ aborts the process if it cannot open what it starts with.
Status CheckDescriptorsAreFree() {
  constexpr size_t kToStart = 12;
  std::array<UniqueFd, kToStart> free;
  for (UniqueFd& fd : free) {
    fd = UniqueFd(eventfd(0, EFD_CLOEXEC));
    if (!fd.valid()) return SystemError(errno, "start of ZeroMQ: descriptors for it");
  }
  return absl::OkStatus();
}

StatusOr<ProcessContext*> Context() {
  const std::lock_guard lock(g_mutex);
  if (g_context != nullptr && !Forked(g_context->epoch)) return g_context;
  PANNIER_RETURN_IF_ERROR(CheckDescriptorsAreFree());
  const bool first = g_context == nullptr;
  g_context = new ProcessContext;  // a parent's stays as it is
  if (first) std::atexit(FlushBeforeExit);
  return g_context;
}

// Signals interrupt ZeroMQ's calls even where they do not wait; a message half sent or
// half received must go on then.
template <typename Call>
auto Uninterrupted(Call call) {
  for (;;) {
    try {
      return call();
    } catch (const zmq::error_t& error) {
      if (error.num() != EINTR) throw;
    }
  }
}

zmq::recv_result_t ReceivePart(zmq::socket_t& socket, zmq::message_t& part) {
  return Uninterrupted([&] { return socket.recv(part, zmq::recv_flags::dontwait); });
}

// ThreadSanitizer does not see into libzmq, which hands messages from thread to thread: it is
// told that what was sent comes before what is received after it.
#if defined(__SANITIZE_THREAD__)
std::atomic<uint64_t> g_sent{0};
void OrderSend() { g_sent.fetch_add(1, std::memory_order_release); }   // pairs with OrderReceive
void OrderReceive() { (void)g_sent.load(std::memory_order_acquire); }  // pairs with OrderSend
#else
void OrderSend() {}
void OrderReceive() {}
#endif

// The path of an ipc endpoint's file; empty if it has none.
std::string FileOf(const std::string& endpoint) {
  constexpr std::string_view kIpc = "ipc://";
  if (!endpoint.starts_with(kIpc) || endpoint[kIpc.size()] == '@') return "";
  return endpoint.substr(kIpc.size());
}

class MessageOwner final : public BufferOwner {
 public:
  static Buffer Wrap(zmq::message_t&& message) {
    auto* owner = new MessageOwner(std::move(message));
    return Buffer(static_cast<std::byte*>(owner->message_.data()), owner->message_.size(),
                  /*readonly=*/false, owner);
  }

 private:
  explicit MessageOwner(zmq::message_t&& message) : message_(std::move(message)) {}
  void Dispose() noexcept override { delete this; }
  zmq::message_t message_;
};

Status ZmqError(const zmq::error_t& error, const std::string& what) {
  // What it makes of an address that it cannot read.
  if (error.num() == EINVAL) {
    return MakeError(ErrorKind::kInvalidArgument, absl::StrCat(what, ": no such address"));
  }
  // ZeroMQ's own numbers have no text in strerror.
  if (error.num() < ZMQ_HAUSNUMERO) return SystemError(error.num(), what);
  return MakeError(ErrorKind::kSystem, absl::StrCat(what, ": ", error.what()));
}

}  // namespace

void FlushBeforeExit() {
  const std::lock_guard lock(g_mutex);
  if (g_context == nullptr || Forked(g_context->epoch)) return;
  if (g_context->sockets.load() == 0) g_context->context.close();
}

struct OutFrame::Parts {
  std::vector<zmq::message_t> messages;
  uint64_t size = 0;
};

OutFrame::OutFrame(std::span<const ByteSpan> pieces, std::span<const ByteSpan> parts)
    : parts_(std::make_unique<Parts>()) {
  size_t head_size = 0;
  for (const ByteSpan piece : pieces) head_size += piece.size();
  parts_->messages.reserve(1 + parts.size());
  std::byte* at = static_cast<std::byte*>(parts_->messages.emplace_back(head_size).data());
  for (const ByteSpan piece : pieces) {
    if (!piece.empty()) std::memcpy(at, piece.data(), piece.size());
    at += piece.size();
  }
  parts_->size = head_size;
  for (const ByteSpan part : parts) {
    parts_->messages.emplace_back(part.data(), part.size());
    parts_->size += part.size();
  }
}
OutFrame::OutFrame(OutFrame&&) noexcept = default;
OutFrame::~OutFrame() = default;
std::byte* OutFrame::head() { return static_cast<std::byte*>(parts_->messages.front().data()); }
uint64_t OutFrame::size() const { return parts_->size; }

uint64_t RawFrame::size() const {
  uint64_t sum = head.size();
  for (const Buffer& part : parts) sum += part.size();
  return sum;
}

struct ZmqSocket::Impl {
  Impl(ProcessContext& process, zmq::socket_type type)
      : owner(process), socket(process.context, type), router(type == zmq::socket_type::router) {
    owner.sockets.fetch_add(1);
    socket.set(zmq::sockopt::linger, kLingerMillis);
    socket.set(zmq::sockopt::sndhwm, kMostUnsent);
    socket.set(zmq::sockopt::rcvhwm, kMostQueued);
  }
  ~Impl() {
    if (monitor.handle() != nullptr) zmq_socket_monitor(socket.handle(), nullptr, 0);
    monitor.close();
    socket.close();
    owner.sockets.fetch_sub(1);
  }

  void Watch() {
    static std::atomic<uint64_t> number{0};
    const std::string name = absl::StrCat("inproc://pannier-monitor-", number.fetch_add(1));
    if (zmq_socket_monitor(socket.handle(), name.c_str(), ZMQ_EVENT_DISCONNECTED) != 0) {
      throw zmq::error_t();
    }
    monitor = zmq::socket_t(owner.context, zmq::socket_type::pair);
    monitor.set(zmq::sockopt::linger, 0);
    // ZeroMQ's thread waits for room for its events: it would stand still for all.
    monitor.set(zmq::sockopt::rcvhwm, 0);
    monitor.connect(name);
  }

  // A listener that was just closed frees its port, or its name, a moment later: ZeroMQ's
  // thread does it.
  void Bind(const Endpoint& endpoint) {
    constexpr int kTries = 50, kMicros = 10'000;
    for (int i = 1;; ++i) {
      try {
        return Uninterrupted([&] { socket.bind(endpoint.text); });
      } catch (const zmq::error_t& error) {
        if (error.num() != EADDRINUSE || i == kTries) throw;
      }
      usleep(kMicros);
    }
  }

  void Limit(const Endpoint& endpoint, uint64_t max_part_bytes) {
    socket.set(zmq::sockopt::maxmsgsize, static_cast<int64_t>(max_part_bytes));
    if (endpoint.scheme == Endpoint::Scheme::kTcp) {
      socket.set(zmq::sockopt::ipv6, true);
      socket.set(zmq::sockopt::heartbeat_ivl, kHeartbeatMillis);
      socket.set(zmq::sockopt::heartbeat_timeout, kHeartbeatTimeoutMillis);
    }
    if (endpoint.scheme != Endpoint::Scheme::kInproc) Watch();
  }

  ProcessContext& owner;
  zmq::socket_t socket;
  zmq::socket_t monitor;
  bool router;
  std::string bound;
  struct stat file = {};  // of `bound`, as it was then
};

ZmqSocket::ZmqSocket(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ZmqSocket::~ZmqSocket() = default;

StatusOr<std::unique_ptr<ZmqSocket>> ZmqSocket::Listen(const Endpoint& endpoint,
                                                       uint64_t max_part_bytes) {
  PANNIER_RETURN_IF_ERROR(CheckIpcPathIsFree(endpoint));
  try {
    PANNIER_ASSIGN_OR_RETURN(ProcessContext* const process, Context());
    auto impl = std::make_unique<Impl>(*process, zmq::socket_type::router);
    impl->socket.set(zmq::sockopt::router_mandatory, true);
    if (endpoint.scheme == Endpoint::Scheme::kIpc) {
      // Nobody but this user gets as far as a frame.
      const uid_t uid = geteuid();
      zmq_setsockopt(impl->socket.handle(), ZMQ_IPC_FILTER_UID, &uid, sizeof(uid));
    }
    impl->Limit(endpoint, max_part_bytes);
    impl->Bind(endpoint);
    impl->bound = impl->socket.get(zmq::sockopt::last_endpoint);
    (void)stat(FileOf(impl->bound).c_str(), &impl->file);
    return std::unique_ptr<ZmqSocket>(new ZmqSocket(std::move(impl)));
  } catch (const zmq::error_t& error) {
    return ZmqError(error, absl::StrCat("listen on ", endpoint.text));
  }
}

StatusOr<std::unique_ptr<ZmqSocket>> ZmqSocket::Connect(const Endpoint& endpoint,
                                                        const RoutingId& id,
                                                        uint64_t max_part_bytes) {
  try {
    PANNIER_ASSIGN_OR_RETURN(ProcessContext* const process, Context());
    auto impl = std::make_unique<Impl>(*process, zmq::socket_type::dealer);
    impl->socket.set(zmq::sockopt::routing_id, zmq::const_buffer(id.data(), id.size()));
    impl->socket.set(zmq::sockopt::reconnect_ivl, 10);
    impl->socket.set(zmq::sockopt::reconnect_ivl_max, 500);
    impl->Limit(endpoint, max_part_bytes);
    impl->socket.connect(endpoint.text);
    impl->bound = endpoint.text;
    return std::unique_ptr<ZmqSocket>(new ZmqSocket(std::move(impl)));
  } catch (const zmq::error_t& error) {
    return ZmqError(error, absl::StrCat("connect to ", endpoint.text));
  }
}

ZmqSocket::Sent ZmqSocket::Send(const RoutingId& to, OutFrame& frame) {
  try {
    constexpr auto kMore = zmq::send_flags::sndmore | zmq::send_flags::dontwait;
    OrderSend();
    const zmq::const_buffer address(to.data(), to.size());
    if (impl_->router && !Uninterrupted([&] { return impl_->socket.send(address, kMore); })) {
      return Sent::kFull;
    }
    std::vector<zmq::message_t>& messages = frame.parts_->messages;
    for (size_t i = 0; i < messages.size(); ++i) {
      const auto flags = i + 1 < messages.size() ? kMore : zmq::send_flags::dontwait;
      // Once the first part is in, ZeroMQ takes the others.
      if (!Uninterrupted([&] { return impl_->socket.send(messages[i], flags); })) {
        return Sent::kFull;
      }
    }
    return Sent::kYes;
  } catch (const zmq::error_t&) {
    return Sent::kUnreachable;
  }
}

bool ZmqSocket::Receive(RawFrame* frame) {
  try {
    for (;;) {
      frame->parts.clear();
      zmq::message_t part;
      if (!ReceivePart(impl_->socket, part)) return false;
      bool addressed = true;
      if (impl_->router) {
        addressed = part.size() == frame->from.size() && part.more();
        if (addressed) std::memcpy(frame->from.data(), part.data(), part.size());
        if (!part.more()) continue;
        part = zmq::message_t();
        if (!ReceivePart(impl_->socket, part)) return false;
      }
      bool more = part.more();
      frame->head = MessageOwner::Wrap(std::move(part));
      while (more) {
        zmq::message_t next;
        if (!ReceivePart(impl_->socket, next)) return false;
        more = next.more();
        if (addressed) frame->parts.push_back(MessageOwner::Wrap(std::move(next)));
      }
      OrderReceive();
      if (addressed) return true;
    }
  } catch (const zmq::error_t&) {
    return false;
  }
}

bool ZmqSocket::Readable() {
  try {
    return Uninterrupted(
        [&] { return (impl_->socket.get(zmq::sockopt::events) & ZMQ_POLLIN) != 0; });
  } catch (const zmq::error_t&) {
    return false;
  }
}

int ZmqSocket::fd() const { return impl_->socket.get(zmq::sockopt::fd); }

int ZmqSocket::monitor_fd() const {
  return impl_->monitor.handle() == nullptr ? -1 : impl_->monitor.get(zmq::sockopt::fd);
}

bool ZmqSocket::TakeDisconnect() {
  bool lost = false;
  if (impl_->monitor.handle() == nullptr) return lost;
  try {
    // An event is two parts, number and value, then the address. One kind was asked for.
    zmq::message_t part;
    while (ReceivePart(impl_->monitor, part)) lost = true;
  } catch (const zmq::error_t&) {
    return lost;  // the context ends: there is nothing to learn any more
  }
  return lost;
}

void ZmqSocket::StopListening() {
  // Not zmq_unbind: that ends what was accepted, too.
  const std::string path = FileOf(impl_->bound);
  struct stat now = {};
  if (path.empty() || stat(path.c_str(), &now) != 0) return;
  // Another listener may have put its own there.
  const bool ours = now.st_dev == impl_->file.st_dev && now.st_ino == impl_->file.st_ino;
  if (ours) unlink(path.c_str());
}

void ZmqSocket::SetLinger(absl::Duration linger) {
  impl_->socket.set(zmq::sockopt::linger, static_cast<int>(absl::ToInt64Milliseconds(linger)));
}

const std::string& ZmqSocket::bound_endpoint() const { return impl_->bound; }

}  // namespace pannier

#include "pannier/transport/link_socket.h"

#include <poll.h>
#include <pthread.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <mutex>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace pannier {
namespace {

constexpr char kNamePrefix[] = "pannier-";
constexpr size_t kRandomBytes = 16;
constexpr size_t kMaxPacket = 256;
constexpr int kPeerPidfd = 77;  // SO_PEERPIDFD, Linux 6.5, younger than the system's headers

// An abstract name is all bytes after the leading zero.
socklen_t Address(const std::string& name, sockaddr_un* address) {
  *address = {};
  address->sun_family = AF_UNIX;
  std::memcpy(address->sun_path + 1, name.data(), name.size());
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
}

StatusOr<UniqueFd> NewSocket() {
  UniqueFd fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return SystemError(errno, "link: socket");
  return fd;
}

}  // namespace

// All sockets of the process, so that a forked child can close its copies.
struct ForkHandlers {
  static inline std::mutex mutex;
  static inline LinkSocket* first = nullptr;  // guarded by mutex

  static void Prepare() { mutex.lock(); }
  static void InParent() { mutex.unlock(); }
  static void InChild() {
    for (LinkSocket* socket = first; socket != nullptr; socket = socket->next_) {
      close(socket->fd_);
      socket->fd_ = -1;
    }
    first = nullptr;
    mutex.unlock();
  }
  static inline const int registered = pthread_atfork(Prepare, InParent, InChild);
};

LinkSocket::LinkSocket(UniqueFd fd) : fd_(fd.Release()) {
  const std::lock_guard lock(ForkHandlers::mutex);
  next_ = ForkHandlers::first;
  if (next_ != nullptr) next_->previous_ = this;
  ForkHandlers::first = this;
}

LinkSocket::~LinkSocket() {
  if (fd_ < 0) return;  // a forked child's, out of the list already
  const std::lock_guard lock(ForkHandlers::mutex);
  (previous_ != nullptr ? previous_->next_ : ForkHandlers::first) = next_;
  if (next_ != nullptr) next_->previous_ = previous_;
  close(fd_);
}

StatusOr<UniqueFd> LinkSocket::Listen(std::string* name) {
  uint8_t random[kRandomBytes];
  if (getrandom(random, sizeof(random), 0) != sizeof(random)) {
    return SystemError(errno, "link: getrandom");
  }
  *name = kNamePrefix;
  for (const uint8_t byte : random) absl::StrAppend(name, absl::Hex(byte, absl::kZeroPad2));
  PANNIER_ASSIGN_OR_RETURN(UniqueFd fd, NewSocket());
  sockaddr_un address;
  const socklen_t size = Address(*name, &address);
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0) {
    return SystemError(errno, "link: bind");
  }
  if (listen(fd.get(), SOMAXCONN) != 0) return SystemError(errno, "link: listen");
  return fd;
}

UniqueFd LinkSocket::Accept(int listening_fd) {
  return UniqueFd(accept4(listening_fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
}

StatusOr<UniqueFd> LinkSocket::Connect(const std::string& name) {
  // A false listener must not make us talk to another service of this machine.
  if (!absl::StartsWith(name, kNamePrefix) ||
      name.size() != sizeof(kNamePrefix) - 1 + 2 * kRandomBytes) {
    return MakeError(ErrorKind::kInvalidArgument, "link: not the name of a link socket");
  }
  PANNIER_ASSIGN_OR_RETURN(UniqueFd fd, NewSocket());
  sockaddr_un address;
  const socklen_t size = Address(name, &address);
  if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0) {
    return SystemError(errno, "link: connect");
  }
  return fd;
}

StatusOr<PeerCredentials> LinkSocket::Peer() const {
  ucred credentials{};
  socklen_t size = sizeof(credentials);
  if (getsockopt(fd_, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
    return SystemError(errno, "link: SO_PEERCRED");
  }
  return PeerCredentials{credentials.pid, credentials.uid};
}

void LinkSocket::OpenPeerProcess() {
  int process = -1;
  socklen_t size = sizeof(process);
  if (getsockopt(fd_, SOL_SOCKET, kPeerPidfd, &process, &size) == 0) {
    peer_process_ = UniqueFd(process);
    return;
  }
  const StatusOr<PeerCredentials> peer = Peer();
  if (!peer.ok() || peer->pid <= 0) return;
  UniqueFd by_number(static_cast<int>(syscall(SYS_pidfd_open, peer->pid, 0)));
  // If it had ended before, the number may be another's by now.
  if (Alive()) peer_process_ = std::move(by_number);
}

bool LinkSocket::PeerLives() const {
  if (!peer_process_.valid()) return Alive();
  pollfd poll_fd{peer_process_.get(), POLLIN, 0};
  return poll(&poll_fd, 1, 0) <= 0;
}

Status LinkSocket::Send(ByteSpan packet, int fd) {
  return Send(packet, std::span<const int>(&fd, fd >= 0 ? 1 : 0));
}

Status LinkSocket::Send(ByteSpan packet, std::span<const int> fds) {
  iovec data{const_cast<std::byte*>(packet.data()), packet.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxFds * sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
  }
  ssize_t sent;
  do {
    sent = sendmsg(fd_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  return sent < 0 ? SystemError(errno, "link: sendmsg") : absl::OkStatus();
}

StatusOr<LinkSocket::Packet> LinkSocket::Receive() {
  char bytes[kMaxPacket];
  iovec data{bytes, sizeof(bytes)};
  // Room for more than one descriptor, so that a wrong peer's surplus is seen and closed.
  alignas(cmsghdr) char control[CMSG_SPACE(4 * sizeof(int))];
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  ssize_t received;
  bool reset = false;  // told once, if the peer left something unread, before what it sent
  do {
    received = recvmsg(fd_, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (received < 0 &&
           (errno == EINTR || (errno == ECONNRESET && !std::exchange(reset, true))));
  Packet packet;
  if (received < 0) {
    if (errno == EAGAIN) return packet;
    packet.ended = errno == ECONNRESET || errno == EPIPE;
    if (packet.ended) return packet;
    return SystemError(errno, "link: recvmsg");
  }
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
      UniqueFd owned(fd);
      if (!packet.fd.valid()) {
        packet.fd = std::move(owned);
      } else if (packet.more.size() + 1 < kMaxFds) {
        packet.more.push_back(std::move(owned));
      }  // the surplus is closed
    }
  }
  packet.fd_was_lost = (message.msg_flags & MSG_CTRUNC) != 0;
  packet.ended = received == 0;
  packet.bytes.assign(bytes, static_cast<size_t>(received));
  return packet;
}

void LinkSocket::EndSending() { shutdown(fd_, SHUT_WR); }

bool LinkSocket::Alive() const {
  pollfd poll_fd{fd_, POLLRDHUP, 0};
  return poll(&poll_fd, 1, 0) <= 0 ||
         (poll_fd.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) == 0;
}

}  // namespace pannier

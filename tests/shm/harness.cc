#include "harness.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <fstream>

namespace pannier {

std::pair<Channel, Channel> Channel::Pair() {
  int fds[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0) std::abort();
  return {Channel(fds[0]), Channel(fds[1])};
}

bool Channel::SendBytes(const void* data, size_t size, int fd) const {
  iovec part = {const_cast<void*>(data), size};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  if (fd >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &fd, sizeof(int));
  }
  return ::sendmsg(fd_.get(), &message, MSG_NOSIGNAL) == static_cast<ssize_t>(size);
}

bool Channel::ReceiveBytes(void* data, size_t size, int* fd) const {
  iovec part = {data, size};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  if (::recvmsg(fd_.get(), &message, MSG_CMSG_CLOEXEC) != static_cast<ssize_t>(size)) return false;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (fd != nullptr) {
    *fd = -1;
    if (header != nullptr) std::memcpy(fd, CMSG_DATA(header), sizeof(int));
  }
  return true;
}

Child::Child(const std::function<int()>& body) : pid_(::fork()) {
  if (pid_ < 0) std::abort();
  if (pid_ == 0) ::_exit(body());
}

Child::~Child() {
  if (pid_ <= 0) return;
  Kill(SIGKILL);
  Wait();
}

void Child::Kill(int signal_number) const { ::kill(pid_, signal_number); }

int Child::Wait() {
  int status = 0;
  const pid_t ended = ::waitpid(pid_, &status, 0);
  if (ended != pid_) return -1000;
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

int OpenDescriptors() {
  int count = 0;
  DIR* directory = ::opendir("/proc/self/fd");
  while (::readdir(directory) != nullptr) ++count;
  ::closedir(directory);
  return count;
}

int MappingsOf(const std::string& name) {
  std::ifstream maps("/proc/self/maps");
  int count = 0;
  for (std::string line; std::getline(maps, line);) {
    if (line.find(name) != std::string::npos) ++count;
  }
  return count;
}

namespace {

std::byte At(uint64_t seed, size_t index) {
  return static_cast<std::byte>((seed * 131 + index * 7 + index / 251) & 0xff);
}

}  // namespace

void Fill(std::span<std::byte> bytes, uint64_t seed) {
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = At(seed, i);
}

bool Holds(ByteSpan bytes, uint64_t seed) {
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] != At(seed, i)) return false;
  }
  return true;
}

std::shared_ptr<Pool> MakePool(uint64_t quota, uint32_t leases_per_peer) {
  PoolOptions options;
  options.quota = quota;
  options.leases_per_peer = leases_per_peer;
  options.name = "test";
  return Pool::Create(options).value();
}

Pair::Pair(std::shared_ptr<Pool> owner, const std::string& peer)
    : pool(std::move(owner)),
      row(pool->OpenRow(peer, nullptr).value()),
      import(Import::Create("owner", row->ring_fd()).value()) {}

StatusOr<LeaseDescriptor> Pair::Grant(const Buffer& buffer, bool readonly) {
  PANNIER_ASSIGN_OR_RETURN(LeaseDescriptor lease,
                           row->Grant(buffer.data(), buffer.size(), readonly, Deadline::Now()));
  if (!import->HasSegment(lease.segment)) {
    PANNIER_ASSIGN_OR_RETURN(SegmentHandle segment, pool->Segment(lease.segment));
    PANNIER_RETURN_IF_ERROR(
        import->AddSegment(segment.id, ::fcntl(segment.fd, F_DUPFD_CLOEXEC, 0), segment.size));
  }
  return lease;
}

StatusOr<Buffer> Pair::Carry(const Buffer& buffer, bool writable) {
  PANNIER_ASSIGN_OR_RETURN(LeaseDescriptor lease, Grant(buffer, /*readonly=*/!writable));
  return import->Open(lease, writable);
}

}  // namespace pannier

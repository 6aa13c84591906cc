// LinkSocket: the Unix-domain side channel between two processes of one host. A
// SOCK_SEQPACKET socket in the abstract namespace: packets stay whole, descriptors travel
// with them, and no file is left behind. Packets: docs/wire_format.md, "Link packets".
//
// The kernel closes the socket when the process dies, however it dies: that end is how
// death is known, at once, without timers or process numbers. A forked child closes its
// inherited copies in a fork handler, or they would keep a dead parent's links alive. A socket
// can also end while its peer lives on and still reads our memory: a descriptor of the process
// at the other end (a pidfd) tells the two apart.
//
// Nothing here waits. Thread-safe but for destruction.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "pannier/base/bytes.h"
#include "pannier/base/status.h"
#include "pannier/base/unique_fd.h"

namespace pannier {

struct PeerCredentials {
  pid_t pid = 0;
  uid_t uid = 0;
};

class LinkSocket {
 public:
  // Takes over a connected socket.
  explicit LinkSocket(UniqueFd fd);
  ~LinkSocket();
  LinkSocket(const LinkSocket&) = delete;
  LinkSocket& operator=(const LinkSocket&) = delete;

  // A socket listening on a fresh random name, which is written to `name`.
  static StatusOr<UniqueFd> Listen(std::string* name);
  // The next connection waiting, or an invalid one if there is none.
  static UniqueFd Accept(int listening_fd);
  // Errors: kSystem (ECONNREFUSED: nobody listens there in this network namespace),
  // InvalidArgument (not a name of ours).
  static StatusOr<UniqueFd> Connect(const std::string& name);

  // Who is at the other end, as the kernel saw it when the socket was connected.
  StatusOr<PeerCredentials> Peer() const;

  // Asks the kernel for a descriptor of that process. Before the socket is shared.
  void OpenPeerProcess();
  // Readable when that process has ended; -1 if the kernel did not give it: an old one, another
  // pid namespace, no descriptor free. The socket's.
  int peer_process() const { return peer_process_.get(); }
  // False once the process at the other end has ended; where it is not known, once the socket
  // has. Any thread; one system call.
  bool PeerLives() const;

  // Sends one packet, with a descriptor unless `fd` is -1. Errors: kSystem (EAGAIN: the
  // peer does not read; EPIPE, ECONNRESET: it is gone; ETOOMANYREFS, EMFILE).
  Status Send(ByteSpan packet, int fd);
  // The same with several, at most kMaxFds.
  Status Send(ByteSpan packet, std::span<const int> fds);
  static constexpr size_t kMaxFds = 3;

  struct Packet {
    std::string bytes;           // empty: none is there
    UniqueFd fd;                 // the first that came with it
    std::vector<UniqueFd> more;  // and the others
    bool ended = false;          // the peer closed the socket
    bool fd_was_lost = false;    // this process has no descriptor free
  };
  StatusOr<Packet> Receive();

  // Tells the peer that this is the end, as closing does; the peer's own is still noticed.
  void EndSending();

  // False once the peer closed its end, or ended sending. Any thread; one system call.
  bool Alive() const;
  int fd() const { return fd_; }

 private:
  friend struct ForkHandlers;
  int fd_;  // -1 in a forked child
  UniqueFd peer_process_;
  LinkSocket* previous_ = nullptr;
  LinkSocket* next_ = nullptr;
};

}  // namespace pannier

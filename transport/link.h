// Link: what two processes of one host hold of each other. The row of leases that we
// granted the peer, the import of what it granted us, and the socket between, over which
// segments are announced and whose end is the peer's end.
//
// Thread-safe. The row is outlived by nothing but the pool's adoption of it; the import
// lives on in the buffers made of it, and its end is told to the peer in shared memory.
//
// A row's leases end when the peer hands them back, says that it holds nothing any more, or when
// its process is gone. A socket that breaks while the peer lives ends none: the peer still reads
// our memory, and says both through shared memory as before.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "pannier/base/status.h"
#include "pannier/shm/import.h"
#include "pannier/shm/lane.h"
#include "pannier/shm/pool.h"
#include "pannier/transport/handshake.h"
#include "pannier/transport/link_socket.h"

namespace pannier {

class Link {
 public:
  enum class PacketType : uint8_t;

  // The packets before the link stands. The connecting side sends its token with the ring
  // of its row, the listening side answers with its own ring.
  // With a lane, the inbox that this side reads goes too.
  static Status SendToken(LinkSocket& socket, const wire::Token& token, int ring_fd,
                          LaneInbox* inbox = nullptr);
  static Status SendAccepted(LinkSocket& socket, int ring_fd, LaneInbox* inbox = nullptr);
  struct Greeting {
    bool arrived = false;
    wire::Token token = {};  // of a token packet
    UniqueFd ring;
    UniqueFd lane, doorbell;  // of the peer's inbox; invalid if none came
  };
  // `accepted` says which of the two packets is expected. Errors: CorruptMessage,
  // ConnectionLost (the peer closed the socket), kSystem.
  static StatusOr<Greeting> ReceiveGreeting(LinkSocket& socket, bool accepted);

  // The connecting side's part of it: connects, makes sure of the listener's user, opens the
  // row and sends the token, with a lane if there is to be one. The answer is still to come.
  // Errors: Refused (another user), InvalidArgument (no name of ours), kSystem (ECONNREFUSED:
  // nobody is there).
  struct Request {
    std::string peer;  // "pid 4242 at ipc:///tmp/x"
    std::shared_ptr<LinkSocket> socket;
    std::unique_ptr<LeaseRow> row;
  };
  static StatusOr<Request> Knock(const std::string& link_name, const wire::Token& token,
                                 const std::string& endpoint, Pool& pool,
                                 LaneInbox* inbox = nullptr);

  // A row in `pool` whose `alive` asks whether the peer of this socket may hold leases.
  static StatusOr<std::unique_ptr<LeaseRow>> OpenRow(Pool& pool, const std::string& peer,
                                                     std::shared_ptr<LinkSocket> socket);

  // `ring` is the peer's, for what it leases to us.
  static StatusOr<std::unique_ptr<Link>> Create(std::string peer,
                                                std::shared_ptr<LinkSocket> socket,
                                                std::shared_ptr<Pool> pool,
                                                std::unique_ptr<LeaseRow> row,
                                                const UniqueFd& ring);
  ~Link();  // the row goes to the pool if leases are out and the peer lives
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  // Tells the peer of the segment that `lease` names, unless it was told before, and of
  // segments that are no more. To be called before the frame is sent. Errors: kSystem
  // (EAGAIN: the peer does not read).
  Status Announce(const LeaseDescriptor& lease);
  // Tells the peer that the connection ends in good order and its bye is on the way. If that
  // fails the peer waits for the bye less long.
  void AnnounceClose();

  // Opens a lease of the peer's; takes announcements in first if its segment is not
  // known yet. Errors: those of Import::Open; kSystem with EMFILE (no descriptor was free
  // for its segment: the lease is handed back, and the peer asked to announce it again).
  StatusOr<Buffer> Open(const LeaseDescriptor& lease, bool writable);

  // Takes in the packets that wait. False when nothing comes any more. Errors:
  // CorruptMessage.
  StatusOr<bool> ReceivePackets();

  // After that end: true if the peer is done, or died. False: it lives, and the socket broke.
  bool PeerIsOver() const { return row_->peer_is_done() || !socket_->PeerLives(); }

  // The peer said that it closes in good order.
  bool PeerCloses();

  LeaseRow& row() { return *row_; }
  Import& import() { return *import_; }
  const LinkSocket& socket() const { return *socket_; }
  // The peer is gone: its leases end.
  void PeerIsGone() { row_->Close(); }

 private:
  Link(std::string peer, std::shared_ptr<LinkSocket> socket, std::shared_ptr<Pool> pool,
       std::unique_ptr<LeaseRow> row, std::shared_ptr<Import> import);
  // With mutex_ held.
  Status HandlePacket(LinkSocket::Packet packet);
  Status HandleSegment(uint32_t id, uint64_t size, UniqueFd fd);
  Status SendNumber(PacketType type, uint32_t id);
  Status ForgetGoneSegments();
  void AskAgain(uint32_t id);

  const std::string peer_;
  const std::shared_ptr<LinkSocket> socket_;
  const std::shared_ptr<Pool> pool_;
  std::unique_ptr<LeaseRow> row_;
  const std::shared_ptr<Import> import_;
  std::mutex mutex_;
  // Guarded by mutex_.
  std::set<uint32_t> announced_;
  std::map<uint32_t, bool> lost_;  // segments that came without descriptor; asked for again?
  bool peer_closes_ = false;
};

}  // namespace pannier

#include "pannier/transport/link.h"

#include <unistd.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "pannier/base/bytes.h"

namespace pannier {
namespace {

constexpr uint32_t kLinkMagic = 0x4C4E4E50;  // "PNNL"

}  // namespace

enum class Link::PacketType : uint8_t {
  kToken = 1,
  kAccepted = 2,
  kSegment = 3,
  kClosing = 4,
  kGone = 5,
  kAgain = 6,
};

namespace {

using PacketType = Link::PacketType;
// A peer that keeps sending must not keep the caller.
constexpr int kPacketsPerTurn = 1024;

Status Corrupt(const std::string& what) {
  return MakeError(ErrorKind::kCorruptMessage, absl::StrCat("link packet: ", what));
}

std::string PacketOf(PacketType type, ByteSpan rest = {}) {
  std::string packet;
  ByteWriter writer(&packet);
  writer.Write(kLinkMagic);
  writer.Write(static_cast<uint8_t>(type));
  writer.WriteSpan(rest);
  return packet;
}

StatusOr<PacketType> ReadType(ByteReader& reader) {
  const uint32_t magic = reader.Read<uint32_t>();
  const uint8_t type = reader.Read<uint8_t>();
  if (!reader.ok() || magic != kLinkMagic) return Corrupt("magic");
  if (type < 1 || type > 6) return Corrupt(absl::StrCat("unknown type ", type));
  return static_cast<PacketType>(type);
}

Status SendGreeting(LinkSocket& socket, const std::string& packet, int ring_fd, LaneInbox* inbox) {
  std::vector<int> fds = {ring_fd};
  if (inbox != nullptr) fds.insert(fds.end(), {inbox->ring_fd(), inbox->doorbell().fd()});
  return socket.Send(AsBytes(packet), fds);
}

}  // namespace

Status Link::SendToken(LinkSocket& socket, const wire::Token& token, int ring_fd,
                       LaneInbox* inbox) {
  return SendGreeting(socket, PacketOf(PacketType::kToken, std::as_bytes(std::span(token))),
                      ring_fd, inbox);
}

Status Link::SendAccepted(LinkSocket& socket, int ring_fd, LaneInbox* inbox) {
  return SendGreeting(socket, PacketOf(PacketType::kAccepted), ring_fd, inbox);
}

StatusOr<Link::Greeting> Link::ReceiveGreeting(LinkSocket& socket, bool accepted) {
  PANNIER_ASSIGN_OR_RETURN(LinkSocket::Packet packet, socket.Receive());
  Greeting greeting;
  if (packet.ended) {
    return MakeError(ErrorKind::kConnectionLost, "link: the peer closed the socket");
  }
  if (packet.bytes.empty()) return greeting;
  if (packet.fd_was_lost)
    return SystemError(EMFILE, "link: no descriptor free for the return ring");
  ByteReader reader(AsBytes(packet.bytes));
  PANNIER_ASSIGN_OR_RETURN(const PacketType type, ReadType(reader));
  if (type != (accepted ? PacketType::kAccepted : PacketType::kToken)) {
    return Corrupt(absl::StrCat("type ", static_cast<int>(type), " out of turn"));
  }
  if (type == PacketType::kToken) greeting.token = reader.Read<wire::Token>();
  if (!reader.ok() || !packet.fd.valid()) return Corrupt("a token or its return ring is missing");
  greeting.arrived = true;
  greeting.ring = std::move(packet.fd);
  if (packet.more.size() == 2) {
    greeting.lane = std::move(packet.more[0]);
    greeting.doorbell = std::move(packet.more[1]);
  }
  return greeting;
}

StatusOr<Link::Request> Link::Knock(const std::string& link_name, const wire::Token& token,
                                    const std::string& endpoint, Pool& pool, LaneInbox* inbox) {
  Request request;
  PANNIER_ASSIGN_OR_RETURN(UniqueFd fd, LinkSocket::Connect(link_name));
  request.socket = std::make_shared<LinkSocket>(std::move(fd));
  PANNIER_ASSIGN_OR_RETURN(const PeerCredentials peer, request.socket->Peer());
  if (peer.uid != geteuid()) {
    return MakeError(ErrorKind::kRefused, absl::StrCat("link: the listener is of user ", peer.uid));
  }
  request.peer = absl::StrCat("pid ", peer.pid, " at ", endpoint);
  PANNIER_ASSIGN_OR_RETURN(request.row, OpenRow(pool, request.peer, request.socket));
  PANNIER_RETURN_IF_ERROR(SendToken(*request.socket, token, request.row->ring_fd(), inbox));
  return request;
}

StatusOr<std::unique_ptr<LeaseRow>> Link::OpenRow(Pool& pool, const std::string& peer,
                                                  std::shared_ptr<LinkSocket> socket) {
  socket->OpenPeerProcess();  // while nobody else has it
  return pool.OpenRow(peer, [socket = std::move(socket)] { return socket->PeerLives(); });
}

StatusOr<std::unique_ptr<Link>> Link::Create(std::string peer, std::shared_ptr<LinkSocket> socket,
                                             std::shared_ptr<Pool> pool,
                                             std::unique_ptr<LeaseRow> row, const UniqueFd& ring) {
  PANNIER_ASSIGN_OR_RETURN(std::shared_ptr<Import> import, Import::Create(peer, ring.get()));
  // Its end, at which it says in shared memory that it is done, wakes the peer to look, though our
  // row may keep the socket open.
  import->KeepAlive(
      std::shared_ptr<void>(socket.get(), [socket](void*) { socket->EndSending();
}));
return std::unique_ptr<Link>(new Link(std::move(peer), std::move(socket), std::move(pool),
                                      std::move(row), std::move(import)));
}  // namespace pannier

Link::Link(std::string peer, std::shared_ptr<LinkSocket> socket, std::shared_ptr<Pool> pool,
           std::unique_ptr<LeaseRow> row, std::shared_ptr<Import> import)
    : peer_(std::move(peer)),
      socket_(std::move(socket)),
      pool_(std::move(pool)),
      row_(std::move(row)),
      import_(std::move(import)) {}

Link::~Link() {
  const auto drained = row_->Drain();
  if (drained.ok() && row_->leases() > 0 && socket_->PeerLives()) pool_->Adopt(std::move(row_));
}

Status Link::Announce(const LeaseDescriptor& lease) {
  const std::lock_guard lock(mutex_);
  if (announced_.contains(lease.segment)) return absl::OkStatus();
  PANNIER_RETURN_IF_ERROR(ForgetGoneSegments());
  PANNIER_ASSIGN_OR_RETURN(const SegmentHandle segment, pool_->Segment(lease.segment));
  std::string fields;
  ByteWriter writer(&fields);
  writer.Write(segment.id);
  writer.Write(segment.size);
  PANNIER_RETURN_IF_ERROR(
      socket_->Send(AsBytes(PacketOf(PacketType::kSegment, AsBytes(fields))), segment.fd));
  announced_.insert(segment.id);
  return absl::OkStatus();
}

// A segment goes when no lease of it is out, so nothing under way names it.
Status Link::ForgetGoneSegments() {
  for (auto id = announced_.begin(); id != announced_.end();) {
    if (!pool_->Segment(*id).ok()) {
      PANNIER_RETURN_IF_ERROR(SendNumber(PacketType::kGone, *id));
      id = announced_.erase(id);
    } else {
      ++id;
    }
  }
  return absl::OkStatus();
}

Status Link::SendNumber(PacketType type, uint32_t id) {
  return socket_->Send(AsBytes(PacketOf(type, std::as_bytes(std::span(&id, 1)))), -1);
}

void Link::AnnounceClose() { (void)socket_->Send(AsBytes(PacketOf(PacketType::kClosing)), -1); }

bool Link::PeerCloses() {
  const std::lock_guard lock(mutex_);
  return peer_closes_;
}

StatusOr<Buffer> Link::Open(const LeaseDescriptor& lease, bool writable) {
  if (!import_->HasSegment(lease.segment)) {
    PANNIER_RETURN_IF_ERROR(ReceivePackets().status());
    const std::lock_guard lock(mutex_);
    if (lost_.contains(lease.segment)) {
      import_->HandBack(lease);
      AskAgain(lease.segment);
      return SystemError(
          EMFILE,
          absl::StrCat("segment ", lease.segment, " of ", peer_,
                       ": this process had no descriptor free for it; raise RLIMIT_NOFILE"));
    }
  }
  return import_->Open(lease, writable);
}

StatusOr<bool> Link::ReceivePackets() {
  const std::lock_guard lock(mutex_);
  for (int i = 0; i < kPacketsPerTurn; ++i) {
    PANNIER_ASSIGN_OR_RETURN(LinkSocket::Packet packet, socket_->Receive());
    if (packet.ended) return false;
    if (packet.bytes.empty()) return true;
    PANNIER_RETURN_IF_ERROR(HandlePacket(std::move(packet)));
  }
  return true;
}

Status Link::HandlePacket(LinkSocket::Packet packet) {
  ByteReader reader(AsBytes(packet.bytes));
  PANNIER_ASSIGN_OR_RETURN(const PacketType type, ReadType(reader));
  if (type == PacketType::kClosing) {
    peer_closes_ = true;
    return absl::OkStatus();
  }
  const uint32_t id = reader.Read<uint32_t>();
  const uint64_t size = type == PacketType::kSegment ? reader.Read<uint64_t>() : 0;
  if (!reader.ok()) return Corrupt("too short");
  switch (type) {
    case PacketType::kSegment:
      return HandleSegment(id, size, std::move(packet.fd));
    case PacketType::kGone:
      return lost_.erase(id) > 0 ? absl::OkStatus() : import_->RemoveSegment(id);
    case PacketType::kAgain:
      announced_.erase(id);
      return absl::OkStatus();
    default:
      return Corrupt("a greeting after the handshake");
  }
}

Status Link::HandleSegment(uint32_t id, uint64_t size, UniqueFd fd) {
  if (!fd.valid()) {
    lost_[id] = false;
    AskAgain(id);
    return absl::OkStatus();
  }
  lost_.erase(id);
  return import_->AddSegment(id, fd.Release(), size);
}

// Once for each loss, so that no announcement comes twice.
void Link::AskAgain(uint32_t id) {
  bool& asked = lost_[id];
  asked = asked || SendNumber(PacketType::kAgain, id).ok();
}

}  // namespace pannier

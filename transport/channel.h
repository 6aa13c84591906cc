// Channel: the Connection of both sides, from the handshake on. The hub's owner feeds it
// frames; the program's threads send and receive. Life of a channel:
//
//   greeting --> open --> ending --> ended
//                  \________\__________\____> closed (by this side, at any time)
//
// greeting: the handshake is under way. open: with a link or without, or with one that broke:
// then buffers travel in frames, and what was leased before stays leased; a lane goes on. ending:
// the peer's end was seen on the link or below the socket, and what it sent before is still coming
// in: until its bye, or until nothing came for a time. ended: nothing comes any more; what was
// received may still be taken, then calls fail with status().
//
// Members named OnX, and all under "hub's lock", need the hub's mutex held.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "pannier/transport/connection.h"
#include "pannier/transport/handshake.h"
#include "pannier/transport/hub.h"
#include "pannier/transport/inbound.h"
#include "pannier/transport/lane_carrier.h"
#include "pannier/transport/link.h"
#include "pannier/transport/outbound.h"
#include "pannier/transport/wire.h"

namespace pannier {

class Channel;

// The window that each side grants: docs/wire_format.md, "Credit".
inline constexpr uint32_t kWindowMessages = 1024;
inline constexpr uint64_t kWindowBytes = uint64_t{64} << 20;
// Whether so much of the window was taken that the taker reports it.
inline bool QuarterGone(uint64_t taken, uint64_t reported, uint64_t window) {
  return taken - reported >= (window + 3) / 4;
}

// What a channel asks of the side it belongs to. Called with the hub's lock held.
class ChannelOwner : public Hub {
 public:
  using Hub::Hub;
  // There is something to receive, or the channel ended.
  virtual void OnReady(Channel& channel) = 0;
  // The channel's link broke while the peer lives.
  virtual void OnLinkBroken(Channel& channel) = 0;
  // A frame about a new link came: relink, offer or ready. Errors: CorruptMessage, which ends
  // the channel.
  virtual Status OnLinkFrame(Channel& channel, const wire::Frame& frame) = 0;
  // The channel was closed by this side: forget it, now. `linger` is how long its last
  // frames may take: zero if nobody is there to receive them.
  virtual void OnClosed(Channel& channel, absl::Duration linger) = 0;
};

class Channel final : public Connection, public std::enable_shared_from_this<Channel> {
 public:
  enum class State : uint8_t { kGreeting, kOpen, kEnding, kEnded, kClosed };

  Channel(std::shared_ptr<ChannelOwner> hub, const TransportOptions& options, RoutingId routing,
          uint64_t number, std::string endpoint);
  ~Channel() override;

  Status Send(const OutgoingMessage& message, Deadline deadline) override;
  using Connection::Receive;
  StatusOr<Message> Receive(Deadline deadline, const ReceiveOptions& options) override;
  bool TrySend(const OutgoingMessage& message) override;
  bool TryReceive(Message* message) override;
  StatusOr<bool> Poll(Deadline deadline) override;
  StatusOr<int> fd() override;
  void Close() override;
  bool closed() const override;
  const ConnectionInfo& info() const override { return info_; }
  ConnectionStats Stats() const override;
  const std::shared_ptr<Pool>& pool() const override { return options_.pool; }

  // Hub's lock: the handshake.
  struct Agreement {
    uint16_t version = 0;
    wire::Limits peer_limits;
    std::string peer;  // its own claim; replaced by what the kernel attests over a link
    std::string no_link_reason;
  };
  // `lane` needs a link; null: ZeroMQ carries.
  void Open(const Agreement& agreement, std::unique_ptr<Link> link,
            std::unique_ptr<LaneCarrier> lane);
  void End(Status status);
  void SendControl(wire::FrameType type, const std::string& body);
  void SendBye(const Status& why);
  // The peer lives and asks for a new link: no lease of the one there is is granted any more.
  void GiveUpLink();
  // The new link, in the place of the one that broke or was given up.
  void Relink(std::unique_ptr<Link> link);

  // Hub's lock: frames of the socket, and events.
  void OnFrame(RawFrame raw, StatusOr<wire::Frame> frame);
  void OnDisconnect();  // the way below the socket is gone
  void Probe();         // asks ZeroMQ whether that is so, unless the link would tell
  Deadline OnTimer();   // ends an ending channel that has gone quiet
  // Takes a plain message off the lane without the detour by the inbox; false if the next is none,
  // or it is not for this thread to take.
  bool TakeStraight(Message* message);
  // Takes the next message off the inbox; nothing if there is none. Counts it, if it is plain.
  bool TakeInbound(Inbound* inbound);

  // No lock: makes the message of what TakeInbound gave.
  StatusOr<Message> OpenInbound(Inbound inbound, const ReceiveOptions& options = {});

  // Hub's lock: state.
  State state() const { return state_; }
  bool HasMessage() const { return !inbox_.empty() && !inbox_.front().due; }
  bool Over() const { return state_ == State::kEnded || state_ == State::kClosed; }
  Status OverStatus() const;
  const RoutingId& routing() const { return routing_; }
  uint64_t number() const { return number_; }
  bool queued = false;  // in the listener's queue of ready channels

  // What this side is ready to receive.
  static wire::Limits LimitsOf(const TransportOptions& options);
  // "name (pid n)", for hello.
  static std::string ProgramName();

 private:
  static Status ForkedError();
  Status CheckUsable() const;
  bool WindowHasRoom(uint64_t bytes) const;
  Status Announce(Hub::Lock& lock, Outbound& outbound, Deadline deadline);
  // Waits for room in the window, and tells the peer of segments.
  Status AwaitRoom(Hub::Lock& lock, Outbound& outbound, const std::shared_ptr<Link>& link,
                   Deadline deadline);
  // Finds a place for every buffer. No lock.
  Status Place(Outbound& outbound, Deadline deadline);
  void CountOut(uint64_t bytes);
  void HandleFrame(RawFrame raw, StatusOr<wire::Frame> frame);
  void OnBye(Status status);
  // Counts a message of so many bytes into the window; false if the channel ended of it.
  bool CountIn(uint64_t size);
  // The same for one whose header tells which it is.
  bool CountIn(const wire::FrameHeader& header, uint64_t size);
  void OnMessage(RawFrame raw, wire::Frame frame);
  // Counts a message that the program takes, and reports it to the peer if it is time to.
  void CountTaken(uint64_t size);
  Inbound Framed(wire::Frame frame, RawFrame raw) const;
  void Deliver(Inbound inbound);
  void OnLinkEvent();
  bool WatchLink();     // false: it ended the channel, as nobody would tell of the peer's end
  void OnLinkBroken();  // the peer lives
  void OnPeerDead();    // and says no bye
  void Unwatch();       // link and process
  // With link and way gone, no bye having come, the peer is gone, or about to be: whatever runs
  // under its number reads nothing of ours.
  void ForgetLostPeer();
  // What buffers may be leased over now; null: they travel in frames.
  const std::shared_ptr<Link>& usable_link() const { return link_broken_ ? kNoLink : link_; }
  // On the endpoint, with the sequence that is due.
  Status SendFrame(OutFrame& frame);
  Status SendOver(const std::shared_ptr<Link>& link, const OutgoingMessage& message,
                  Deadline deadline);
  // channel_lane.cc
  // Sends a message without buffers at once; false if it has to go another way, or must wait.
  bool SendPlain(const OutgoingMessage& message);
  Status SendOnLane(const std::shared_ptr<Link>& link, const OutgoingMessage& message,
                    Deadline deadline);
  Status SendBeside(OutFrame& frame);
  void OnLane();
  void TakeAllFromLane();
  // What a wait for a message looks at; null: nothing is read.
  const LaneReader* OwnLane() const {
    return lane_number_ == 0 ? nullptr : &lane_->inbox()->reader();
  }
  // False if nothing was there, or the channel is over.
  bool TakeFromLane();
  // A message of which there is nothing else yet.
  Inbound OnlyHeader(const wire::FrameHeader& header, uint64_t size) const;
  void OnDue(const wire::FrameHeader& header, uint64_t size);
  void OnFrameBeside(RawFrame raw, StatusOr<wire::Frame> frame);
  void FillDue();
  // From now on this connection depends on the way below the socket, too.
  void NeedWay();
  void OnLanePeerGone();
  // From now on the channel is ending, if nothing comes for so long.
  void GoQuiet(absl::Duration quiet);
  void SignalFd();
  Status Annotated(const Status& status, const char* what) const;

  static inline const std::shared_ptr<Link> kNoLink;

  const std::shared_ptr<ChannelOwner> hub_;
  const TransportOptions options_;
  const RoutingId routing_;
  const uint64_t number_;
  // Set while greeting, constant after; what the program sees never changes.
  ConnectionInfo info_;
  wire::Limits peer_limits_;
  std::unique_ptr<LaneCarrier> lane_;  // null: ZeroMQ carries

  // Guarded by the hub's mutex.
  State state_ = State::kGreeting;
  Status status_;               // why it ended
  std::shared_ptr<Link> link_;  // shared with calls under way
  uint64_t link_watch_ = 0;
  bool link_ended_ = false;
  bool link_broken_ = false;    // it ended, and the peer lives
  bool way_gone_ = false;       // and no bye came
  uint64_t process_watch_ = 0;  // of the peer's process, while the link is broken
  uint64_t lane_number_ = 0;    // in the hub; 0 once it is not read any more
  uint32_t straight_ = 0;       // messages taken off the lane by who received them
  bool needs_way_ = false;      // a message went beside the lane
  std::deque<Inbound> beside_;  // messages whose record on the lane is not taken off yet
  uint64_t beside_bytes_ = 0;   // of these
  uint64_t due_ = 0;            // in the inbox, and still to come beside the lane
  Status bye_;                  // came before what is due
  std::deque<Inbound> inbox_;
  Deadline quiet_ = Deadline::Never();  // ending: nothing came until then, so nothing comes
  absl::Duration quiet_time_ = absl::InfiniteDuration();
  uint64_t sent_sequence_ = 0, received_sequence_ = 0;
  uint64_t received_bytes_ = 0;
  wire::Credit sent_, granted_back_;  // frames out; of these, taken by the peer
  wire::Credit taken_, reported_;     // frames taken here; of these, reported
  ConnectionStats stats_;
  UniqueFd fd_epoll_, fd_event_;
  bool fd_signalled_ = false;
};

}  // namespace pannier

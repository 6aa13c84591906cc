// The listening side: hellos answered, links accepted, connections queued for the
// program. Life of a peer here: hello -> greeting -> (link) -> ready -> accepted.
//
// docs/wire_format.md, "Handshake". Hub's lock for everything unless said.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "pannier/transport/channel.h"
#include "pannier/transport/link_door.h"

namespace pannier {

class ListeningHub final : public ChannelOwner {
 public:
  static StatusOr<std::shared_ptr<ListeningHub>> Open(const Endpoint& endpoint,
                                                      const TransportOptions& options);
  ~ListeningHub() override;

  // The listening hub of this process that is bound to `endpoint`, or null. Under no lock.
  static std::shared_ptr<ListeningHub> Find(const std::string& endpoint);

  const std::string& endpoint() const { return endpoint_; }

  bool HasAccepted() const { return !accepted_.empty(); }
  std::shared_ptr<Channel> TakeAccepted();
  bool HasReady() const { return !ready_.empty(); }
  // The next channel of `serving` with something to receive, or ended. A channel with
  // more to come must be put back with OnReady.
  std::shared_ptr<Channel> TakeReady();
  // From now on the hub keeps the channel alive, and OnReady queues it.
  void Serve(std::shared_ptr<Channel> channel);
  // Returned, so that the caller drops it under no lock.
  std::shared_ptr<Channel> StopServing(Channel& channel);

  // Stops listening, for peers and their links; what was accepted goes on. Idempotent.
  void StopAccepting();
  // Forgets what is accepted but not taken, and what is served. The caller drops it, under
  // no lock.
  std::vector<std::shared_ptr<Channel>> TakeAll();

  void OnReady(Channel& channel) override;
  void OnLinkBroken(Channel&) override {}  // the connecting side asks for a new one
  Status OnLinkFrame(Channel& channel, const wire::Frame& frame) override;
  void OnClosed(Channel& channel, absl::Duration linger) override;

 protected:
  void OnFrame(RawFrame raw) override;
  void OnDisconnect() override;
  Deadline OnTimer() override;

 private:
  // A link that a peer was told how to make.
  struct Promise {
    wire::Token token;
    Deadline expires = Deadline::Never();
    bool with_lane = false;             // as the welcome said
    std::unique_ptr<Link> link;         // once accepted
    std::unique_ptr<LaneCarrier> lane;  // likewise
  };
  struct Greeting : Promise {
    uint64_t number = 0;  // the connection's
    wire::Hello hello;
    std::string welcome;
  };
  ListeningHub(std::unique_ptr<ZmqSocket> socket, const TransportOptions& options);
  void OnHello(const RawFrame& raw, const wire::Frame& frame);
  void OnReadyFrame(std::map<RoutingId, Greeting>::iterator greeting, const wire::Frame& frame);
  void Refuse(const RoutingId& to, uint64_t number, const Status& status);
  void SendTo(const RoutingId& to, uint64_t number, wire::FrameType type, const std::string& body);
  Status EstablishLink(std::shared_ptr<LinkSocket> socket);
  // Null if no link was promised for `token`, or it is there.
  Promise* PromiseOf(const wire::Token& token);
  Status Offer(Channel& channel);
  void ShutdownIfUnused();

  TransportOptions options_;  // constant after construction
  std::string endpoint_;      // likewise
  LinkDoor door_;             // listens if links are offered
  std::map<RoutingId, Greeting> greetings_;
  std::map<RoutingId, Channel*> channels_;  // ready ones, until closed
  std::map<RoutingId, Promise> offered_;    // connections whose link broke
  std::deque<std::shared_ptr<Channel>> accepted_;
  std::deque<Channel*> ready_;  // of those served
  std::map<Channel*, std::shared_ptr<Channel>> served_;
  std::deque<Deadline> probes_;
  bool stopped_ = false;
};

}  // namespace pannier

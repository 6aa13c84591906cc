// ServerCore: the serving loop behind Server, and the methods it knows.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "pannier/base/status.h"
#include "pannier/rpc/envelope.h"
#include "pannier/rpc/raw.h"
#include "pannier/rpc/reply_queue.h"
#include "pannier/rpc/server.h"
#include "pannier/transport/connection.h"

namespace pannier::internal {

class ServerCore {
 public:
  explicit ServerCore(ServerOptions options);
  ~ServerCore();

  // As in Server.
  void RawMethod(std::string name, RawHandler handler);
  Status Listen(const std::string& endpoint);
  Status Serve();
  Status Start(const std::string& endpoint);
  Status Wait();
  void Stop();
  std::string endpoint() const;

 private:
  struct Peer {
    std::shared_ptr<Connection> connection;
    rpc::ReplyQueue replies;
  };

  // Takes the right to serve, which ServeClaimed gives back. Errors: InvalidArgument.
  StatusOr<std::shared_ptr<Listener>> Claim();
  // The serving thread's part.
  Status ServeClaimed(Listener& listener);
  Status Loop(Listener& listener);
  void OnEvent(Listener::Event event);
  void OnMessage(Peer& peer, Message message);
  Status OnRequest(Peer& peer, const rpc::Envelope& envelope, Message& message);
  StatusOr<RawResult> Handle(const Peer& peer, const rpc::Envelope& envelope, Message& message,
                             Deadline deadline);
  void Drop(const Connection* connection, const Status& why);
  void FlushReplies();
  Status UnknownMethod(std::string_view method) const;
  void Retire();

  const ServerOptions options_;
  const uint32_t epoch_;

  mutable std::mutex mutex_;
  // Guarded by mutex_. Methods are shared, so that one may be replaced while it runs.
  std::map<std::string, std::shared_ptr<const RawHandler>, std::less<>> methods_;
  std::shared_ptr<Listener> listener_;
  bool serving_ = false;
  std::thread thread_;
  Status thread_status_;

  // Stop's side, which takes no lock, as it may run in a signal handler. Stop counts itself
  // in stopping_ before it reads waking_; Retire clears waking_ before it reads stopping_ and
  // waits for 0. Sequential consistency makes one of them see the other, so that the listener
  // outlives its Wake.
  std::atomic<bool> stop_{false};
  std::atomic<Listener*> waking_{nullptr};
  std::atomic<int> stopping_{0};
  static_assert(std::atomic<Listener*>::is_always_lock_free);

  // The serving thread's alone.
  std::map<const Connection*, Peer> peers_;
  bool replies_wait_ = false;
};

}  // namespace pannier::internal

// ServerCore: the serving loop behind Server, and the methods it knows.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "pannier/base/status.h"
#include "pannier/rpc/envelope.h"
#include "pannier/rpc/raw.h"
#include "pannier/rpc/server.h"
#include "pannier/rpc/server_call.h"
#include "pannier/rpc/server_work.h"
#include "pannier/transport/connection.h"

namespace pannier::internal {

class ServerCore {
 public:
  explicit ServerCore(ServerOptions options);
  ~ServerCore();

  // As in Server.
  void RawMethod(std::string name, RawHandler handler, MethodInfo info);
  Status Listen(const std::string& endpoint);
  Status Serve();
  Status Start(const std::string& endpoint);
  Status Wait();
  void Stop() { work_->Stop(); }
  void Drain() { work_->Drain(); }
  void Work();
  ServerStats Stats() const;
  std::string endpoint() const;

 private:
  struct NamedMethod {
    std::shared_ptr<const RawHandler> handler;  // shared: it may be replaced while it runs
    MethodInfo info;
  };

  // Takes the right to serve, which ServeClaimed gives back. Errors: InvalidArgument.
  StatusOr<std::shared_ptr<Listener>> Claim();
  void Retire();
  StatusOr<std::shared_ptr<const RawHandler>> Find(std::string_view method) const;
  StatusOr<RawResult> Describe() const;

  // ---- The serving thread.
  Status ServeClaimed(Listener& listener);
  Status Loop(Listener& listener);
  // How long it may sleep.
  Deadline NextLook();
  // It drains, and calls that come now are too late.
  bool Refuses() const;
  void TakeInTheLast(Listener& listener);
  bool Drained();
  void OnEvent(Listener::Event event);
  void OnMessage(const std::shared_ptr<ServerPeer>& peer, Message message);
  Status OnRequest(const std::shared_ptr<ServerPeer>& peer, const rpc::Envelope& envelope,
                   Message message);
  // OK, or why a call of so many bytes is not taken. With ServerWork::mutex.
  Status Admit(const ServerPeer& peer, const rpc::Envelope& envelope, uint64_t bytes);
  void OnCancel(ServerPeer& peer, const rpc::EnvelopeHeader& header);
  void Drop(const Connection* connection, const Status& why);
  void LookAround();
  // What Next ended with is no reason to end serving.
  Status Judge(const Status& status) const;
  void EndCalls();

  // ---- Where handlers run.
  // For how long what the task is for ran.
  std::chrono::steady_clock::duration Run(ServerWork::Task task);
  StatusOr<RawResult> Handle(const std::shared_ptr<ServerCall>& call, Message& message);

  const std::shared_ptr<ServerWork> work_;
  const ServerOptions options_;
  const uint32_t epoch_;

  mutable std::mutex mutex_;
  // Guarded by mutex_.
  std::map<std::string, NamedMethod, std::less<>> methods_;
  std::shared_ptr<Listener> listener_;
  bool serving_ = false;
  std::thread thread_;
  Status thread_status_;

  // The serving thread's alone.
  std::map<const Connection*, std::shared_ptr<ServerPeer>> peers_;
  bool took_in_last_ = false;  // when told to drain
};

}  // namespace pannier::internal

// Server: names methods and answers calls to them, on one endpoint and one thread, which is
// that of Serve or Run, or the server's own after Start. Handlers run there one after
// another. A connection that fails ends alone and never the server.
//
// Thread-safe, but for the destructor.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "pannier/base/status.h"
#include "pannier/rpc/method.h"
#include "pannier/rpc/raw.h"
#include "pannier/rpc/remote_error.h"
#include "pannier/transport/connection.h"

namespace pannier {

namespace internal {
class ServerCore;
}  // namespace internal

struct ServerOptions {
  // What handlers build in memory of the process's allocator (AllocateBuffer, Array) lies in
  // `transport.pool`, and is sent with no copy.
  TransportOptions transport;
  // A reply that its receiver has no room for waits, while the server goes on; when more bytes
  // than this wait (what lies in the pool is not counted), the connection is closed.
  uint64_t max_waiting_bytes = uint64_t{1} << 30;
  // How long a reply waits for memory in the pool before the caller is told PoolExhausted.
  absl::Duration pool_patience = absl::Seconds(5);
  // Told of connections, on the serving thread, under no lock. Null: not told.
  std::function<void(const Connection&)> on_connected;
  std::function<void(const Connection&, const Status& why)> on_ended;
};

class Server {
 public:
  Server();
  explicit Server(ServerOptions options);
  ~Server();  // Stop, and Wait for a thread that Start made
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Names a method, which is any callable with one signature (rpc/method.h):
  //
  //   server.Method("scale", [](ArrayView<const float> x, float k) -> StatusOr<Array<float>> ...
  //
  // A caller with other arguments is told InvalidArgument, naming the method, the argument,
  // and what was expected and found. Otherwise as RawMethod.
  template <class F>
  void Method(std::string name, F function) {
    RawMethod(std::move(name), rpc::HandlerOf(std::move(function)));
  }
  // The same for values whose types are known at run time only:
  //
  //   server.DynamicMethod("first", [](codec::Document& arguments) -> StatusOr<codec::Value> {
  //     return arguments.root().items()[0];
  //   });
  //
  // The Document's root is the tuple of arguments; a result is a Value of that Document.
  void DynamicMethod(std::string name, rpc::DynamicHandler handler) {
    RawMethod(std::move(name), rpc::HandlerOfDynamic(std::move(handler)));
  }
  // Names a method; replaces one of that name. At any time, also while serving.
  // REQUIRES: 1 to 1,024 bytes of name.
  void RawMethod(std::string name, RawHandler handler);

  // Takes the endpoint; clients can connect from now on and are answered once Serve runs.
  // Errors: those of Listener::Listen; InvalidArgument if listening already.
  Status Listen(const std::string& endpoint);
  // Answers until Stop; OK then. All connections and the listener are closed at the end.
  // Errors: InvalidArgument (not listening, or serving already); Interrupted, if
  // TransportOptions::interrupted said so; what ended the listener otherwise.
  Status Serve();
  // Listen and Serve. Touches no signal: WorkerMain does.
  Status Run(const std::string& endpoint);
  // Listen, then Serve on a thread of the server's own. Errors: those of Listen; kSystem.
  Status Start(const std::string& endpoint);
  // Waits for the thread that Start made; what its Serve returned. OK if there is none.
  Status Wait();
  // Makes Serve return after the handler that runs, if one does; one that is yet to be
  // called after Listen returns at once. Any thread, handlers, and signal handlers.
  void Stop();

  // As bound, with the port; empty before Listen and after Serve.
  std::string endpoint() const;

 private:
  std::unique_ptr<internal::ServerCore> core_;
};

}  // namespace pannier

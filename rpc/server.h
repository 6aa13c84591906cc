// Server: names methods and answers calls to them, on one endpoint. The serving thread is that of
// Serve or Run, or the server's own after Start. Handlers run there one after another, or on
// handler threads, where there are some. A connection that fails ends alone and never the server.
// docs/calls.md says what becomes of a call whatever happens.
//
// Thread-safe, but for the destructor.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
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
  TransportOptions transport = {};
  // A reply that its receiver has no room for waits, while the server goes on; when more bytes than
  // this wait (what lies in the pool is not counted), the connection is closed.
  uint64_t max_waiting_bytes = uint64_t{1} << 30;
  // How long a reply waits for memory in the pool before the caller is told PoolExhausted.
  absl::Duration pool_patience = absl::Seconds(5);
  // How many threads run handlers; 0: the serving thread does, one after another.
  size_t threads = 0;
  // False: the handler threads are the caller's, which call Work.
  bool own_threads = true;
  // Calls that wait or run, of all connections and of one, and the bytes of their arguments. A call
  // past one of these is answered with Limit, and is not run. A server without handler threads
  // takes calls one by one, so it leaves them to wait at their callers.
  uint64_t max_calls = 16384;
  uint64_t max_calls_per_peer = 16384;
  uint64_t max_call_bytes = uint64_t{4} << 30;
  // Told of connections, on the serving thread, under no lock. Null: not told.
  std::function<void(const Connection&)> on_connected = {};
  std::function<void(const Connection&, const Status& why)> on_ended = {};
};

// What introspection tells of a method.
struct MethodInfo {
  std::string signature = {};  // "scale(ndarray[float32], float32) -> ndarray[float32]"
  std::string doc = {};
};
// Answers with what the server's methods are: a list of tuples (name, signature, doc).
inline constexpr char kMethodsMethod[] = "pannier.methods";

// Counts since the server was made. A call is in one of calls, refused and expired.
struct ServerStats {
  struct OfMethod {
    uint64_t calls = 0;
    double seconds = 0;  // in the handler
  };
  uint64_t calls = 0;      // given to a handler
  uint64_t failed = 0;     // of all: answered with an error, or not at all
  uint64_t refused = 0;    // by a limit, or as the server is stopping
  uint64_t expired = 0;    // not run: their time was over
  uint64_t cancelled = 0;  // by their callers
  uint64_t items = 0;      // sent in sequences
  uint64_t in_flight = 0;  // now: waiting, running, or to be answered later
  uint64_t in_flight_bytes = 0;
  uint64_t queued = 0;  // now: waiting for a thread
  uint64_t connections = 0;
  std::map<std::string, OfMethod> methods;
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
  //   server.Method("scale", [](ArrayView<const float> x, float k) ->
  //   StatusOr<Array<float>> ...
  //
  // A first parameter CallContext& is none of the caller's arguments (rpc/call_context.h). A caller
  // with other arguments is told InvalidArgument, naming the method, the argument, and what was
  // expected and found. Otherwise as RawMethod.
  template <class F>
  void Method(std::string name, F function, std::string doc = {}) {
    MethodInfo info{name + rpc::SignatureOf<F>(), std::move(doc)};
    RawMethod(std::move(name), rpc::HandlerOf(std::move(function)), std::move(info));
  }
  // The same for values whose types are known at run time only:
  //
  //   server.DynamicMethod("first", [](codec::Document& arguments) ->
  //   StatusOr<codec::Value> {
  //     return arguments.root().items()[0];
  //   });
  //
  // The Document's root is the tuple of arguments; a result is a Value of that Document.
  void DynamicMethod(std::string name, rpc::DynamicHandler handler, MethodInfo info = {}) {
    RawMethod(std::move(name), rpc::HandlerOfDynamic(std::move(handler)), std::move(info));
  }
  // Names a method; replaces one of that name. At any time, also while serving. REQUIRES: 1 to
  // 1,024 bytes of name.
  void RawMethod(std::string name, RawHandler handler, MethodInfo info = {});

  // Takes the endpoint; clients can connect from now on and are answered once Serve runs. Errors:
  // those of Listener::Listen; InvalidArgument if listening already.
  Status Listen(const std::string& endpoint);
  // Answers until Stop; OK then. All connections and the listener are closed at the end. Errors:
  // InvalidArgument (not listening, or serving already); Interrupted, if
  // TransportOptions::interrupted said so; what ended the listener otherwise.
  Status Serve();
  // Listen and Serve. Touches no signal: WorkerMain does.
  Status Run(const std::string& endpoint);
  // Listen, then Serve on a thread of the server's own. Errors: those of Listen; kSystem.
  Status Start(const std::string& endpoint);
  // Waits for the thread that Start made; what its Serve returned. OK if there is none.
  Status Wait();
  // Makes Serve return after the handlers that run, if any do; one that is yet to be called after
  // Listen returns at once. Calls that wait for a thread are not answered: their callers see the
  // connection's end. Any thread, handlers, and signal handlers.
  void Stop();
  // Makes Serve return when all calls are answered that came before; later ones are refused
  // (Refused). Waits for nothing. Threads as for Stop.
  void Drain();
  // Runs handlers on this thread until Serve ends. For a server with `own_threads` false, which
  // needs `threads` such calls; starts and ends any number of times. Any thread.
  void Work();

  ServerStats Stats() const;

  // As bound, with the port; empty before Listen and after Serve.
  std::string endpoint() const;

 private:
  std::unique_ptr<internal::ServerCore> core_;
};

}  // namespace pannier

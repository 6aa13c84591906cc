// Connection: two processes that completed the handshake on an endpoint. Messages
// arrive whole and in order, each exactly once or not at all; what a peer sent before
// it died or closed is still received.
//
// Endpoints are ZeroMQ's: ipc://PATH, tcp://HOST:PORT, inproc://NAME.
//
// Thread-safe: any threads may send and receive on one connection at the same time. Of
// the threads that wait, one watches the sockets for all (docs/threading.md); pannier
// starts no thread of its own. A connection that nobody waits on is not served: its
// peer's messages queue, up to the window.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "pannier/base/deadline.h"
#include "pannier/base/status.h"
#include "pannier/shm/pool.h"
#include "pannier/transport/message.h"

namespace pannier {

// What carries the frames of a connection.
enum class Carrier : uint8_t {
  kAuto,  // a lane where there can be one, else ZeroMQ
  kZmq,   // ZeroMQ
  kLane,  // rings in shared memory (docs/lane.md); a connection that cannot have them is refused
};

struct TransportOptions {
  // Where sent buffers are copied to and leased from. Null: Pool::Default().
  std::shared_ptr<Pool> pool;
  // Buffers shorter than this travel inside the frame, unless they lie in the pool.
  uint64_t inline_threshold = 16 << 10;
  // Offer every received buffer read-only: nothing is mapped copy-on-write, and a
  // hand-back needs no system call.
  bool readonly = false;
  // False: never try for a link; buffers travel in frames.
  bool link = true;
  // Chosen once for each connection, by both sides. A lane needs a link.
  Carrier carrier = Carrier::kAuto;
  // How long a wait on a lane may turn before it sleeps, at most: it saves the waking of a
  // processor and costs its time. Less is used while waits are long, and none where only one
  // processor may be used; more than a millisecond is taken for one. Zero: never.
  absl::Duration spin = absl::Microseconds(50);
  // tcp:// is neither encrypted nor authenticated: listening on it is refused unless
  // this is set.
  bool insecure = false;
  // Most bytes of one incoming message outside of leases: stream, envelope, buffers in
  // the frame. The peer learns it in the handshake and fails its Send with kLimit.
  uint64_t max_message_bytes = uint64_t{4} << 30;
  // How long a peer may take over its part of the handshake.
  absl::Duration handshake_timeout = absl::Seconds(10);
  // Asked when a wait is interrupted by a signal, and at least each 100 ms: true ends
  // the wait with kInterrupted. Called on the waiting thread, under no lock.
  std::function<bool()> interrupted;
};

struct ConnectionInfo {
  std::string endpoint;
  std::string peer;            // "pid 4242 at ipc:///tmp/x", for messages
  std::string carrier;         // of the stream: "zmq" or "lane"
  bool link = false;           // buffers travel by lease
  std::string no_link_reason;  // why not, if not
  bool same_user = false;      // attested by SO_PEERCRED on the link, not claimed
  pid_t pid = 0;               // likewise; 0 without a link
  uint16_t version = 0;        // of the wire format, agreed
};

struct ConnectionStats {
  uint64_t messages_sent = 0;
  uint64_t messages_received = 0;
  uint64_t stream_bytes_sent = 0;
  uint64_t stream_bytes_received = 0;
  uint64_t leased_bytes_sent = 0;  // by lease, copied or not
  uint64_t leased_bytes_received = 0;
  uint64_t inline_bytes_sent = 0;  // buffers inside frames
  uint64_t inline_bytes_received = 0;
  uint64_t copied_bytes = 0;  // payload bytes that this side copied, either way
  uint64_t relinks = 0;       // how often a link that broke was replaced
};

// Of one call of Receive.
struct ReceiveOptions {
  // Offer this message's buffers read-only, whatever TransportOptions::readonly says.
  bool readonly = false;
};

class Connection {
 public:
  // Connects and completes the handshake; the listener may start later, until
  // `deadline`. Errors: InvalidArgument (endpoint), DeadlineExceeded (naming what was
  // waited for), Refused (version, limits), ConnectionLost, Interrupted, kSystem.
  static StatusOr<std::shared_ptr<Connection>> Connect(const std::string& endpoint,
                                                       const TransportOptions& options,
                                                       Deadline deadline);

  virtual ~Connection() = default;  // closes
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Sends. On any error nothing was sent, no lease is out, and (but for ConnectionLost,
  // Closed, Forked) the connection goes on. Errors: PoolExhausted, DeadlineExceeded
  // (the peer's window is full), Limit, ConnectionLost, Closed, Interrupted, Forked.
  virtual Status Send(const OutgoingMessage& message, Deadline deadline) = 0;

  // The next message. Errors: DeadlineExceeded, ConnectionLost (the peer closed or died,
  // and everything it sent was received), CorruptMessage (the connection is closed),
  // kSystem (a segment could not be mapped; that message is lost, the connection goes
  // on), Closed, Interrupted, Forked.
  virtual StatusOr<Message> Receive(Deadline deadline, const ReceiveOptions& options) = 0;
  StatusOr<Message> Receive(Deadline deadline) { return Receive(deadline, ReceiveOptions()); }

  // Send and Receive of what needs no wait, no memory of the pool and no mapping: messages without
  // buffers, over a lane. For callers that have to give something up before they may wait, as an
  // interpreter's lock. False: nothing was done, and the other says what is to be said.
  virtual bool TrySend(const OutgoingMessage& message) = 0;
  virtual bool TryReceive(Message* message) = 0;

  // True if Receive would return at once, be it with an error. Waits until `deadline`.
  virtual StatusOr<bool> Poll(Deadline deadline) = 0;

  // A descriptor for poll(2), select, epoll and asyncio: readable when Receive may have
  // something to do. May be readable for nothing: Poll(Deadline::Now()) tells. Lives
  // until Close; the connection's.
  virtual StatusOr<int> fd() = 0;

  // Ends the connection; the peer receives what was sent before. Leases that the peer
  // holds stay good, as do received buffers that live. Idempotent, any thread.
  virtual void Close() = 0;
  virtual bool closed() const = 0;

  virtual const ConnectionInfo& info() const = 0;
  virtual ConnectionStats Stats() const = 0;
  virtual const std::shared_ptr<Pool>& pool() const = 0;

 protected:
  Connection() = default;
};

// Lets what closed connections sent leave the process, for five seconds at most; nothing if
// a connection or listener is open. The end of a process by exit(3) does this by itself: it
// is for those that end by _exit(2). No connection can be made after it.
void FlushBeforeExit();

// The listening side of an endpoint.
class Listener {
 public:
  // Errors: InvalidArgument (endpoint; tcp without `insecure`), kSystem with
  // EADDRINUSE if a live listener holds the endpoint. A stale ipc socket file is
  // replaced. tcp://HOST:0 or :* takes a free port: see endpoint().
  static StatusOr<std::shared_ptr<Listener>> Listen(const std::string& endpoint,
                                                    const TransportOptions& options);

  virtual ~Listener() = default;  // closes
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  // The next connection. Errors: DeadlineExceeded, Closed, Interrupted, Forked.
  virtual StatusOr<std::shared_ptr<Connection>> Accept(Deadline deadline) = 0;

  // What a server waits for: the next thing to happen on any connection of this
  // listener. Do not mix with Accept or with Receive on its connections.
  struct Event {
    // kLost: one message could not be opened (its segment could not be mapped); the
    // connection goes on.
    enum class Kind : uint8_t { kAccepted, kMessage, kLost, kEnded };
    Kind kind = Kind::kEnded;
    std::shared_ptr<Connection> connection;  // kept alive by the listener until kEnded
    Message message;                         // kMessage
    Status status;                           // kLost, kEnded: why
  };
  // Errors: DeadlineExceeded, Closed (and no connection is left), Interrupted, Forked.
  virtual StatusOr<Event> Next(Deadline deadline) = 0;
  // Makes a Next or Accept that waits return Interrupted, once. Any thread; also from a
  // signal handler.
  virtual void Wake() = 0;

  // Stops listening; accepted connections go on. An ipc endpoint is free at once, a tcp
  // port or an inproc name when the last of them has ended. Idempotent.
  virtual void Close() = 0;
  virtual const std::string& endpoint() const = 0;  // as bound, with the port

 protected:
  Listener() = default;
};

}  // namespace pannier

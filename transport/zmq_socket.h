// ZmqSocket: one ZeroMQ socket, ROUTER where we listen and DEALER where we connect.
// zmq_socket.cc is the one file that names cppzmq; its exceptions stop there.
//
// Not thread-safe: the hub's lock guards every call. Nothing here waits.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "pannier/base/buffer.h"
#include "pannier/base/bytes.h"
#include "pannier/base/status.h"
#include "pannier/transport/endpoint.h"

namespace pannier {

// How the ROUTER names a DEALER: random, chosen by the connecting side.
using RoutingId = std::array<uint8_t, 16>;

// A frame composed for sending, in ZeroMQ's memory. Composed under no lock; sent once.
class OutFrame {
 public:
  // The first part is `pieces` joined; each of `parts` is copied into one of its own.
  OutFrame(std::span<const ByteSpan> pieces, std::span<const ByteSpan> parts);
  OutFrame(OutFrame&&) noexcept;
  ~OutFrame();
  std::byte* head();      // the first part, to patch fields known late
  uint64_t size() const;  // bytes of all parts

 private:
  friend class ZmqSocket;
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

// A frame received. The buffers own ZeroMQ's memory: nothing is copied.
struct RawFrame {
  RoutingId from = {};  // ROUTER only
  Buffer head;
  std::vector<Buffer> parts;

  uint64_t size() const;  // bytes of all parts
};

class ZmqSocket {
 public:
  static StatusOr<std::unique_ptr<ZmqSocket>> Listen(const Endpoint& endpoint,
                                                     uint64_t max_part_bytes);
  static StatusOr<std::unique_ptr<ZmqSocket>> Connect(const Endpoint& endpoint, const RoutingId& id,
                                                      uint64_t max_part_bytes);
  ~ZmqSocket();  // closes with the linger set last
  ZmqSocket(const ZmqSocket&) = delete;
  ZmqSocket& operator=(const ZmqSocket&) = delete;

  enum class Sent : uint8_t { kYes, kFull, kUnreachable };
  // `to` matters to a ROUTER only. kFull: so much waits for this peer that it cannot be a correct
  // one. kUnreachable: no such peer is connected (any more).
  Sent Send(const RoutingId& to, OutFrame& frame);

  // False if nothing is there. Frames whose sender has no RoutingId are skipped.
  bool Receive(RawFrame* frame);

  // True if Receive would find something. Must be asked after every Send: sending can
  // swallow the event that would have made fd() readable.
  bool Readable();
  // Edge-triggered, as ZeroMQ's is: receive until nothing is there before waiting on it.
  int fd() const;

  // Readable when a connection below the socket was lost; TakeDisconnect then tells
  // whether one was, and forgets. -1 where there is no connection below (inproc).
  int monitor_fd() const;
  bool TakeDisconnect();

  // Removes an ipc endpoint's file: nobody finds the way here any more, and another may
  // listen there. What was accepted goes on. Other endpoints stay taken until the socket
  // is closed.
  void StopListening();
  // How long unsent frames may take after the socket was closed.
  void SetLinger(absl::Duration linger);
  const std::string& bound_endpoint() const;

 private:
  struct Impl;
  explicit ZmqSocket(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace pannier

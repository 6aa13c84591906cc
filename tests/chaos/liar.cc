// Shakes hands without a link, as "liar", and then sends frames with a few bytes changed. What
// becomes of it does not matter; what becomes of everybody else does.
#include <unistd.h>

#include <array>

#include "pannier/transport/handshake.h"
#include "pannier/transport/wire.h"
#include "pannier/transport/zmq_socket.h"
#include "worker.h"

namespace pannier::chaos {
namespace {

void SendFrame(ZmqSocket& socket, const RoutingId& id, std::string frame) {
  const std::array<ByteSpan, 1> pieces = {AsBytes(frame)};
  OutFrame out(pieces, {});
  (void)socket.Send(id, out);
}

std::string FrameOf(wire::FrameHeader header, wire::FrameType type, const std::string& body) {
  header.type = static_cast<uint8_t>(type);
  header.stream_size = body.size();
  return std::string(reinterpret_cast<const char*>(&header), sizeof(header)) + body;
}

}  // namespace

void RunLiar(Worker& worker) {
  RoutingId id;
  for (uint8_t& byte : id) byte = static_cast<uint8_t>(1 + worker.Below(255));
  const auto endpoint = ParseEndpoint(worker.AnyEndpoint());
  auto socket = ZmqSocket::Connect(*endpoint, id, 1 << 20);
  if (!socket.ok()) return worker.Violation("liar: " + socket.status().ToString());
  wire::FrameHeader header;
  header.connection = worker.random()();
  wire::Hello hello;
  hello.least_version = hello.greatest_version = wire::kGreatestVersion;
  hello.limits = {1 << 20, 64, 1 << 20};
  hello.name = "liar";
  SendFrame(**socket, id, FrameOf(header, wire::FrameType::kHello, wire::Serialize(hello)));
  RawFrame answer;
  for (int i = 0; i < 200 && !(*socket)->Receive(&answer); ++i) usleep(5000);
  SendFrame(**socket, id,
            FrameOf(header, wire::FrameType::kReady, wire::Serialize(wire::Ready{false, "liar"})));
  for (uint64_t i = 0; i < 20; ++i) {
    const Parcel parcel = worker.NewParcel();
    header.sequence = i;
    header.buffer_count = 1;
    wire::BufferRecord record;
    record.length = worker.Below(5000);
    record.slot = static_cast<uint32_t>(worker.Below(16));
    record.generation = static_cast<uint32_t>(worker.Below(3));
    std::string frame = FrameOf(header, wire::FrameType::kMessage, parcel.Stream());
    frame.insert(sizeof(header), reinterpret_cast<const char*>(&record), sizeof(record));
    if (worker.Chance(0.5))
      frame[worker.Below(frame.size())] = static_cast<char>(worker.Below(256));
    SendFrame(**socket, id, std::move(frame));
    usleep(1000);
  }
  (*socket)->SetLinger(absl::Milliseconds(100));
}

}  // namespace pannier::chaos

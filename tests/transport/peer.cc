// The other process of the transport's tests.
//
//   transport_peer echo ENDPOINT       connects, sends every message back, until lost
//   transport_peer hold ENDPOINT       connects, receives and holds everything, for ever
//   transport_peer send ENDPOINT N     connects, sends N messages of 64 KiB, then holds still
//   transport_peer flood ENDPOINT      connects, sends 64 KiB messages for ever
//   transport_peer mute ENDPOINT       connects and never receives
//   transport_peer say ENDPOINT N      connects, sends N messages of 64 KiB streams, closes, stays
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "pannier/transport/connection.h"

namespace {

using pannier::Buffer;
using pannier::Deadline;
using pannier::Message;

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "transport_peer: %s\n", status.ToString().c_str());
  return 1;
}

[[noreturn]] void StandStill() {
  for (;;) pause();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const std::string role = argv[1];
  auto connected = pannier::Connection::Connect(argv[2], {}, Deadline::After(absl::Seconds(20)));
  if (!connected.ok()) return Fail(connected.status());
  pannier::Connection& connection = **connected;
  if (role == "mute") StandStill();
  if (role == "send" || role == "flood") {
    const long count = argc > 3 ? std::atol(argv[3]) : -1;
    Buffer buffer = Buffer::OfHeap(64 << 10);
    for (long i = 0; i != count; ++i) {
      for (std::byte& byte : buffer.mutable_span()) byte = static_cast<std::byte>(i);
      const std::string stream = std::to_string(i);
      const absl::Status sent = connection.Send(
          {.stream = pannier::AsBytes(stream), .buffers = {&buffer, 1}}, Deadline::Never());
      if (!sent.ok()) return 0;
    }
    StandStill();
  }
  if (role == "say") {
    const std::string stream(64 << 10, 's');
    for (long i = 0; i < std::atol(argv[3]); ++i) {
      if (!connection.Send({.stream = pannier::AsBytes(stream)}, Deadline::Never()).ok()) return 1;
    }
    connection.Close();
    StandStill();
  }
  std::vector<Message> held;
  for (;;) {
    auto message = connection.Receive(Deadline::Never());
    if (!message.ok()) return 0;
    if (role == "hold") {
      held.push_back(*std::move(message));
      continue;
    }
    const absl::Status sent = connection.Send({.envelope = message->envelope.span(),
                                               .stream = message->stream.span(),
                                               .buffers = message->buffers},
                                              Deadline::Never());
    if (!sent.ok()) return 0;
  }
}

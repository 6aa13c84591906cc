// The listening side of messages: one thread serves all connections, sends back what came,
// and holds some of it. Whoever does not take his messages is closed.
#include "worker.h"

namespace pannier::chaos {
namespace {

constexpr absl::Duration kTurn = absl::Milliseconds(100);
constexpr absl::Duration kSendPatience = absl::Milliseconds(300);

// Messages of liars need not be right, and their connections end as they deserve.
bool IsLiar(const Connection& connection) {
  return connection.info().peer.find("liar") != std::string::npos;
}

class Hub {
 public:
  explicit Hub(Worker& worker) : worker_(worker), held_(worker) {}
  void Handle(Listener::Event event);
  void Drop() { held_.Clear(); }

 private:
  void Answer(Connection& connection, const Message& message, const Parcel& parcel);

  Worker& worker_;
  Held held_;
};

void Hub::Handle(Listener::Event event) {
  Connection& connection = *event.connection;
  switch (event.kind) {
    case Listener::Event::Kind::kAccepted:
      return;
    case Listener::Event::Kind::kEnded:
      worker_.Lost();
      if (KindOf(event.status) != ErrorKind::kClosed && !IsLiar(connection)) {
        worker_.Expect(event.status, "end of " + connection.info().peer);
      }
      return;
    case Listener::Event::Kind::kLost:
      return worker_.Violation("lost a message: " + event.status.ToString());
    case Listener::Event::Kind::kMessage:
      break;
  }
  const auto parcel = Parcel::Parse(event.message.stream.span());
  if (!parcel.has_value()) {
    if (!IsLiar(connection)) worker_.Violation("a stream of " + connection.info().peer);
    return;
  }
  Answer(connection, event.message, *parcel);
  held_.Take(*parcel, std::move(event.message.buffers));
}

void Hub::Answer(Connection& connection, const Message& message, const Parcel& parcel) {
  const Timed timed(worker_, "send of an answer", kSendPatience);
  const std::string stream = parcel.Stream();
  const Status sent =
      connection.Send({.stream = AsBytes(stream), .buffers = message.buffers}, timed.deadline());
  worker_.Expect(sent, "answer to " + connection.info().peer);
  // Answers come in the order of messages or not at all.
  if (!sent.ok()) connection.Close();
}

}  // namespace

void RunHub(Worker& worker) {
  TransportOptions options;
  options.insecure = true;
  auto listener = Listener::Listen(worker.endpoints()[0], options);
  // Whoever was killed here leaves a moment later.
  for (int i = 0; !listener.ok() && i < 100; ++i) {
    absl::SleepFor(absl::Milliseconds(50));
    listener = Listener::Listen(worker.endpoints()[0], options);
  }
  if (!listener.ok()) return worker.Violation("listen: " + listener.status().ToString());
  Hub hub(worker);
  while (CurrentStage() != Stage::kEnd) {
    worker.Tick();
    const Timed timed(worker, "wait for an event", kTurn);
    auto event = (*listener)->Next(timed.deadline());
    if (event.ok()) {
      hub.Handle(*std::move(event));
      continue;
    }
    worker.Expect(event.status(), "next");
    if (CurrentStage() == Stage::kDrain) {
      hub.Drop();
      worker.Drained();
    }
  }
}

}  // namespace pannier::chaos

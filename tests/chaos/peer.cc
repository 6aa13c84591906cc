// The connecting side of messages: sends, checks what comes back, holds some of it, and now
// and then does what a program should not do.
#include <sys/wait.h>
#include <unistd.h>

#include <deque>
#include <memory>

#include "../transport/break_links.h"
#include "worker.h"

namespace pannier::chaos {
namespace {

constexpr absl::Duration kConnectWithin = absl::Seconds(5);
constexpr absl::Duration kSendWithin = absl::Seconds(3);
constexpr absl::Duration kReceiveWithin = absl::Seconds(2);
constexpr int kMostSilences = 3;  // answers that do not come, before another hub is tried

class Peer {
 public:
  explicit Peer(Worker& worker) : worker_(worker), held_(worker) {}
  void Turn();
  void Drop();

 private:
  void Connect();
  void Leave();
  void SendOne();
  void ReceiveOne();
  void Misbehave();
  void ForkChild();
  void FillPool();
  Buffer Make(const Parcel::Piece& piece);

  Worker& worker_;
  Held held_;
  std::shared_ptr<Connection> connection_;
  std::deque<Parcel> expected_;
  int silences_ = 0;
};

void Peer::Turn() {
  if (connection_ == nullptr) return Connect();
  const uint64_t burst = 1 + worker_.Below(8);
  for (uint64_t i = 0; i < burst && connection_ != nullptr; ++i) SendOne();
  if (worker_.Chance(0.02)) Misbehave();
  const uint64_t leave_open = worker_.Below(3);
  while (connection_ != nullptr && expected_.size() > leave_open) {
    ReceiveOne();
    if (silences_ > 0) break;
  }
}

void Peer::Connect() {
  TransportOptions options;
  options.link = worker_.Chance(0.9);
  options.readonly = worker_.Chance(0.2);
  const Timed timed(worker_, "connect", kConnectWithin);
  auto connected = Connection::Connect(worker_.AnyEndpoint(), options, timed.deadline());
  if (connected.ok()) {
    connection_ = *std::move(connected);
  } else {
    worker_.Expect(connected.status(), "connect");
  }
}

void Peer::Leave() {
  const Timed timed(worker_, "close", absl::ZeroDuration());
  connection_.reset();
  expected_.clear();
  silences_ = 0;
  worker_.Lost();
}

void Peer::Drop() {
  if (connection_ != nullptr) Leave();
  held_.Clear();
}

// In the pool, or anywhere; a pool without room is no reason not to send.
Buffer Peer::Make(const Parcel::Piece& piece) {
  if (worker_.Chance(0.5)) {
    auto block = Pool::Default()->Allocate(piece.size);
    worker_.Expect(block.status(), "allocate");
    if (block.ok()) return *std::move(block);
  }
  return Buffer::OfHeap(piece.size);
}

void Peer::SendOne() {
  const Parcel parcel = worker_.NewParcel();
  std::vector<Buffer> buffers;
  std::vector<Buffer> ours;  // of the heap: may be changed as soon as they are sent
  for (const Parcel::Piece& piece : parcel.pieces) {
    Buffer buffer = Make(piece);
    FillPattern(buffer.mutable_span(), piece.seed);
    if (!Pool::Default()->Contains(buffer.data(), buffer.size())) ours.push_back(buffer);
    buffers.push_back(worker_.Chance(0.3) ? buffer.AsReadonly() : std::move(buffer));
  }
  const std::string stream = parcel.Stream();
  const Timed timed(worker_, "send", kSendWithin);
  const Status sent =
      connection_->Send({.stream = AsBytes(stream), .buffers = buffers}, timed.deadline());
  worker_.Expect(sent, "send");
  for (Buffer& buffer : ours) FillPattern(buffer.mutable_span(), 0);
  if (sent.ok()) {
    expected_.push_back(parcel);
  } else if (KindOf(sent) == ErrorKind::kConnectionLost) {
    Leave();
  }
}

void Peer::ReceiveOne() {
  const Timed timed(worker_, "receive", kReceiveWithin);
  auto message = connection_->Receive(timed.deadline());
  if (KindOf(message.status()) == ErrorKind::kDeadlineExceeded) {
    if (++silences_ >= kMostSilences) Leave();
    return;
  }
  silences_ = 0;
  if (!message.ok()) {
    worker_.Expect(message.status(), "receive");
    return Leave();
  }
  const auto parcel = Parcel::Parse(message->stream.span());
  if (!parcel.has_value() || parcel->number != expected_.front().number ||
      parcel->Stream() != expected_.front().Stream()) {
    worker_.Violation("an answer that is not the one that was due");
    return Leave();
  }
  expected_.pop_front();
  held_.Take(*parcel, std::move(message->buffers));
}

void Peer::Misbehave() {
  if (connection_ == nullptr) return;
  switch (worker_.Below(4)) {
    case 0:
      return Leave();  // with answers under way
    case 1:
      return BreakLinks();
    case 2:
      return ForkChild();
    default:
      return FillPool();
  }
}

// A child that uses what is its parent's, and ends as children do.
void Peer::ForkChild() {
  const uint64_t stay_millis = worker_.Below(300);
  const bool by_signal = worker_.Chance(0.3);
  const pid_t child = fork();
  if (child != 0) return;
  const Status sent = connection_->Send({}, Deadline::After(absl::Seconds(1)));
  held_.Forget();
  absl::SleepFor(absl::Milliseconds(stay_millis));
  if (by_signal && KindOf(sent) == ErrorKind::kForked) execl("/bin/true", "true", nullptr);
  _exit(KindOf(sent) == ErrorKind::kForked ? 0 : 1);
}

void Peer::FillPool() {
  std::vector<Buffer> all;
  Status status;
  while (status.ok()) {
    auto block = Pool::Default()->Allocate(4 << 20);
    status = block.status();
    if (block.ok()) all.push_back(*std::move(block));
  }
  worker_.Expect(status, "fill the pool");
  SendOne();
}

}  // namespace

void RunPeer(Worker& worker) {
  Peer peer(worker);
  while (CurrentStage() != Stage::kEnd) {
    worker.Tick();
    if (CurrentStage() == Stage::kRun) {
      peer.Turn();
      continue;
    }
    peer.Drop();
    worker.Drained();
    usleep(10'000);
  }
}

}  // namespace pannier::chaos

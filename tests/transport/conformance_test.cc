// What every connection must do, whatever carries its stream and its buffers. The suite
// runs over each carrier that is compiled in; WhichCarriers says which these are.
#include <sys/mman.h>

#include <atomic>
#include <iostream>
#include <thread>
#include <utility>

#include <poll.h>

#include <cstring>

#include "support.h"

namespace pannier {
namespace {

struct Way {
  const char* name;
  const char* scheme;
  bool link;
  Carrier carrier = Carrier::kZmq;
};

std::ostream& operator<<(std::ostream& out, const Way& way) { return out << way.name; }

class Conformance : public testing::TestWithParam<Way> {
 protected:
  void SetUp() override {
    near_pool_ = *Pool::Create({.quota = 256 << 20, .name = "near"});
    far_pool_ = *Pool::Create({.quota = 256 << 20, .name = "far"});
  }
  std::string Endpoint() {
    const std::string scheme = GetParam().scheme;
    if (scheme == "ipc") return dir_.Endpoint("s");
    if (scheme == "tcp") return "tcp://127.0.0.1:*";
    return "inproc://" + dir_.path();
  }
  TransportOptions Options(std::shared_ptr<Pool> pool) {
    TransportOptions options;
    options.pool = std::move(pool);
    options.link = GetParam().link;
    options.carrier = GetParam().carrier;
    options.insecure = true;
    return options;
  }
  Pair Make() { return MakePair(Endpoint(), Options(near_pool_), Options(far_pool_)); }

  TempDir dir_;
  std::shared_ptr<Pool> near_pool_, far_pool_;
};

TEST_P(Conformance, InfoSaysWhatItIs) {
  const Pair pair = Make();
  for (const auto& connection : {pair.near, pair.far}) {
    EXPECT_EQ(connection->info().link, GetParam().link);
    EXPECT_EQ(connection->info().carrier, GetParam().carrier == Carrier::kLane ? "lane" : "zmq");
    EXPECT_EQ(connection->info().no_link_reason.empty(), GetParam().link);
    EXPECT_EQ(connection->info().same_user, GetParam().link);
    EXPECT_EQ(connection->info().pid, GetParam().link ? getpid() : 0);
    EXPECT_EQ(connection->info().version, 1);
    EXPECT_FALSE(connection->closed());
  }
}

TEST_P(Conformance, MessagesArriveWholeAndInOrderBothWays) {
  const Pair pair = Make();
  for (int i = 0; i < 300; ++i) {
    const std::string stream = "stream " + std::to_string(i);
    const std::string envelope(static_cast<size_t>(i % 7), 'e');
    const auto& from = i % 2 == 0 ? pair.near : pair.far;
    ASSERT_TRUE(from->Send({.envelope = AsBytes(envelope), .stream = AsBytes(stream)}, In(5)).ok());
  }
  for (int i = 0; i < 300; ++i) {
    const auto& to = i % 2 == 0 ? pair.far : pair.near;
    auto message = to->Receive(In(5));
    ASSERT_TRUE(message.ok()) << message.status();
    EXPECT_EQ(AsText(message->stream.span()), "stream " + std::to_string(i));
    EXPECT_EQ(message->envelope.size(), static_cast<size_t>(i % 7));
  }
}

TEST_P(Conformance, BuffersOfEverySizeArriveUnchanged) {
  const Pair pair = Make();
  const std::vector<size_t> sizes = {0,    1,     7,     8,       4095,    4096,
                                     4097, 16383, 16384, 1 << 20, 5000001, 12 << 20};
  std::vector<Buffer> sent;
  for (size_t i = 0; i < sizes.size(); ++i) {
    Buffer buffer = Pattern(sizes[i], static_cast<uint32_t>(i));
    sent.push_back(i % 3 == 0 ? buffer.AsReadonly() : buffer);
  }
  std::thread sender([&] {
    EXPECT_TRUE(pair.near->Send({.stream = AsBytes("all"), .buffers = sent}, In(20)).ok());
  });
  auto message = pair.far->Receive(In(20));
  sender.join();
  ASSERT_TRUE(message.ok()) << message.status();
  ASSERT_EQ(message->buffers.size(), sent.size());
  for (size_t i = 0; i < sent.size(); ++i) {
    EXPECT_TRUE(SameBytes(message->buffers[i], sent[i])) << "size " << sizes[i];
    EXPECT_EQ(message->buffers[i].readonly(), sent[i].readonly()) << "size " << sizes[i];
    EXPECT_EQ(reinterpret_cast<uintptr_t>(message->buffers[i].data()) % 8, 0u);
  }
}

TEST_P(Conformance, AWriteIsSeenByNobodyElse) {
  const Pair pair = Make();
  auto block = near_pool_->Allocate(100'000);
  ASSERT_TRUE(block.ok());
  for (std::byte& byte : block->mutable_span()) byte = std::byte{1};
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(pair.near->Send({.stream = AsBytes("x"), .buffers = {&*block, 1}}, In(5)).ok());
  }
  auto first = pair.far->Receive(In(5));
  auto second = pair.far->Receive(In(5));
  ASSERT_TRUE(first.ok() && second.ok());
  ASSERT_FALSE(first->buffers[0].readonly());
  for (std::byte& byte : first->buffers[0].mutable_span()) byte = std::byte{9};
  EXPECT_EQ(second->buffers[0].span()[50'000], std::byte{1});
  EXPECT_EQ(block->span()[50'000], std::byte{1});
  first = MakeError(ErrorKind::kClosed, "");
  auto third = pair.far->Receive(In(5));
  ASSERT_TRUE(third.ok());
  EXPECT_EQ(third->buffers[0].span()[50'000], std::byte{1}) << "a stale page";
  EXPECT_EQ(second->buffers[0].span()[50'000], std::byte{1});
}

TEST_P(Conformance, TheSenderMayChangeItsOwnMemoryAfterSend) {
  const Pair pair = Make();
  for (size_t size : {100, 20'000, 3'000'000}) {
    Buffer buffer = Pattern(size, 5);
    const Buffer before = Buffer::CopyOf(buffer.span());
    ASSERT_TRUE(pair.near->Send({.buffers = {&buffer, 1}}, In(5)).ok());
    for (std::byte& byte : buffer.mutable_span()) byte = std::byte{0};
    auto message = pair.far->Receive(In(5));
    ASSERT_TRUE(message.ok());
    EXPECT_TRUE(SameBytes(message->buffers[0], before)) << size;
  }
}

TEST_P(Conformance, CopiesAreCounted) {
  const Pair pair = Make();
  auto block = near_pool_->Allocate(1 << 20);
  ASSERT_TRUE(block.ok());
  ASSERT_TRUE(pair.near->Send({.buffers = {&*block, 1}}, In(5)).ok());
  const uint64_t copied = GetParam().link ? 0 : 1 << 20;
  EXPECT_EQ(pair.near->Stats().copied_bytes, copied);
  Buffer heap = Pattern(1 << 20, 1);
  ASSERT_TRUE(pair.near->Send({.buffers = {&heap, 1}}, In(5)).ok());
  EXPECT_EQ(pair.near->Stats().copied_bytes, copied + (1 << 20));
  EXPECT_EQ(pair.near->Stats().messages_sent, 2u);
  ASSERT_TRUE(pair.far->Receive(In(5)).ok() && pair.far->Receive(In(5)).ok());
  EXPECT_EQ(pair.far->Stats().copied_bytes, 0u);
  EXPECT_EQ(pair.far->Stats().messages_received, 2u);
}

TEST_P(Conformance, ABufferIsHandedBackByItself) {
  const Pair pair = Make();
  std::vector<Buffer> sent = {Pattern(50'000, 1), Pattern(50'000, 2), Pattern(50'000, 3)};
  ASSERT_TRUE(pair.near->Send({.buffers = sent}, In(5)).ok());
  auto message = pair.far->Receive(In(5));
  ASSERT_TRUE(message.ok());
  const uint64_t leases = GetParam().link ? 3 : 0;
  EXPECT_EQ(Leases(*near_pool_), leases);
  Buffer kept = message->buffers[1];
  *message = Message();
  EXPECT_EQ(Leases(*near_pool_), leases == 0 ? 0u : 1u);
  EXPECT_TRUE(SameBytes(kept, sent[1]));
  std::thread([gone = std::move(kept)]() mutable { gone = Buffer(); }).join();
  kept = Buffer();
  EXPECT_EQ(Leases(*near_pool_), 0u);
  EXPECT_TRUE(near_pool_->Audit().ok());
}

TEST_P(Conformance, BuffersOutliveConnectionAndListener) {
  Pair pair = Make();
  Buffer sent = Pattern(300'000, 4);
  ASSERT_TRUE(pair.near->Send({.buffers = {&sent, 1}}, In(5)).ok());
  auto message = pair.far->Receive(In(5));
  ASSERT_TRUE(message.ok());
  pair = Pair();
  EXPECT_TRUE(SameBytes(message->buffers[0], sent));
  // The block is not used again while the buffer lives.
  std::vector<Buffer> others;
  for (int i = 0; i < 20; ++i) {
    others.push_back(*near_pool_->Allocate(300'000));
    for (std::byte& byte : others.back().mutable_span()) byte = std::byte{0xEE};
  }
  EXPECT_TRUE(SameBytes(message->buffers[0], sent));
  *message = Message();
  EXPECT_TRUE(Eventually([&] { return Leases(*near_pool_) == 0; }));
}

TEST_P(Conformance, AcceptedConnectionsOutliveTheirListener) {
  Pair pair = Make();
  const std::string endpoint = pair.listener->endpoint();
  pair.listener->Close();
  EXPECT_EQ(KindOf(pair.listener->Accept(In(1)).status()), ErrorKind::kClosed);
  usleep(100'000);
  Buffer buffer = Pattern(50'000, 1);
  for (const auto& [from, to] : {std::pair(pair.near, pair.far), std::pair(pair.far, pair.near)}) {
    ASSERT_TRUE(from->Send({.buffers = {&buffer, 1}}, In(5)).ok());
    auto message = to->Receive(In(5));
    ASSERT_TRUE(message.ok()) << message.status();
    EXPECT_TRUE(SameBytes(message->buffers[0], buffer));
  }
  EXPECT_FALSE(
      Connection::Connect(endpoint, Options(near_pool_), Deadline::After(absl::Milliseconds(100)))
          .ok());
  if (std::string(GetParam().scheme) != "ipc") pair = Pair();
  // The endpoint is free, and the old connection is not disturbed where it may still be.
  const Pair next = MakePair(endpoint, Options(near_pool_), Options(far_pool_));
  ASSERT_NE(next.far, nullptr);
  ASSERT_TRUE(next.near->Send({.stream = AsBytes("new")}, In(5)).ok());
  EXPECT_TRUE(next.far->Receive(In(5)).ok());
  if (pair.near == nullptr) return;
  ASSERT_TRUE(pair.near->Send({.stream = AsBytes("old")}, In(5)).ok());
  EXPECT_EQ(AsText(pair.far->Receive(In(5))->stream.span()), "old");
}

TEST_P(Conformance, WhatWasSentBeforeCloseIsReceived) {
  Pair pair = Make();
  Buffer buffer = Pattern(200'000, 8);
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(pair.near->Send({.stream = AsBytes("s"), .buffers = {&buffer, 1}}, In(5)).ok());
  }
  pair.near->Close();
  EXPECT_TRUE(pair.near->closed());
  for (int i = 0; i < 50; ++i) {
    auto message = pair.far->Receive(In(5));
    ASSERT_TRUE(message.ok()) << i << ": " << message.status();
    EXPECT_TRUE(SameBytes(message->buffers[0], buffer));
  }
  EXPECT_EQ(KindOf(pair.far->Receive(In(5)).status()), ErrorKind::kConnectionLost);
  EXPECT_EQ(KindOf(pair.far->Send({}, In(5))), ErrorKind::kConnectionLost);
  EXPECT_EQ(KindOf(pair.near->Send({}, In(5))), ErrorKind::kClosed);
  EXPECT_EQ(KindOf(pair.near->Receive(In(5)).status()), ErrorKind::kClosed);
  EXPECT_TRUE(Eventually([&] { return Leases(*near_pool_) == 0; }));
}

TEST_P(Conformance, UnreadMessagesGoHomeWhenTheReceiverCloses) {
  Pair pair = Make();
  Buffer buffer = Pattern(200'000, 8);
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(pair.near->Send({.buffers = {&buffer, 1}}, In(5)).ok());
  }
  ASSERT_TRUE(pair.far->Receive(In(5)).ok());
  pair.far->Close();
  EXPECT_EQ(KindOf(pair.near->Receive(In(5)).status()), ErrorKind::kConnectionLost);
  EXPECT_TRUE(Eventually([&] { return Leases(*near_pool_) == 0; }));
}

TEST_P(Conformance, DeadlinesHold) {
  const Pair pair = Make();
  const auto start = absl::Now();
  EXPECT_EQ(KindOf(pair.far->Receive(Deadline::After(absl::Milliseconds(50))).status()),
            ErrorKind::kDeadlineExceeded);
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(45));
  EXPECT_EQ(KindOf(pair.far->Receive(Deadline::Now()).status()), ErrorKind::kDeadlineExceeded);
  EXPECT_FALSE(*pair.far->Poll(Deadline::Now()));
  ASSERT_TRUE(pair.near->Send({.stream = AsBytes("x")}, In(5)).ok());
  EXPECT_TRUE(*pair.far->Poll(In(5)));
  EXPECT_TRUE(pair.far->Receive(Deadline::Now()).ok());
}

TEST_P(Conformance, WhatIsTriedIsDoneAtOnceOrNotAtAll) {
  const Pair pair = Make();
  const bool lane = pair.near->info().carrier == "lane";
  Message message;
  EXPECT_FALSE(pair.far->TryReceive(&message));
  uint32_t sent = 0;
  const auto send = [&] {
    const std::string stream = std::to_string(sent);
    const OutgoingMessage numbered{.envelope = AsBytes("e"), .stream = AsBytes(stream)};
    ASSERT_TRUE(pair.near->TrySend(numbered) || pair.near->Send(numbered, In(5)).ok());
    ++sent;
  };
  uint32_t tried = 0;
  for (uint32_t received = 0; received < 2000; ++received) {
    while (sent < received + 1 + received % 300) ASSERT_NO_FATAL_FAILURE(send());
    if (pair.far->TryReceive(&message)) {
      ++tried;
    } else {
      auto waited = pair.far->Receive(In(5));
      ASSERT_TRUE(waited.ok()) << waited.status();
      message = *std::move(waited);
    }
    ASSERT_EQ(AsText(message.envelope.span()), "e");
    ASSERT_EQ(AsText(message.stream.span()), std::to_string(received));
  }
  EXPECT_GE(tried, lane ? 1500u : 0u);
  EXPECT_LE(tried, lane ? 2000u : 0u);
  while (sent > pair.far->Stats().messages_received) ASSERT_TRUE(pair.far->Receive(In(5)).ok());

  // What may need memory or a mapping, and what finds no room, is not done.
  Buffer buffer = Pattern(20, 1);
  EXPECT_FALSE(pair.near->TrySend({.buffers = {&buffer, 1}}));
  ASSERT_TRUE(pair.near->Send({.buffers = {&buffer, 1}}, In(5)).ok());
  EXPECT_TRUE(*pair.far->Poll(In(5)));
  EXPECT_FALSE(pair.far->TryReceive(&message));
  ASSERT_TRUE(pair.far->Receive(In(5)).ok());
  int room = 0;
  while (pair.near->Send({.stream = AsBytes("x")}, Deadline::Now()).ok()) ++room;
  EXPECT_FALSE(pair.near->TrySend({.stream = AsBytes("x")}));
  EXPECT_GE(room, 512);
  for (int i = 0; i < room; ++i) ASSERT_TRUE(pair.far->Receive(In(5)).ok());
  EXPECT_FALSE(pair.far->TryReceive(&message));
  EXPECT_EQ(pair.near->Stats().messages_sent, pair.far->Stats().messages_received);

  pair.near->Close();
  EXPECT_FALSE(pair.near->TrySend({.stream = AsBytes("x")}));
  EXPECT_FALSE(pair.near->TryReceive(&message));
}

// A handler that raises and takes something in: the exception is not held back by what came.
TEST_P(Conformance, AnInterruptIsToldAlsoIfSomethingCameMeanwhile) {
  Pair pair;
  bool interrupt = false;  // used by this thread alone, as the hook is asked by who waits
  bool inside = false;
  TransportOptions options = Options(near_pool_);
  options.interrupted = [&] {
    if (!interrupt || std::exchange(inside, true)) return false;
    EXPECT_TRUE(pair.far->Send({.stream = AsBytes("x")}, In(5)).ok());
    EXPECT_TRUE(*pair.near->Poll(In(5)));
    inside = false;
    return true;
  };
  pair = MakePair(Endpoint(), options, Options(far_pool_));
  for (const bool poll : {false, true}) {
    interrupt = true;
    const Status status =
        poll ? pair.near->Poll(In(10)).status() : pair.near->Receive(In(10)).status();
    EXPECT_EQ(KindOf(status), ErrorKind::kInterrupted) << status;
    interrupt = false;
    EXPECT_TRUE(pair.near->Receive(In(5)).ok());
  }
}

TEST_P(Conformance, AFullWindowStopsTheSenderUntilTheReceiverTakes) {
  const Pair pair = Make();
  int sent = 0;
  Status status;
  while (sent < 100'000) {
    status = pair.near->Send({.stream = AsBytes("x")}, Deadline::After(absl::Milliseconds(20)));
    if (!status.ok()) break;
    ++sent;
  }
  EXPECT_EQ(KindOf(status), ErrorKind::kDeadlineExceeded) << status;
  EXPECT_EQ(sent, 1024);
  for (int i = 0; i < sent; ++i) ASSERT_TRUE(pair.far->Receive(In(5)).ok());
  EXPECT_TRUE(pair.near->Send({.stream = AsBytes("x")}, In(5)).ok());
  EXPECT_TRUE(pair.far->Receive(In(5)).ok());
}

TEST_P(Conformance, TenThousandTinyBuffers) {
  const Pair pair = Make();
  std::vector<Buffer> sent;
  for (uint32_t i = 0; i < 10'000; ++i) sent.push_back(Pattern(i % 13, i));
  ASSERT_TRUE(pair.near->Send({.buffers = sent}, In(20)).ok());
  auto message = pair.far->Receive(In(20));
  ASSERT_TRUE(message.ok()) << message.status();
  ASSERT_EQ(message->buffers.size(), sent.size());
  for (size_t i = 0; i < sent.size(); ++i) {
    ASSERT_TRUE(SameBytes(message->buffers[i], sent[i])) << i;
  }
}

TEST_P(Conformance, ReadonlyConnectionsOfferAllReadonly) {
  TransportOptions far = Options(far_pool_);
  far.readonly = true;
  const Pair pair = MakePair(Endpoint(), Options(near_pool_), far);
  std::vector<Buffer> sent = {Pattern(10, 1), Pattern(100'000, 2)};
  ASSERT_TRUE(pair.near->Send({.buffers = sent}, In(5)).ok());
  auto message = pair.far->Receive(In(5));
  ASSERT_TRUE(message.ok());
  for (const Buffer& buffer : message->buffers) EXPECT_TRUE(buffer.readonly());
}

TEST_P(Conformance, AMessageLargerThanTheWindowGoesAfterSmallOnes) {
  const Pair pair = Make();
  const std::string stream(65 << 20, 'x');
  for (int i = 0; i < 3; ++i) {
    for (const size_t size : {size_t{1}, size_t{10} << 20, stream.size()}) {
      const auto sent = pair.near->Send({.stream = AsBytes(stream).first(size)}, In(20));
      ASSERT_TRUE(sent.ok()) << size << ": " << sent;
      auto message = pair.far->Receive(In(20));
      ASSERT_TRUE(message.ok()) << message.status();
      ASSERT_EQ(message->stream.size(), size);
    }
  }
}

TEST_P(Conformance, AReadonlyReceiveIsSoForItsMessageAlone) {
  const Pair pair = Make();
  const std::vector<Buffer> sent = {Pattern(10, 1), Pattern(100'000, 2)};
  for (const bool readonly : {false, true, false}) {
    ASSERT_TRUE(pair.near->Send({.buffers = sent}, In(5)).ok());
    auto message = pair.far->Receive(In(5), {.readonly = readonly});
    ASSERT_TRUE(message.ok());
    for (size_t i = 0; i < sent.size(); ++i) {
      EXPECT_EQ(message->buffers[i].readonly(), readonly);
      EXPECT_TRUE(SameBytes(message->buffers[i], sent[i]));
    }
  }
}

TEST_P(Conformance, ManyThreadsOnOneConnection) {
  const Pair pair = Make();
  constexpr int kThreads = 4, kEach = 250;
  std::atomic<int> received{0};
  std::atomic<uint64_t> sum{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        const uint64_t value = static_cast<uint64_t>(t * kEach + i);
        Buffer buffer = Pattern(i % 5 == 0 ? 30'000 : 100, static_cast<uint32_t>(value));
        std::string stream(reinterpret_cast<const char*>(&value), sizeof(value));
        EXPECT_TRUE(
            pair.near->Send({.stream = AsBytes(stream), .buffers = {&buffer, 1}}, In(30)).ok());
      }
    });
    threads.emplace_back([&] {
      while (received.fetch_add(1) < kThreads * kEach) {
        auto message = pair.far->Receive(In(30));
        ASSERT_TRUE(message.ok()) << message.status();
        uint64_t value;
        ASSERT_EQ(message->stream.size(), sizeof(value));
        std::memcpy(&value, message->stream.data(), sizeof(value));
        const Buffer expected = Pattern(message->buffers[0].size(), static_cast<uint32_t>(value));
        EXPECT_TRUE(SameBytes(message->buffers[0], expected));
        sum += value;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  constexpr uint64_t kCount = kThreads * kEach;
  EXPECT_EQ(sum.load(), kCount * (kCount - 1) / 2);
}

TEST_P(Conformance, TheDescriptorIsReadableWhenThereIsSomething) {
  const Pair pair = Make();
  auto fd = pair.far->fd();
  ASSERT_TRUE(fd.ok());
  EXPECT_FALSE(*pair.far->Poll(Deadline::Now()));
  ASSERT_TRUE(pair.near->Send({.stream = AsBytes("x")}, In(5)).ok());
  EXPECT_TRUE(Eventually([&] {
    pollfd poll_fd{*fd, POLLIN, 0};
    return poll(&poll_fd, 1, 100) == 1 && *pair.far->Poll(Deadline::Now());
  }));
  pollfd poll_fd{*fd, POLLIN, 0};
  EXPECT_EQ(poll(&poll_fd, 1, 0), 1) << "level-triggered: it stays readable";
  ASSERT_TRUE(pair.far->Receive(In(5)).ok());
  EXPECT_FALSE(*pair.far->Poll(Deadline::Now()));
  EXPECT_EQ(poll(&poll_fd, 1, 0), 0);
  pair.near->Close();
  EXPECT_TRUE(Eventually([&] {
    pollfd again{*fd, POLLIN, 0};
    return poll(&again, 1, 100) == 1 && *pair.far->Poll(Deadline::Now());
  }));
}

TEST_P(Conformance, CloseWakesAThreadThatWaits) {
  const Pair pair = Make();
  auto waiting = std::async(std::launch::async, [&] { return pair.far->Receive(In(20)).status(); });
  usleep(30'000);
  pair.far->Close();
  EXPECT_EQ(KindOf(waiting.get()), ErrorKind::kClosed);
}

TEST_P(Conformance, AServerSeesAllItsConnectionsByNext) {
  const TransportOptions far = Options(far_pool_);
  auto listener = Listener::Listen(Endpoint(), far);
  ASSERT_TRUE(listener.ok()) << listener.status();
  std::atomic<int> accepted{0}, ended{0}, echoed{0};
  std::thread server([&] {
    for (;;) {
      auto event = (*listener)->Next(In(20));
      if (!event.ok()) break;
      if (event->kind == Listener::Event::Kind::kAccepted) ++accepted;
      if (event->kind == Listener::Event::Kind::kEnded) ++ended;
      if (event->kind != Listener::Event::Kind::kMessage) continue;
      ++echoed;
      EXPECT_TRUE(
          event->connection
              ->Send({.stream = event->message.stream.span(), .buffers = event->message.buffers},
                     In(5))
              .ok());
    }
  });
  constexpr int kClients = 8;
  std::vector<std::thread> clients;
  for (int c = 0; c < kClients; ++c) {
    clients.emplace_back([&, c] {
      auto connection = Connection::Connect((*listener)->endpoint(), Options(near_pool_), In(20));
      ASSERT_TRUE(connection.ok()) << connection.status();
      for (uint32_t i = 0; i < 20; ++i) {
        Buffer buffer = Pattern(40'000, static_cast<uint32_t>(c) * 100 + i);
        ASSERT_TRUE((*connection)->Send({.buffers = {&buffer, 1}}, In(10)).ok());
        auto back = (*connection)->Receive(In(10));
        ASSERT_TRUE(back.ok()) << back.status();
        EXPECT_TRUE(SameBytes(back->buffers[0], buffer));
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_TRUE(Eventually([&] { return ended == kClients; }, absl::Seconds(5)));
  (*listener)->Wake();
  server.join();
  EXPECT_EQ(accepted, kClients);
  EXPECT_EQ(echoed, kClients * 20);
  EXPECT_TRUE(Eventually([&] { return Leases(*near_pool_) + Leases(*far_pool_) == 0; }));
}

TEST_P(Conformance, NothingIsLeftOpenBehind) {
  const auto live_and_die = [this] {
    const Pair pair = Make();
    Buffer buffer = Pattern(50'000, 1);
    ASSERT_TRUE(pair.near->Send({.buffers = {&buffer, 1}}, In(5)).ok());
    ASSERT_TRUE(pair.far->fd().ok());
    ASSERT_TRUE(pair.far->Receive(In(5)).ok());
  };
  live_and_die();  // the pool keeps its first segment
  const size_t before = OpenDescriptors();
  for (int i = 0; i < 10; ++i) live_and_die();
  EXPECT_TRUE(Eventually([&] { return OpenDescriptors() <= before; }, absl::Seconds(5)))
      << OpenDescriptors() << " descriptors, " << before << " before";
}

const Way kWays[] = {{"IpcLink", "ipc", true},
                     {"IpcFrames", "ipc", false},
                     {"TcpLink", "tcp", true},
                     {"TcpFrames", "tcp", false},
                     {"InprocLink", "inproc", true},
                     {"InprocFrames", "inproc", false},
                     {"IpcLane", "ipc", true, Carrier::kLane},
                     {"TcpLane", "tcp", true, Carrier::kLane},
                     {"InprocLane", "inproc", true, Carrier::kLane}};

INSTANTIATE_TEST_SUITE_P(Ways, Conformance, testing::ValuesIn(kWays),
                         [](const auto& way) { return std::string(way.param.name); });

TEST(WhichCarriers, AreCompiledIn) {
  std::cout << "carriers of the stream: zmq, lane; ways:";
  for (const Way& way : kWays) std::cout << " " << way;
  std::cout << std::endl;
  EXPECT_EQ(std::size(kWays), 9u);
}

}  // namespace
}  // namespace pannier

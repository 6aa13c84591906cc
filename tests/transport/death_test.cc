// What happens when a process dies, stops or forks, with real processes and real signals.
#include "support.h"

namespace pannier {
namespace {

class Death : public testing::TestWithParam<Carrier> {
 protected:
  Death() {
    pool_ = *Pool::Create({.quota = 64 << 20, .name = "test"});
    options_.pool = pool_;
    options_.carrier = GetParam();
    listener_ = *Listener::Listen(dir_.Endpoint("s"), options_);
  }
  std::shared_ptr<Connection> Accept() {
    auto connection = listener_->Accept(In(20));
    EXPECT_TRUE(connection.ok()) << connection.status();
    return *connection;
  }

  TempDir dir_;
  std::shared_ptr<Pool> pool_;
  TransportOptions options_;
  std::shared_ptr<Listener> listener_;
};

constexpr int kKills = 50;

TEST_P(Death, OfAReceiverThatHoldsAHundredLeases) {
  size_t before = 0;
  for (int kill = 0; kill < kKills; ++kill) {
    Peer peer({"hold", listener_->endpoint()});
    {
      const auto connection = Accept();
      EXPECT_EQ(connection->info().pid, peer.pid());
      auto block = pool_->Allocate(20'000, In(5));
      ASSERT_TRUE(block.ok());
      for (int i = 0; i < 100; ++i) {
        ASSERT_TRUE(connection->Send({.buffers = {&*block, 1}}, In(5)).ok());
      }
      EXPECT_EQ(Leases(*pool_), 100u);
      peer.Kill();
      const auto start = absl::Now();
      EXPECT_EQ(KindOf(connection->Receive(In(5)).status()), ErrorKind::kConnectionLost);
      EXPECT_LT(absl::Now() - start, absl::Seconds(1));
      EXPECT_EQ(KindOf(connection->Send({}, In(5))), ErrorKind::kConnectionLost);
      EXPECT_EQ(Leases(*pool_), 0u);
      EXPECT_TRUE(pool_->Audit().ok());
    }
    if (kill == 0) before = OpenDescriptors();
  }
  EXPECT_TRUE(Eventually([&] { return OpenDescriptors() <= before; }));
  EXPECT_EQ(pool_->Stats().blocks, 0u);
}

TEST_P(Death, OfASenderWhoseBuffersAreHeld) {
  for (int kill = 0; kill < kKills; ++kill) {
    Peer peer({"send", listener_->endpoint(), "10"});
    const auto connection = Accept();
    std::vector<Message> held;
    for (int i = 0; i < 10; ++i) {
      auto message = connection->Receive(In(5));
      ASSERT_TRUE(message.ok()) << message.status();
      held.push_back(*std::move(message));
    }
    peer.Kill();
    EXPECT_EQ(KindOf(connection->Receive(In(1)).status()), ErrorKind::kConnectionLost);
    connection->Close();
    for (size_t i = 0; i < held.size(); ++i) {
      for (const std::byte byte : held[i].buffers[0].span()) {
        ASSERT_EQ(byte, static_cast<std::byte>(i));
      }
      held[i].buffers[0].mutable_data()[0] = std::byte{99};  // still writable, and ours
    }
  }
}

TEST_P(Death, OfASenderInTheMiddleOfAStream) {
  for (int kill = 0; kill < kKills; ++kill) {
    Peer peer({"flood", listener_->endpoint()});
    const auto connection = Accept();
    const int before_kill = kill * 7;
    int received = 0;
    for (;;) {
      auto message = connection->Receive(In(5));
      if (!message.ok()) {
        EXPECT_EQ(KindOf(message.status()), ErrorKind::kConnectionLost) << message.status();
        break;
      }
      EXPECT_EQ(AsText(message->stream.span()), std::to_string(received));
      const Buffer& buffer = message->buffers[0];
      EXPECT_EQ(buffer.span().front(), static_cast<std::byte>(received));
      EXPECT_EQ(buffer.span().back(), static_cast<std::byte>(received));
      if (++received == before_kill) peer.Signal(SIGKILL);
      if (before_kill == 0) peer.Signal(SIGKILL);
    }
    EXPECT_GE(received, before_kill);
  }
}

TEST_P(Death, OfAReceiverInTheMiddleOfAStream) {
  for (int kill = 0; kill < kKills; ++kill) {
    Peer peer({"hold", listener_->endpoint()});
    const auto connection = Accept();
    Buffer buffer = Pattern(20'000, 1);
    Status status;
    for (int i = 0; status.ok(); ++i) {
      if (i == kill) peer.Signal(SIGKILL);
      status = connection->Send({.buffers = {&buffer, 1}}, In(2));
      ASSERT_LT(i, 100'000);
    }
    EXPECT_EQ(KindOf(status), ErrorKind::kConnectionLost) << status;
    connection->Close();
    EXPECT_EQ(Leases(*pool_), 0u);
    EXPECT_EQ(pool_->Stats().blocks, 0u);
  }
}

TEST_P(Death, OfTheListenerEndsItsClientsAndANewOneWorksAtOnce) {
  Peer peer({"echo", listener_->endpoint()});
  Accept();  // and dropped: closed in good order
  EXPECT_EQ(peer.Join(), 0);
  Peer next({"echo", listener_->endpoint()});
  const auto connection = Accept();
  Buffer buffer = Pattern(100'000, 3);
  ASSERT_TRUE(connection->Send({.buffers = {&buffer, 1}}, In(5)).ok());
  auto back = connection->Receive(In(5));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_TRUE(SameBytes(back->buffers[0], buffer));
}

TEST_P(Death, AStoppedPeerIsNotADeadOne) {
  Peer peer({"echo", listener_->endpoint()});
  const auto connection = Accept();
  peer.Signal(SIGSTOP);
  Buffer buffer = Pattern(100'000, 3);
  ASSERT_TRUE(connection->Send({.buffers = {&buffer, 1}}, In(5)).ok());
  EXPECT_EQ(KindOf(connection->Receive(Deadline::After(absl::Milliseconds(300))).status()),
            ErrorKind::kDeadlineExceeded);
  EXPECT_EQ(Leases(*pool_), 1u);
  peer.Signal(SIGCONT);
  auto back = connection->Receive(In(5));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_TRUE(SameBytes(back->buffers[0], buffer));
}

TEST_P(Death, APoolThatAPeerHoldsIsExhaustedAndRecovers) {
  Peer peer({"hold", listener_->endpoint()});
  const auto connection = Accept();
  Buffer buffer = Pattern(8 << 20, 1);
  Status status;
  int sent = 0;
  while (status.ok() && sent < 100) {
    status = connection->Send({.buffers = {&buffer, 1}}, Deadline::After(absl::Milliseconds(200)));
    if (status.ok()) ++sent;
  }
  EXPECT_EQ(KindOf(status), ErrorKind::kPoolExhausted) << status;
  EXPECT_NE(std::string(status.message()).find("pid " + std::to_string(peer.pid())),
            std::string::npos)
      << status;
  EXPECT_GE(sent, 4);
  EXPECT_EQ(Leases(*pool_), static_cast<uint64_t>(sent)) << "the failed send left nothing";
  // Another peer's exhaustion is not ours for ever: its end brings all home.
  Peer other({"echo", listener_->endpoint()});
  const auto second = Accept();
  peer.Kill();
  ASSERT_TRUE(second->Send({.buffers = {&buffer, 1}}, In(5)).ok());
  EXPECT_TRUE(second->Receive(In(5)).ok());
}

TEST_P(Death, AForkedChildOwnsNothing) {
  Peer peer({"echo", listener_->endpoint()});
  const auto connection = Accept();
  Buffer buffer = Pattern(100'000, 3);
  ASSERT_TRUE(connection->Send({.buffers = {&buffer, 1}}, In(5)).ok());
  auto held = connection->Receive(In(5));
  ASSERT_TRUE(held.ok());
  const pid_t child = fork();
  if (child == 0) {
    const bool refused = KindOf(connection->Send({}, In(1))) == ErrorKind::kForked &&
                         KindOf(connection->Receive(In(1)).status()) == ErrorKind::kForked &&
                         KindOf(listener_->Accept(In(1)).status()) == ErrorKind::kForked;
    const bool readable = SameBytes(held->buffers[0], buffer);
    *held = Message();
    connection->Close();
    _exit(refused && readable ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_TRUE(SameBytes(held->buffers[0], buffer));
  ASSERT_TRUE(connection->Send({.buffers = {&buffer, 1}}, In(5)).ok());
  EXPECT_TRUE(connection->Receive(In(5)).ok());
}

TEST_P(Death, AForkedChildDoesNotKeepItsDeadParentsLinksAlive) {
  // A process between us and the peer: it connects, forks a child that lives on, and dies.
  const pid_t middle = fork();
  if (middle == 0) {
    TransportOptions options;
    options.pool = *Pool::Create({});
    auto connection = Connection::Connect(listener_->endpoint(), options, In(10));
    if (!connection.ok()) _exit(1);
    if (fork() == 0) {
      sleep(3);
      _exit(0);
    }
    for (;;) pause();
  }
  const auto connection = Accept();
  usleep(100'000);  // the grandchild is there
  kill(middle, SIGKILL);
  waitpid(middle, nullptr, 0);
  EXPECT_EQ(KindOf(connection->Receive(In(1)).status()), ErrorKind::kConnectionLost);
}

TEST_P(Death, IsNoticedOverTcpFramesToo) {
  TransportOptions options = options_;
  options.insecure = true;
  options.link = false;
  options.carrier = Carrier::kZmq;
  auto listener = Listener::Listen("tcp://127.0.0.1:*", options);
  ASSERT_TRUE(listener.ok());
  Peer peer({"hold", (*listener)->endpoint()});
  auto connection = (*listener)->Accept(In(20));
  ASSERT_TRUE(connection.ok()) << connection.status();
  EXPECT_FALSE((*connection)->info().link);
  peer.Kill();
  EXPECT_EQ(KindOf((*connection)->Receive(In(1)).status()), ErrorKind::kConnectionLost);
}

TEST_P(Death, LeavesNothingInSharedMemoryOrTheTemporaryDirectory) {
  const auto count = [](const char* path) {
    size_t files = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(path)) ++files;
    return files;
  };
  const size_t shm = count("/dev/shm");
  for (int i = 0; i < 5; ++i) {
    Peer peer({"echo", listener_->endpoint()});
    const auto connection = Accept();
    Buffer buffer = Pattern(100'000, 3);
    ASSERT_TRUE(connection->Send({.buffers = {&buffer, 1}}, In(5)).ok());
    peer.Kill();
  }
  EXPECT_EQ(count("/dev/shm"), shm);
  EXPECT_EQ(count(dir_.path().c_str()), 1u) << "the listener's socket";
  listener_->Close();
  EXPECT_EQ(count(dir_.path().c_str()), 0u);
}

INSTANTIATE_TEST_SUITE_P(Carriers, Death, testing::ValuesIn(kCarriers), CarrierName);

}  // namespace
}  // namespace pannier

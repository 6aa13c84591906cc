// The raw level: bytes and buffers, errors, deadlines, and what happens around calls.
#include <sys/wait.h>

#include <poll.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>

#include "pannier/rpc/envelope.h"
#include "rpc_test_base.h"

namespace pannier {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

RawHandler Echo() {
  return [](RawCall& call) -> StatusOr<RawResult> {
    return RawResult{std::move(call.stream), std::move(call.buffers)};
  };
}

StatusOr<std::string> CallText(Client& client, std::string_view method, std::string_view stream,
                               Deadline deadline = Soon()) {
  PANNIER_ASSIGN_OR_RETURN(const RawResult result,
                           client.CallRaw(method, {.stream = AsBytes(stream)}, deadline));
  return std::string(AsText(result.stream.span()));
}

class RawCalls : public RpcTest {
 protected:
  // A server that echoes, and a client of it.
  void SetUp() override {
    server_ = NewServer();
    server_->RawMethod("echo", Echo());
    server_->RawMethod("block", [this](RawCall&) -> StatusOr<RawResult> {
      while (!release_) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      return RawResult{BufferOf("done"), {}};
    });
  }
  void TearDown() override {
    release_ = true;  // handlers look at the fixture: they end before it does
    server_->Stop();
    server_->Wait().IgnoreError();
  }
  void Begin() {
    Start(*server_);
    client_ = Connect(server_->endpoint());
    ASSERT_NE(client_, nullptr);
  }

  std::atomic<bool> release_{false};  // lets "block" return
  std::unique_ptr<Server> server_;
  std::shared_ptr<Client> client_;
};

TEST_P(RawCalls, StreamAndBuffersComeBack) {
  Begin();
  EXPECT_EQ(client_->info().link, GetParam().link);
  for (const size_t size : {size_t{0}, size_t{1}, size_t{5000}, size_t{1} << 20}) {
    Buffer sent = Buffer::OfHeap(size);
    std::memset(sent.mutable_data(), 'x', size);
    const std::vector<Buffer> buffers = {sent, Buffer::CopyOf(AsBytes("tail")).AsReadonly()};
    const auto result =
        client_->CallRaw("echo", {.stream = AsBytes("abc"), .buffers = buffers}, Soon());
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(AsText(result->stream.span()), "abc");
    ASSERT_EQ(result->buffers.size(), 2u);
    EXPECT_EQ(AsText(result->buffers[0].span()), std::string(size, 'x'));
    EXPECT_EQ(AsText(result->buffers[1].span()), "tail");
    EXPECT_TRUE(result->buffers[1].readonly());
    EXPECT_EQ(result->buffers[0].readonly(), false);
  }
}

TEST_P(RawCalls, HandlerSeesTheCall) {
  server_->RawMethod("look", [&](RawCall& call) -> StatusOr<RawResult> {
    return RawResult{BufferOf(absl::StrCat(
                         std::string(call.method), " ", call.keywords, " ", call.deadline.never(),
                         " ", call.connection.info().same_user, " ", call.buffers.size())),
                     {}};
  });
  Begin();
  const auto result = client_->CallRaw("look", {.keywords = true}, Deadline::Never());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(AsText(result->stream.span()), absl::StrCat("look 1 1 ", GetParam().link, " 0"));
  EXPECT_EQ(*CallText(*client_, "look", ""), absl::StrCat("look 0 0 ", GetParam().link, " 0"));
}

TEST_P(RawCalls, ErrorsOfHandlersKeepKindAndMessage) {
  server_->RawMethod("status", [](RawCall&) -> StatusOr<RawResult> {
    return MakeError(ErrorKind::kForbiddenGlobal, "os.system may not be used");
  });
  server_->RawMethod("foreign", [](RawCall&) -> StatusOr<RawResult> {
    return absl::NotFoundError("no such row");
  });
  Begin();
  auto failed = CallText(*client_, "status", "");
  EXPECT_EQ(KindOf(failed), ErrorKind::kForbiddenGlobal);
  EXPECT_THAT(TextOf(failed), AllOf(HasSubstr("os.system may not be used"), HasSubstr("'status'"),
                                    HasSubstr(server_->endpoint())));
  auto failure = RemoteFailureOf(failed.status());
  ASSERT_TRUE(failure.has_value());
  EXPECT_EQ(failure->module, "pannier");
  EXPECT_EQ(failure->qualname, "ForbiddenGlobal");
  EXPECT_EQ(failure->message, "os.system may not be used");

  failed = CallText(*client_, "foreign", "");
  EXPECT_EQ(KindOf(failed), ErrorKind::kRemote);
  failure = RemoteFailureOf(failed.status());
  ASSERT_TRUE(failure.has_value());
  EXPECT_EQ(failure->module, "absl");
  EXPECT_EQ(failure->qualname, "NOT_FOUND");
}

TEST_P(RawCalls, RemoteFailureTravelsWhole) {
  RemoteFailure sent;
  sent.module = "builtins";
  sent.qualname = "ValueError";
  sent.message = "sigma is negative";
  sent.traceback = "Traceback (most recent call last): ...";
  sent.exception = std::string("\x80\x05 opaque \0 bytes", 16) + std::string(200000, 'e');
  server_->RawMethod("fail",
                     [sent](RawCall&) -> StatusOr<RawResult> { return MakeRemoteError(sent); });
  Begin();
  const auto failed = CallText(*client_, "fail", "");
  EXPECT_EQ(KindOf(failed), ErrorKind::kRemote);
  EXPECT_THAT(TextOf(failed), HasSubstr("ValueError: sigma is negative"));
  const auto failure = RemoteFailureOf(failed.status());
  ASSERT_TRUE(failure.has_value());
  EXPECT_EQ(failure->module, sent.module);
  EXPECT_EQ(failure->qualname, sent.qualname);
  EXPECT_EQ(failure->message, sent.message);
  EXPECT_EQ(failure->traceback, sent.traceback);
  EXPECT_EQ(failure->exception, sent.exception);
}

TEST_P(RawCalls, ExceptionsOfHandlersBecomeErrors) {
  server_->RawMethod(
      "throw", [](RawCall&) -> StatusOr<RawResult> { throw std::out_of_range("row 7 of 3"); });
  server_->RawMethod("throw_int", [](RawCall&) -> StatusOr<RawResult> { throw 42; });
  Begin();
  auto failed = CallText(*client_, "throw", "");
  EXPECT_EQ(KindOf(failed), ErrorKind::kRemote);
  EXPECT_THAT(TextOf(failed), HasSubstr("std::out_of_range: row 7 of 3"));
  failed = CallText(*client_, "throw_int", "");
  EXPECT_EQ(KindOf(failed), ErrorKind::kRemote);
  EXPECT_EQ(RemoteFailureOf(failed.status())->qualname, "int");
  EXPECT_EQ(*CallText(*client_, "echo", "still here"), "still here");
}

TEST_P(RawCalls, UnknownMethodNamesWhatThereIs) {
  for (int i = 0; i < 30; ++i) server_->RawMethod(absl::StrCat("m", i), Echo());
  Begin();
  const auto failed = CallText(*client_, "ecco", "");
  EXPECT_EQ(KindOf(failed), ErrorKind::kUnknownMethod);
  EXPECT_THAT(TextOf(failed), AllOf(HasSubstr("'ecco'"), HasSubstr("echo, "),
                                    HasSubstr("and 16 more"), HasSubstr(server_->endpoint())));
}

TEST_P(RawCalls, MethodNamesAreChecked) {
  Begin();
  EXPECT_EQ(KindOf(CallText(*client_, "", "")), ErrorKind::kInvalidArgument);
  EXPECT_EQ(KindOf(CallText(*client_, std::string(1025, 'm'), "")), ErrorKind::kInvalidArgument);
  EXPECT_EQ(KindOf(CallText(*client_, std::string(1024, 'm'), "")), ErrorKind::kUnknownMethod);
}

TEST_P(RawCalls, MethodsMayBeNamedAndReplacedWhileServing) {
  Begin();
  server_->RawMethod("late", [&](RawCall&) -> StatusOr<RawResult> {
    server_->RawMethod("late", Echo());
    return RawResult{BufferOf("first"), {}};
  });
  EXPECT_EQ(*CallText(*client_, "late", "second"), "first");
  EXPECT_EQ(*CallText(*client_, "late", "second"), "second");
}

TEST_P(RawCalls, ClientGivesUpAtItsDeadlineAndTheLateReplyIsDropped) {
  server_->RawMethod("slow", [&](RawCall& call) -> StatusOr<RawResult> {
    while (!release_) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return RawResult{BufferOf("late"), std::move(call.buffers)};
  });
  Begin();
  const auto start = std::chrono::steady_clock::now();
  const std::vector<Buffer> buffers = {Buffer::OfHeap(1 << 20)};
  const auto late = client_->CallRaw("slow", {.buffers = buffers}, In(absl::Milliseconds(100)));
  const auto waited = std::chrono::steady_clock::now() - start;
  EXPECT_EQ(KindOf(late), ErrorKind::kDeadlineExceeded) << late.status();
  EXPECT_FALSE(RemoteFailureOf(late.status()).has_value());
  EXPECT_THAT(TextOf(late), HasSubstr("'slow'"));
  EXPECT_GE(waited, std::chrono::milliseconds(100));
  EXPECT_LT(waited, std::chrono::seconds(5));
  release_ = true;
  // The next reply is the next call's, and nothing of the late one is held.
  EXPECT_EQ(*CallText(*client_, "echo", "next"), "next");
}

TEST_P(RawCalls, CallWhoseTimeIsOverIsNotRun) {
  std::atomic<int> ran{0};
  server_->RawMethod("count", [&](RawCall&) -> StatusOr<RawResult> {
    ++ran;
    return RawResult();
  });
  Begin();
  auto blocked = client_->StartRaw("block", {}, Soon());
  ASSERT_TRUE(blocked.ok()) << blocked.status();
  EXPECT_EQ(KindOf(CallText(*client_, "count", "", In(absl::Milliseconds(50)))),
            ErrorKind::kDeadlineExceeded);
  release_ = true;
  EXPECT_TRUE(blocked->Wait(Soon()).ok());
  EXPECT_EQ(*CallText(*client_, "echo", "x"), "x");
  EXPECT_EQ(ran, 0);
}

TEST_P(RawCalls, ServerAnswersThatTimeIsOver) {
  Begin();
  // Over before it was sent: the server says so, unless this side notices first.
  const auto late = client_->CallRaw("echo", {}, In(absl::Nanoseconds(1)));
  EXPECT_EQ(KindOf(late), ErrorKind::kDeadlineExceeded) << late.status();
  EXPECT_EQ(*CallText(*client_, "echo", "x"), "x");
}

TEST_P(RawCalls, ManyThreadsShareOneClient) {
  Begin();
  constexpr int kThreads = 8, kCalls = 200;
  std::vector<std::thread> threads;
  std::atomic<int> right{0};
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kCalls; ++i) {
        const std::string text = absl::StrCat(t, ":", i);
        const auto got = CallText(*client_, "echo", text);
        if (got.ok() && *got == text) ++right;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, kThreads * kCalls);
}

TEST_P(RawCalls, AThreadGivesUpWhileOthersReceive) {
  Begin();
  std::vector<std::thread> threads;
  std::atomic<int> late{0}, done{0};
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([&, t] {
      const bool patient = t % 2 == 0;
      const auto got =
          CallText(*client_, "block", "", patient ? Soon() : In(absl::Milliseconds(30 + 20 * t)));
      if (!patient && KindOf(got) == ErrorKind::kDeadlineExceeded && ++late == 3) release_ = true;
      if (patient && got.ok()) ++done;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(late, 3);
  EXPECT_EQ(done, 3);
}

TEST_P(RawCalls, MoreCallsInFlightThanTheWindowHolds) {
  Begin();
  constexpr int kCalls = 20000;
  std::vector<PendingCall> pending;
  for (int i = 0; i < kCalls; ++i) {
    const std::string text = absl::StrCat(i);
    auto call = client_->StartRaw("echo", {.stream = AsBytes(text)}, Soon());
    ASSERT_TRUE(call.ok()) << i << ": " << call.status();
    pending.push_back(*std::move(call));
  }
  for (int i = kCalls - 1; i >= 0; --i) {
    const auto result = pending[i].Wait(Soon());
    ASSERT_TRUE(result.ok()) << i << ": " << result.status();
    EXPECT_EQ(AsText(result->stream.span()), absl::StrCat(i));
  }
}

TEST_P(RawCalls, PendingCalls) {
  Begin();
  auto call = client_->StartRaw("block", {}, Soon());
  ASSERT_TRUE(call.ok());
  EXPECT_FALSE(call->Done());
  EXPECT_EQ(KindOf(call->Wait(Deadline::Now())), ErrorKind::kDeadlineExceeded);
  std::atomic<int> told{0};
  call->OnDone([&] { ++told; });
  release_ = true;
  EXPECT_EQ(AsText(call->Wait(Soon())->stream.span()), "done");
  EXPECT_EQ(told, 1);
  EXPECT_TRUE(call->Done());
  EXPECT_EQ(KindOf(call->Wait(Soon())), ErrorKind::kInvalidArgument);

  auto cancelled = client_->StartRaw("echo", {}, Soon());
  ASSERT_TRUE(cancelled.ok());
  cancelled->Cancel();
  EXPECT_EQ(KindOf(cancelled->Wait(Soon())), ErrorKind::kCancelled);
  { auto dropped = client_->StartRaw("echo", {}, Soon()); }
  EXPECT_EQ(*CallText(*client_, "echo", "after"), "after");
  EXPECT_EQ(KindOf(PendingCall().Wait()), ErrorKind::kInvalidArgument);
}

TEST_P(RawCalls, DispatchCompletesCallsThatNobodyWaitsFor) {
  Begin();
  auto call = client_->StartRaw("echo", {.stream = AsBytes("a")}, Soon());
  auto expires = client_->StartRaw("echo", {}, Deadline::Now());
  ASSERT_TRUE(call.ok());
  bool told = false;
  call->OnDone([&] { told = true; });
  const Deadline give_up = Soon();
  while (!call->Done() && !give_up.Passed()) {
    ASSERT_TRUE(client_->Dispatch(In(absl::Milliseconds(100))).ok());
  }
  EXPECT_TRUE(told);
  EXPECT_EQ(AsText(call->Wait()->stream.span()), "a");
  EXPECT_TRUE(client_->fd().ok());
}

TEST_P(RawCalls, OneDispatchEndsSomeDozensOfCalls) {
  constexpr size_t kCalls = 200;
  constexpr size_t kMost = 128;  // 64 that are answered, 64 whose time is over
  Begin();
  const auto fd = client_->fd();
  ASSERT_TRUE(fd.ok());
  // Ends all calls in flight, and returns how often that took a Dispatch that ended one.
  const auto finish = [&] {
    int times = 0;
    const Deadline give_up = Soon();
    while (client_->InFlight() > 0 && !give_up.Passed()) {
      const size_t before = client_->InFlight();
      EXPECT_TRUE(client_->Dispatch().ok());
      const size_t ended = before - client_->InFlight();
      EXPECT_LE(ended, kMost);
      if (ended > 0) ++times;
    }
    return times;
  };
  std::vector<PendingCall> calls;
  for (size_t i = 0; i < kCalls; ++i) {
    auto call = client_->StartRaw("echo", {.stream = AsBytes("a")}, Soon());
    ASSERT_TRUE(call.ok());
    calls.push_back(*std::move(call));
  }
  while (server_->Stats().calls < kCalls) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  // What one leaves shows in the descriptor.
  while (client_->InFlight() > 0) {
    pollfd poll_fd{*fd, POLLIN, 0};
    ASSERT_EQ(poll(&poll_fd, 1, 20'000), 1) << client_->InFlight();
    const size_t before = client_->InFlight();
    ASSERT_TRUE(client_->Dispatch().ok());
    EXPECT_LE(before - client_->InFlight(), kMost);
  }
  for (PendingCall& call : calls) EXPECT_EQ(AsText(call.Wait()->stream.span()), "a");

  calls.clear();
  const Deadline end = In(absl::Milliseconds(50));
  for (size_t i = 0; i < kCalls; ++i) {
    auto call = client_->StartRaw("block", {}, end);
    ASSERT_TRUE(call.ok());
    calls.push_back(*std::move(call));
  }
  while (!end.Passed()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_TRUE(client_->Overdue());
  EXPECT_GE(finish(), 2);
  EXPECT_FALSE(client_->Overdue());
  release_ = true;
}

TEST_P(RawCalls, CloseFailsWhatIsInFlight) {
  Begin();
  std::atomic<int> closed{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      if (KindOf(CallText(*client_, "block", "")) == ErrorKind::kClosed) ++closed;
    });
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  client_->Close();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(closed, 3);
  EXPECT_EQ(KindOf(CallText(*client_, "echo", "")), ErrorKind::kClosed);
  EXPECT_EQ(KindOf(client_->status()), ErrorKind::kClosed);
  release_ = true;
}

TEST_P(RawCalls, StoppedServerEndsItsConnections) {
  Begin();
  EXPECT_EQ(*CallText(*client_, "echo", "x"), "x");
  std::thread stopper([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    server_->Stop();
  });
  EXPECT_TRUE(server_->Wait().ok());
  stopper.join();
  EXPECT_EQ(server_->endpoint(), "");
  const auto lost = CallText(*client_, "echo", "x");
  EXPECT_EQ(KindOf(lost), ErrorKind::kConnectionLost) << lost.status();
  // And starts again.
  Start(*server_);
  client_ = Connect(server_->endpoint());
  EXPECT_EQ(*CallText(*client_, "echo", "again"), "again");
}

TEST_P(RawCalls, AHandlerMayStopTheServer) {
  server_->RawMethod("stop", [&](RawCall&) -> StatusOr<RawResult> {
    server_->Stop();
    EXPECT_EQ(KindOf(server_->Wait()), ErrorKind::kInvalidArgument);
    return RawResult{BufferOf("stopping"), {}};
  });
  Begin();
  EXPECT_EQ(*CallText(*client_, "stop", ""), "stopping");
  EXPECT_TRUE(server_->Wait().ok());
}

TEST_P(RawCalls, MisuseOfAServerIsAnError) {
  EXPECT_EQ(KindOf(server_->Serve()), ErrorKind::kInvalidArgument);
  EXPECT_EQ(server_->endpoint(), "");
  EXPECT_EQ(KindOf(server_->Run("nonsense")), ErrorKind::kInvalidArgument);
  Begin();
  EXPECT_EQ(KindOf(server_->Listen(NewEndpoint(GetParam()))), ErrorKind::kInvalidArgument);
  EXPECT_EQ(KindOf(server_->Serve()), ErrorKind::kInvalidArgument);
  EXPECT_EQ(*CallText(*client_, "echo", "x"), "x");
}

TEST_P(RawCalls, StopBeforeServe) {
  ASSERT_TRUE(server_->Listen(NewEndpoint(GetParam())).ok());
  server_->Stop();
  EXPECT_TRUE(server_->Serve().ok());
}

TEST_P(RawCalls, InterruptHookEndsServe) {
  ServerOptions options;
  std::atomic<bool> interrupt{false};
  options.transport.interrupted = [&] { return interrupt.load(); };
  server_ = NewServer(options);
  ASSERT_TRUE(server_->Start(NewEndpoint(GetParam())).ok());
  interrupt = true;
  EXPECT_EQ(KindOf(server_->Wait()), ErrorKind::kInterrupted);
}

TEST_P(RawCalls, InterruptHookEndsCallsAndTheClientGoesOn) {
  Begin();
  std::atomic<bool> interrupt{false};
  std::atomic<int> asked{0};
  ClientOptions options;
  options.transport = Transport();
  options.transport.interrupted = [&] {
    ++asked;
    return interrupt.load();
  };
  const auto client = Client::Connect(server_->endpoint(), options);
  ASSERT_TRUE(client.ok()) << client.status();
  // Of the two one has the duty of receiving, the other follows: both are asked.
  std::atomic<int> interrupted{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      const auto got = CallText(**client, "block", "");
      EXPECT_EQ(KindOf(got), ErrorKind::kInterrupted) << got.status();
      ++interrupted;
    });
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(interrupted, 0);
  interrupt = true;
  for (std::thread& thread : threads) thread.join();
  interrupt = false;
  release_ = true;
  EXPECT_EQ(*CallText(**client, "echo", "goes on"), "goes on");
  EXPECT_GE(asked, 2);
}

TEST_P(RawCalls, AForkedChildIsToldThatTheClientIsNotIts) {
  Begin();
  auto pending = client_->StartRaw("echo", {}, Soon());
  ASSERT_TRUE(pending.ok());
  // The server's thread, which allocates, is done: an address sanitizer's allocator has locks that
  // a fork may copy locked.
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const pid_t child = fork();
  if (child == 0) {
    const bool right = KindOf(client_->CallRaw("echo", {}, Soon())) == ErrorKind::kForked &&
                       KindOf(pending->Wait(Soon())) == ErrorKind::kForked &&
                       KindOf(client_->status()) == ErrorKind::kForked;
    *pending = PendingCall();
    client_.reset();
    _exit(right ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  // And the child's end took nothing from the parent.
  EXPECT_TRUE(pending->Wait(Soon()).ok());
  EXPECT_EQ(*CallText(*client_, "echo", "here"), "here");
}

TEST_P(RawCalls, ServerOutlivesItsClients) {
  std::atomic<int> connected{0}, ended{0};
  ServerOptions options;
  options.on_connected = [&](const Connection&) { ++connected; };
  options.on_ended = [&](const Connection&, const Status& why) {
    if (KindOf(why) == ErrorKind::kConnectionLost) ++ended;
  };
  server_ = NewServer(options);
  server_->RawMethod("echo", Echo());
  Start(*server_);
  for (int i = 0; i < 5; ++i) {
    const auto client = Connect(server_->endpoint());
    EXPECT_EQ(*CallText(*client, "echo", "x"), "x");
    // Leaves with a call under way.
    client->StartRaw("echo", {}, Soon()).IgnoreError();
  }
  const Deadline give_up = Soon();
  while (ended < 5 && !give_up.Passed()) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  EXPECT_EQ(connected, 5);
  EXPECT_EQ(ended, 5);
}

TEST_P(RawCalls, ACallerThatTakesNoRepliesHoldsUpNobody) {
  Begin();
  const auto lazy = Connect(server_->endpoint());
  // More replies than the window of 64 MiB, or 1,024 messages, has room for. Sending looks
  // for replies, so the connection is asked below the client.
  std::vector<PendingCall> pending;
  const std::string big(1 << 20, 'b');
  for (int i = 0; i < 100; ++i) {
    auto call = lazy->StartRaw("echo", {.stream = AsBytes(big)}, Soon());
    ASSERT_TRUE(call.ok()) << call.status();
    pending.push_back(*std::move(call));
    if (i % 10 == 0) {
      EXPECT_EQ(*CallText(*client_, "echo", "quick"), "quick");
    }
  }
  for (PendingCall& call : pending) {
    const auto result = call.Wait(Soon());
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->stream.size(), big.size());
  }
}

TEST_P(RawCalls, APeerThatNeverTakesItsRepliesIsClosed) {
  ServerOptions options;
  options.max_waiting_bytes = 8 << 20;
  std::atomic<bool> ended{false};
  options.on_ended = [&](const Connection&, const Status& why) {
    EXPECT_EQ(KindOf(why), ErrorKind::kLimit) << why;
    EXPECT_THAT(std::string(why.message()), HasSubstr("does not take its replies"));
    ended = true;
  };
  server_ = NewServer(options);
  server_->RawMethod("echo", Echo());
  Start(*server_);
  const auto bare = Connection::Connect(server_->endpoint(), Transport(), Soon());
  ASSERT_TRUE(bare.ok()) << bare.status();
  const std::string big(1 << 20, 'b');
  Status sent;
  for (int i = 1; i < 200 && sent.ok(); ++i) {
    const rpc::EnvelopeBytes envelope = rpc::RequestEnvelope(i, "echo", 0, Deadline::Never());
    sent = (*bare)->Send({.envelope = envelope.span(), .stream = AsBytes(big)}, Soon());
  }
  EXPECT_EQ(KindOf(sent), ErrorKind::kConnectionLost) << sent;
  const Deadline give_up = Soon();
  while (!ended && !give_up.Passed()) std::this_thread::yield();
  EXPECT_TRUE(ended);
  server_->Stop();
  EXPECT_TRUE(server_->Wait().ok());
}

INSTANTIATE_TEST_SUITE_P(Ways, RawCalls, ::testing::ValuesIn(kWays), WayName);

}  // namespace
}  // namespace pannier

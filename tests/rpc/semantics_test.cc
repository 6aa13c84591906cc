// What docs/calls.md says becomes of a call, for C++ on both sides: sequences, contexts, cancels,
// limits, stops, connecting again.
#include <atomic>
#include <chrono>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "pannier/rpc/receiver.h"
#include "rpc_test_base.h"

namespace pannier {
namespace {

using ::testing::HasSubstr;

bool Eventually(const std::function<bool()>& condition) {
  const Deadline end = Soon();
  while (!condition()) {
    if (end.Passed()) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

class Semantics : public RpcTest {
 protected:
  // A server of `options`, with methods that tell what became of them, and a client of it.
  void Begin(ServerOptions options = {}, absl::Duration reconnect = absl::ZeroDuration()) {
    server_ = NewServer(std::move(options));
    server_->Method(
        "add", [](int left, int right) { return left + right; }, "The sum.");
    server_->Method("block", [this] {
      ++running_;
      while (!release_) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      return 1;
    });
    server_->Method("poll", [this](CallContext& call, int) -> Status {
      ++running_;
      while (!call.cancelled() && !release_) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      Tell(call.Check());
      return absl::OkStatus();
    });
    server_->Method("count", [this](CallContext& call, int stop) -> Status {
      ++running_;
      for (int number = 0; number < stop; ++number) {
        const Status sent = call.Emit(number);
        emitted_ = number;
        if (sent.ok()) continue;
        Tell(sent);
        return sent;
      }
      return absl::OkStatus();
    });
    server_->RawMethod("later", [this](RawCall& call) -> StatusOr<RawResult> {
      call.context->Defer();
      const std::lock_guard lock(mutex_);
      later_.push_back(call.context);
      return RawResult();
    });
    Start(*server_);
    ClientOptions client;
    client.transport = Transport();
    client.reconnect_timeout = reconnect;
    auto connected = Client::Connect(server_->endpoint(), client);
    ASSERT_TRUE(connected.ok()) << connected.status();
    client_ = *std::move(connected);
  }
  void TearDown() override {
    release_ = true;  // handlers look at the fixture: they end before it does
    if (server_ != nullptr) {
      server_->Stop();
      server_->Wait().IgnoreError();
    }
  }
  void Tell(const Status& status) {
    const std::lock_guard lock(mutex_);
    told_.push_back(KindOf(status));
  }
  bool Told(ErrorKind kind) {
    const std::lock_guard lock(mutex_);
    return !told_.empty() && told_.back() == kind;
  }
  StatusOr<PendingCall> Pend(std::string_view method, Deadline deadline = Soon()) {
    const auto arguments =
        method == "poll" ? codec::DumpsArguments({}, 1) : codec::DumpsArguments({});
    return client_->StartRaw(method, {.stream = AsBytes(arguments->stream)}, deadline);
  }

  std::atomic<bool> release_{false};
  std::atomic<int> running_{0}, emitted_{-1};
  std::mutex mutex_;
  std::vector<ErrorKind> told_;                      // guarded by mutex_
  std::vector<std::shared_ptr<CallContext>> later_;  // guarded by mutex_
  std::unique_ptr<Server> server_;
  std::shared_ptr<Client> client_;
};

TEST_P(Semantics, SequencesOfAnyLength) {
  for (const size_t threads : {size_t{0}, size_t{2}}) {
    Begin({.threads = threads});
    for (const int length : {0, 1, 7, 1000}) {
      auto numbers = client_->CallStream<int>({.deadline = Soon()}, "count", length);
      ASSERT_TRUE(numbers.ok()) << numbers.status();
      for (int expected = 0; expected < length; ++expected) {
        const auto number = numbers->Next();
        ASSERT_TRUE(number.ok()) << number.status();
        ASSERT_TRUE(number->has_value());
        EXPECT_EQ(**number, expected);
      }
      const auto end = numbers->Next();
      ASSERT_TRUE(end.ok()) << end.status();
      EXPECT_FALSE(end->has_value());
      EXPECT_FALSE((*numbers->Next()).has_value());  // and again
    }
    TearDown();
  }
}

TEST_P(Semantics, SlowReaderHoldsOneHandlerThreadAlone) {
  Begin({.threads = 2});
  auto numbers = client_->CallStream<int>({}, "count", 1 << 30);
  ASSERT_TRUE(numbers.ok());
  ASSERT_EQ(**numbers->Next(Soon()), 0);
  EXPECT_EQ(*client_->Call<int>("add", 1, 2), 3);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_LE(emitted_, static_cast<int>(kDefaultCredit) + 1);
  numbers->Cancel();
  EXPECT_TRUE(Eventually([&] { return Told(ErrorKind::kCancelled); }));
}

TEST_P(Semantics, DroppedSequenceIsCancelled) {
  Begin();  // the serving thread waits in Emit, and takes in what comes
  {
    auto numbers = client_->CallStream<int>({}, "count", 1 << 30);
    ASSERT_EQ(**numbers->Next(Soon()), 0);
  }
  EXPECT_TRUE(Eventually([&] { return Told(ErrorKind::kCancelled); }));
  EXPECT_EQ(*client_->Call<int>("add", 1, 2), 3);
}

TEST_P(Semantics, EmitForACallOfOneValueIsRefused) {
  Begin();
  const auto one = client_->Call<int>({.deadline = Soon()}, "count", 5);
  EXPECT_EQ(KindOf(one), ErrorKind::kInvalidArgument) << one.status();
  EXPECT_THAT(TextOf(one), HasSubstr("as a stream"));
}

TEST_P(Semantics, CancelReachesTheHandler) {
  for (const size_t threads : {size_t{0}, size_t{1}}) {
    Begin({.threads = threads});
    auto call = Pend("poll");
    ASSERT_TRUE(call.ok());
    const int before = running_;
    ASSERT_TRUE(Eventually([&] { return running_ > 0 || before > 0; }));
    call->Cancel();
    EXPECT_EQ(KindOf(call->Wait(Soon())), ErrorKind::kCancelled);
    EXPECT_TRUE(Eventually([&] { return server_->Stats().in_flight == 0; }));
    EXPECT_EQ(server_->Stats().cancelled, 1u);
    TearDown();
    release_ = false;
    running_ = 0;
  }
  EXPECT_TRUE(Told(ErrorKind::kCancelled));
}

TEST_P(Semantics, DeadlineReachesTheHandler) {
  Begin();
  const auto late = client_->Call<void>({.deadline = In(absl::Milliseconds(100))}, "poll", 1);
  EXPECT_EQ(KindOf(late), ErrorKind::kDeadlineExceeded) << late;
  EXPECT_TRUE(Eventually([&] { return Told(ErrorKind::kDeadlineExceeded); }));
}

TEST_P(Semantics, EndOfTheCallerReachesTheHandler) {
  Begin();
  auto call = Pend("poll");
  ASSERT_TRUE(Eventually([&] { return running_ > 0; }));
  client_->Close();
  EXPECT_EQ(KindOf(call->Wait(Soon())), ErrorKind::kClosed);
  EXPECT_TRUE(Eventually([&] { return Told(ErrorKind::kConnectionLost); }));
}

TEST_P(Semantics, HandlersRunSideBySideAndAnswerInAnyOrder) {
  Begin({.threads = 2});
  auto slow = Pend("block");
  for (int i = 0; i < 20; ++i) EXPECT_EQ(*client_->Call<int>("add", i, 1), i + 1);
  EXPECT_FALSE(slow->Done());
  release_ = true;
  EXPECT_TRUE(slow->Wait(Soon()).ok());
}

TEST_P(Semantics, AnswersMayComeLaterFromAnyThread) {
  Begin();
  auto call = Pend("later");
  ASSERT_TRUE(Eventually([&] {
    const std::lock_guard lock(mutex_);
    return later_.size() == 1;
  }));
  EXPECT_EQ(*client_->Call<int>("add", 1, 2), 3);
  EXPECT_EQ(server_->Stats().in_flight, 1u);
  std::thread([&] {
    const std::lock_guard lock(mutex_);
    later_[0]->Finish(RawResult{BufferOf("later"), {}});
    later_[0]->Finish(RawResult{BufferOf("too late"), {}});
  }).join();
  const auto result = call->Wait(Soon());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(AsText(result->stream.span()), "later");
}

TEST_P(Semantics, DroppedAnswerIsAnError) {
  Begin();
  auto call = Pend("later");
  ASSERT_TRUE(Eventually([&] {
    const std::lock_guard lock(mutex_);
    return later_.size() == 1;
  }));
  {
    const std::lock_guard lock(mutex_);
    later_.clear();
  }
  const auto result = call->Wait(Soon());
  EXPECT_EQ(KindOf(result), ErrorKind::kRemote);
  EXPECT_THAT(TextOf(result), HasSubstr("dropped the call"));
}

TEST_P(Semantics, OneWayCallsRunInOrderAndAnswerNothing) {
  std::vector<int> seen;
  Begin();
  server_->Method("note", [&](int number) -> Status {
    const std::lock_guard lock(mutex_);
    seen.push_back(number);
    return absl::UnavailableError("nobody hears this");
  });
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(client_->Notify("note", i).ok());
  ASSERT_TRUE(client_->Notify("nothing").ok());
  EXPECT_EQ(*client_->Call<int>("add", 1, 2), 3);
  EXPECT_EQ(client_->InFlight(), 0u);
  const std::lock_guard lock(mutex_);
  ASSERT_EQ(seen.size(), 50u);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(seen[i], i);
}

TEST_P(Semantics, LimitsAreRefusalsAndMayBeRetried) {
  Begin({.threads = 1, .max_calls_per_peer = 2});
  auto first = Pend("block"), second = Pend("block");
  ASSERT_TRUE(Eventually([&] { return server_->Stats().in_flight == 2; }));
  const auto refused = client_->Call<int>("add", 1, 2);
  EXPECT_EQ(KindOf(refused), ErrorKind::kLimit) << refused.status();
  EXPECT_EQ(server_->Stats().refused, 1u);
  std::thread releaser([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    release_ = true;
  });
  const auto retried = client_->Call<int>({.deadline = Soon(), .retries = 100}, "add", 1, 2);
  releaser.join();
  ASSERT_TRUE(retried.ok()) << retried.status();
  EXPECT_EQ(*retried, 3);
  EXPECT_TRUE(first->Wait(Soon()).ok());
  EXPECT_TRUE(second->Wait(Soon()).ok());
}

TEST_P(Semantics, DrainAnswersWhatCameAndRefusesWhatComes) {
  Begin({.threads = 1});
  auto running = Pend("block"), waiting = Pend("block");
  ASSERT_TRUE(Eventually([&] { return server_->Stats().queued == 1 && running_ == 1; }));
  server_->Drain();
  ASSERT_TRUE(
      Eventually([&] { return KindOf(client_->Call<int>("add", 1, 2)) == ErrorKind::kRefused; }));
  release_ = true;
  EXPECT_TRUE(running->Wait(Soon()).ok());
  EXPECT_TRUE(waiting->Wait(Soon()).ok());
  EXPECT_TRUE(server_->Wait().ok());
  EXPECT_EQ(KindOf(client_->Call<int>("add", 1, 2)), ErrorKind::kConnectionLost);
}

TEST_P(Semantics, StopDropsWhatWaitsAndLetsAnswerWhatRuns) {
  Begin({.threads = 1});
  auto running = Pend("poll"), waiting = Pend("block");
  ASSERT_TRUE(Eventually([&] { return server_->Stats().queued == 1 && running_ == 1; }));
  server_->Stop();
  EXPECT_TRUE(running->Wait(Soon()).ok());
  EXPECT_EQ(KindOf(waiting->Wait(Soon())), ErrorKind::kConnectionLost);
  EXPECT_TRUE(server_->Wait().ok());
  EXPECT_TRUE(Told(ErrorKind::kClosed));
  EXPECT_EQ(running_, 1);
}

TEST_P(Semantics, IntrospectionNamesMethods) {
  Begin();
  using Methods = std::vector<std::tuple<std::string, std::string, std::string>>;
  const auto methods = client_->Call<Methods>(kMethodsMethod);
  ASSERT_TRUE(methods.ok()) << methods.status();
  EXPECT_EQ(methods->front(), std::make_tuple("add", "add(int32, int32) -> int32", "The sum."));
  EXPECT_EQ(methods->size(), 5u);
}

TEST_P(Semantics, StatisticsCount) {
  Begin();
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(client_->Call<int>("add", i, 1).ok());
  EXPECT_FALSE(client_->Call<int>("add", "a").ok());
  const ServerStats stats = server_->Stats();
  EXPECT_EQ(stats.calls, 6u);
  EXPECT_EQ(stats.failed, 1u);
  EXPECT_EQ(stats.methods.at("add").calls, 6u);
  EXPECT_EQ(stats.in_flight, 0u);
  EXPECT_EQ(stats.in_flight_bytes, 0u);
  EXPECT_EQ(stats.connections, 1u);
}

TEST_P(Semantics, LostConnectionIsMadeAgain) {
  Begin({}, absl::Seconds(20));
  const std::string endpoint = server_->endpoint();
  auto lost = Pend("later");
  server_->Stop();
  ASSERT_TRUE(server_->Wait().ok());
  EXPECT_EQ(KindOf(lost->Wait(Soon())), ErrorKind::kConnectionLost);
  std::thread restarter([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    EXPECT_TRUE(server_->Start(endpoint).ok());
  });
  const auto sum = client_->Call<int>({.deadline = Soon()}, "add", 1, 2);
  restarter.join();
  ASSERT_TRUE(sum.ok()) << sum.status();
  EXPECT_EQ(*sum, 3);
}

TEST_P(Semantics, TryStartHoldsNoCallWhereThereIsNoRoom) {
  Begin();
  auto blocker = Pend("block");
  std::vector<PendingCall> calls;
  const auto arguments = codec::DumpsArguments({}, 1, 2);
  for (int i = 0; i < 100000; ++i) {
    auto call = client_->TryStartRaw("add", {.stream = AsBytes(arguments->stream)});
    ASSERT_TRUE(call.ok()) << call.status();
    if (!*call) break;
    calls.push_back(*std::move(call));
  }
  EXPECT_GT(calls.size(), 10u);
  EXPECT_LT(calls.size(), 100000u);
  release_ = true;
  for (PendingCall& call : calls) EXPECT_TRUE(call.Wait(Soon()).ok());
}

TEST_P(Semantics, ReceiverServesCallsThatNobodyWaitsFor) {
  Begin();
  auto receiver = *Receiver::Make();
  std::thread thread([&] { receiver->Run(); });
  receiver->Add(client_);
  for (int round = 0; round < 3; ++round) {
    std::atomic<int> done{0};
    std::vector<PendingCall> calls;
    const auto arguments = codec::DumpsArguments({}, 1, 2);
    for (int i = 0; i < 100; ++i) {
      calls.push_back(*client_->StartRaw("add", {.stream = AsBytes(arguments->stream)}));
      calls.back().OnDone([&] { ++done; });
    }
    receiver->Kick(round == 0);
    EXPECT_TRUE(Eventually([&] { return done == 100; }));
    std::this_thread::sleep_for(std::chrono::milliseconds(50));  // asleep by then
  }
  // Its deadline is kept, too.
  auto late = Pend("later", In(absl::Milliseconds(50)));
  receiver->Kick(true);
  EXPECT_TRUE(Eventually([&] { return late->Done(); }));
  receiver->Stop();
  thread.join();
}

INSTANTIATE_TEST_SUITE_P(Ways, Semantics, ::testing::ValuesIn(kWays), WayName);

}  // namespace
}  // namespace pannier

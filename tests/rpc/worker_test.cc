// Servers in processes of their own: WorkerMain's protocol, and the death of either side.
#include "worker_process.h"

#include <sys/socket.h>

#include <atomic>
#include <thread>

#include "rpc_test_base.h"

namespace pannier {
namespace {

using ::testing::HasSubstr;

constexpr char kWorker[] = PANNIER_TEST_WORKER;

class Workers : public RpcTest {
 protected:
  std::unique_ptr<WorkerProcess> StartWorker() {
    if (GetParam().link) {
      unsetenv("PANNIER_TEST_NO_LINK");
    } else {
      setenv("PANNIER_TEST_NO_LINK", "1", 1);
    }
    auto worker = std::make_unique<WorkerProcess>(kWorker, NewEndpoint(GetParam()));
    EXPECT_NE(worker->ready(), "");
    return worker;
  }
};

TEST_P(Workers, ServesAndStopsWhenItsParentIsGone) {
  const auto worker = StartWorker();
  const auto client = Connect(worker->ready());
  const auto pid = client->CallRaw("pid", {}, Soon());
  ASSERT_TRUE(pid.ok()) << pid.status();
  EXPECT_EQ(AsText(pid->stream.span()), absl::StrCat(worker->pid()));
  worker->LetGo();
  EXPECT_EQ(worker->WaitForExit(), 0);
  EXPECT_EQ(KindOf(client->CallRaw("pid", {}, Soon())), ErrorKind::kConnectionLost);
}

// Thread sanitizer's own handler takes a signal that comes at an odd moment and keeps it, once in
// some hundred times for ever: the program's handler is not called.
#if defined(__SANITIZE_THREAD__)
constexpr bool kSignalsMayVanish = true;
#else
constexpr bool kSignalsMayVanish = false;
#endif

TEST_P(Workers, StopsAtSigterm) {
  for (const int signal : {SIGTERM, SIGINT}) {
    const auto worker = StartWorker();
    worker->Kill(signal);
    auto code = worker->WaitForExit(std::chrono::seconds(kSignalsMayVanish ? 3 : 30));
    if (kSignalsMayVanish && !code) {
      worker->Kill(signal == SIGTERM ? SIGINT : SIGTERM);
      code = worker->WaitForExit();
    }
    EXPECT_EQ(code, 0);
  }
}

TEST_P(Workers, SecondSignalKillsAHandlerThatHangs) {
  const auto worker = StartWorker();
  const auto client = Connect(worker->ready());
  auto call = client->StartRaw("hang", {}, Soon());
  ASSERT_TRUE(call.ok());
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  worker->Kill(SIGTERM);
  EXPECT_EQ(worker->WaitForExit(std::chrono::seconds(0)), std::nullopt);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  worker->Kill(SIGTERM);
  EXPECT_EQ(worker->WaitForExit(), -SIGTERM);
}

TEST_P(Workers, DeathFailsAllCallsInFlightAtOnce) {
  const auto worker = StartWorker();
  const auto client = Connect(worker->ready());
  constexpr int kThreads = 4;
  std::atomic<int> lost{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      const auto got = client->CallRaw("hang", {}, Soon());
      EXPECT_EQ(KindOf(got), ErrorKind::kConnectionLost) << got.status();
      EXPECT_THAT(TextOf(got), HasSubstr("'hang'"));
      if (!RemoteFailureOf(got.status())) ++lost;
    });
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  const auto killed = std::chrono::steady_clock::now();
  worker->Kill(SIGKILL);
  for (std::thread& thread : threads) thread.join();
  EXPECT_LT(std::chrono::steady_clock::now() - killed, std::chrono::seconds(5));
  EXPECT_EQ(lost, kThreads);
  EXPECT_EQ(KindOf(client->CallRaw("echo", {}, Soon())), ErrorKind::kConnectionLost);
  EXPECT_EQ(KindOf(client->status()), ErrorKind::kConnectionLost);
}

TEST_P(Workers, ExitInAHandlerIsALostConnection) {
  const auto worker = StartWorker();
  const auto client = Connect(worker->ready());
  EXPECT_EQ(KindOf(client->CallRaw("exit", {}, Soon())), ErrorKind::kConnectionLost);
  EXPECT_EQ(worker->WaitForExit(), 7);
}

TEST_P(Workers, DeathGivesBackWhatTheWorkerHeld) {
  if (!GetParam().link) GTEST_SKIP() << "no leases without a link";
  const auto pool = Pool::Create({.quota = 64 << 20, .name = "death"});
  ASSERT_TRUE(pool.ok()) << pool.status();
  const auto worker = StartWorker();
  ClientOptions options;
  options.transport = Transport();
  options.transport.pool = *pool;
  const auto client = Client::Connect(worker->ready(), options);
  ASSERT_TRUE(client.ok()) << client.status();
  {
    const std::vector<Buffer> buffers = {*(*pool)->Allocate(1 << 20), Buffer::OfHeap(1 << 20)};
    ASSERT_TRUE((*client)->CallRaw("keep", {.buffers = buffers}, Soon()).ok());
  }
  EXPECT_EQ((*pool)->Stats().blocks, 2u);
  EXPECT_EQ((*pool)->Stats().copied_bytes, size_t{1} << 20);
  worker->Kill(SIGKILL);
  worker->WaitForExit();
  EXPECT_EQ(KindOf((*client)->CallRaw("echo", {}, Soon())), ErrorKind::kConnectionLost);
  EXPECT_EQ((*pool)->Stats().blocks, 0u);
  EXPECT_TRUE((*pool)->Audit().ok());
}

INSTANTIATE_TEST_SUITE_P(Ways, Workers, ::testing::ValuesIn(kWays), WayName);

// What a command line is answered with.
struct Outcome {
  int code;
  std::string out, err;
};
Outcome RunWorker(const std::string& arguments) {
  const std::string base = ::testing::TempDir() + absl::StrCat("pannier-worker-", getpid());
  const std::string command =
      absl::StrCat(kWorker, " ", arguments, " >", base, ".out 2>", base, ".err </dev/null");
  const int status = system(command.c_str());
  const auto text = [&](const char* suffix) {
    std::string content;
    FILE* file = fopen((base + suffix).c_str(), "r");
    for (int c; file != nullptr && (c = fgetc(file)) != EOF;) content += static_cast<char>(c);
    if (file != nullptr) fclose(file);
    unlink((base + suffix).c_str());
    return content;
  };
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, text(".out"), text(".err")};
}

TEST(WorkerArguments, AreCheckedAndStdoutStaysEmpty) {
  for (const char* wrong :
       {"", "--endpoint", "--endpoint=", "--what 3", "--endpoint ipc:///tmp/x --parent-fd 77",
        "--endpoint ipc:///tmp/x --ready-fd x", "--endpoint ipc:///tmp/x --parent-fd -1",
        "stray"}) {
    const Outcome outcome = RunWorker(wrong);
    EXPECT_EQ(outcome.code, 2) << wrong;
    EXPECT_EQ(outcome.out, "") << wrong;
    EXPECT_THAT(outcome.err, HasSubstr("usage: ")) << wrong;
  }
  const Outcome outcome = RunWorker("--endpoint nonsense://x");
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(outcome.out, "");
  EXPECT_THAT(outcome.err, HasSubstr("nonsense"));
}

TEST(WorkerArguments, Help) {
  const Outcome outcome = RunWorker("--help");
  EXPECT_EQ(outcome.code, 0);
  EXPECT_THAT(outcome.out, HasSubstr("--parent-fd"));
  EXPECT_EQ(outcome.err, "");
}

}  // namespace
}  // namespace pannier

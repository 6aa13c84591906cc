// WorkerPool: who is called, who dies, who takes his place, and that all end with the pool.
#include "pannier/rpc/worker_pool.h"

#include <signal.h>

#include <chrono>
#include <set>
#include <thread>
#include <vector>

#include "rpc_test_base.h"

namespace pannier {
namespace {

WorkerPoolOptions Options(size_t workers) {
  WorkerPoolOptions options;
  options.workers = workers;
  return options;
}

std::unique_ptr<WorkerPool> NewPool(const WorkerPoolOptions& options) {
  auto pool = WorkerPool::Start({PANNIER_TEST_WORKER}, options);
  EXPECT_TRUE(pool.ok()) << pool.status();
  return pool.ok() ? *std::move(pool) : nullptr;
}

// The method `name` of some worker; its result's bytes.
StatusOr<std::string> Call(WorkerPool& pool, std::string_view name) {
  PANNIER_ASSIGN_OR_RETURN(const auto client, pool.Choose());
  PANNIER_ASSIGN_OR_RETURN(const RawResult result, client->CallRaw(name, {}, Soon()));
  return std::string(AsText(result.stream.span()));
}

bool Alive(pid_t pid) { return kill(pid, 0) == 0; }

TEST(WorkerPoolTest, CallsGoToTheWorkerWithTheFewest) {
  const auto pool = NewPool(Options(3));
  ASSERT_NE(pool, nullptr);
  std::set<std::shared_ptr<Client>> chosen;
  std::vector<PendingCall> hanging;
  for (int i = 0; i < 3; ++i) {
    const auto client = *pool->Choose();
    chosen.insert(client);
    hanging.push_back(*client->StartRaw("hang", {}));
  }
  EXPECT_EQ(chosen.size(), 3u);
  EXPECT_EQ(pool->pids().size(), 3u);
  for (const pid_t pid : pool->pids()) kill(pid, SIGKILL);  // their handlers never end
  for (PendingCall& call : hanging) {
    EXPECT_EQ(KindOf(call.Wait(Soon())), ErrorKind::kConnectionLost);
  }
}

TEST(WorkerPoolTest, DeadWorkerIsReplacedAtTheNextCall) {
  const auto pool = NewPool(Options(2));
  ASSERT_NE(pool, nullptr);
  for (int round = 0; round < 3; ++round) {
    const std::vector<pid_t> before = pool->pids();
    EXPECT_EQ(KindOf(Call(*pool, "exit")), ErrorKind::kConnectionLost);
    kill(before[0], SIGKILL);
    for (int i = 0; i < 4; ++i) {
      const auto pid = Call(*pool, "pid");
      // The one that was killed a moment ago may still look alive.
      if (!pid.ok()) {
        EXPECT_EQ(KindOf(pid), ErrorKind::kConnectionLost) << pid.status();
      }
    }
    EXPECT_EQ(pool->pids().size(), 2u);
  }
  EXPECT_TRUE(Call(*pool, "pid").ok());
}

TEST(WorkerPoolTest, CallsOfTheDeadAreMadeAgainWhereAllowed) {
  const auto pool = NewPool(Options(2));
  ASSERT_NE(pool, nullptr);
  for (const pid_t pid : pool->pids()) kill(pid, SIGKILL);
  const auto result = pool->Call<void>(CallOptions{.deadline = Soon(), .retries = 5}, "exit");
  EXPECT_EQ(KindOf(result), ErrorKind::kConnectionLost);
  EXPECT_TRUE(Call(*pool, "pid").ok());
}

TEST(WorkerPoolTest, WithoutReplacementTheOthersGoOn) {
  WorkerPoolOptions options = Options(2);
  options.replace = false;
  const auto pool = NewPool(options);
  ASSERT_NE(pool, nullptr);
  EXPECT_FALSE(Call(*pool, "exit").ok());
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(Call(*pool, "pid").ok());
  EXPECT_FALSE(Call(*pool, "exit").ok());
  EXPECT_EQ(KindOf(Call(*pool, "pid")), ErrorKind::kConnectionLost);
}

TEST(WorkerPoolTest, WorkersEndWithThePool) {
  auto pool = NewPool(Options(2));
  ASSERT_NE(pool, nullptr);
  const std::vector<pid_t> pids = pool->pids();
  pool->Stop();
  EXPECT_EQ(KindOf(pool->Choose()), ErrorKind::kClosed);
  for (const pid_t pid : pids) EXPECT_FALSE(Alive(pid));
  pool = NewPool(Options(1));
  const std::vector<pid_t> others = pool->pids();
  pool.reset();
  for (const pid_t pid : others) EXPECT_FALSE(Alive(pid));
}

TEST(WorkerPoolTest, ProgramsThatAreNoWorkers) {
  EXPECT_EQ(KindOf(WorkerPool::Start({"/nonexistent/worker"}, Options(1))), ErrorKind::kSystem);
  EXPECT_EQ(KindOf(WorkerPool::Start({"true"}, Options(1))), ErrorKind::kConnectionLost);
  EXPECT_EQ(KindOf(WorkerPool::Start({}, Options(1))), ErrorKind::kInvalidArgument);
}

}  // namespace
}  // namespace pannier

// Lanes between processes: descriptors that are passed, doorbells that wake, peers that die.
#include "pannier/shm/lane.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"
#include "lane_memory.h"
#include "pannier/base/deadline.h"
#include "pannier/shm/memfd.h"

namespace pannier {
namespace {

UniqueFd Dup(int fd) { return UniqueFd(fcntl(fd, F_DUPFD_CLOEXEC, 0)); }

std::unique_ptr<LaneOutbox> OutboxOf(LaneInbox& inbox) {
  auto outbox = LaneOutbox::Open(Dup(inbox.ring_fd()), Dup(inbox.doorbell().fd()));
  EXPECT_OK(outbox);
  return *std::move(outbox);
}

bool Readable(int fd, int millis) {
  pollfd poll_fd{fd, POLLIN, 0};
  return poll(&poll_fd, 1, millis) == 1;
}

// The next record, for which it sleeps; empty after `seconds`.
std::string Await(LaneInbox& inbox, int seconds) {
  const Deadline deadline = Deadline::After(absl::Seconds(seconds));
  LaneReader::Record record;
  for (;;) {
    const auto found = inbox.reader().Peek(&record);
    if (!found.ok()) return found.status().ToString();
    if (*found) break;
    if (deadline.Passed()) return "";
    if (!inbox.reader().Arm()) continue;
    if (Readable(inbox.doorbell().fd(), deadline.PollMillis())) inbox.doorbell().Silence();
  }
  std::string bytes(AsText(record.bytes));
  inbox.reader().Pop();
  return bytes;
}

TEST(Lane, CarriesRecordsAndWakesItsReader) {
  auto inbox = *LaneInbox::Create();
  auto outbox = OutboxOf(*inbox);
  EXPECT_FALSE(Readable(inbox->doorbell().fd(), 0));
  ASSERT_TRUE(Push(outbox->writer(), 1, "hello"));
  outbox->Publish();
  EXPECT_FALSE(Readable(inbox->doorbell().fd(), 0)) << "rung without need";
  EXPECT_EQ(Await(*inbox, 1), "hello");
  ASSERT_TRUE(inbox->reader().Arm());
  ASSERT_TRUE(Push(outbox->writer(), 1, "again"));
  outbox->Publish();
  EXPECT_TRUE(Readable(inbox->doorbell().fd(), 0));
  inbox->doorbell().Silence();
  EXPECT_FALSE(Readable(inbox->doorbell().fd(), 0));
  EXPECT_EQ(Await(*inbox, 1), "again");
}

TEST(Lane, EchoesBetweenProcessesThatSleep) {
  auto there = *LaneInbox::Create(LaneRingHeader::kLeastCapacity);
  auto back = *LaneInbox::Create(LaneRingHeader::kLeastCapacity);
  Child echo([&] {
    auto outbox = OutboxOf(*back);
    for (;;) {
      const std::string bytes = Await(*there, 20);
      if (bytes.empty() || !Push(outbox->writer(), 1, bytes)) return 1;
      outbox->Publish();
      if (bytes == "end") return 0;
    }
  });
  auto outbox = OutboxOf(*there);
  for (int i = 0; i < 5000; ++i) {
    const std::string sent = std::to_string(i) + std::string(static_cast<size_t>(i % 1500), 'x');
    ASSERT_TRUE(Push(outbox->writer(), 1, sent));
    outbox->Publish();
    ASSERT_EQ(Await(*back, 20), sent);
  }
  ASSERT_TRUE(Push(outbox->writer(), 1, "end"));
  outbox->Publish();
  EXPECT_EQ(echo.Wait(), 0);
  EXPECT_EQ(Await(*back, 1), "end") << "what a process published outlives it";
}

// Killed at any moment, the writer leaves whole records.
TEST(Lane, AWritersDeathLeavesWholeRecords) {
  for (int kill = 0; kill < 10; ++kill) {
    auto inbox = *LaneInbox::Create();
    Child writer([&] {
      auto outbox = OutboxOf(*inbox);
      for (uint32_t i = 0;; ++i) {
        const std::string bytes(1 + i * 7 % 3000, static_cast<char>(i));
        while (!Push(outbox->writer(), 1, bytes)) continue;
        outbox->Publish();
      }
      return 0;
    });
    uint32_t i = 0;
    const auto take = [&] {
      LaneReader::Record record;
      const auto found = inbox->reader().Peek(&record);
      EXPECT_OK(found);
      if (!found.ok() || !*found) return false;
      EXPECT_EQ(AsText(record.bytes), std::string(1 + i * 7 % 3000, static_cast<char>(i)));
      inbox->reader().Pop();
      ++i;
      return true;
    };
    while (i < 1000u + static_cast<uint32_t>(kill) * 37) take();
    writer.Kill(SIGKILL);
    writer.Wait();
    while (take()) continue;
    EXPECT_TRUE(inbox->reader().Empty());
  }
}

TEST(Lane, DescriptorsThatAreNotALaneAreRefused) {
  auto inbox = *LaneInbox::Create();
  const auto refused = [](UniqueFd ring, UniqueFd doorbell) {
    const auto opened = LaneOutbox::Open(std::move(ring), std::move(doorbell));
    return KindOf(opened.status()) == ErrorKind::kCorruptMessage;
  };
  const auto bell = [&] { return Dup(inbox->doorbell().fd()); };
  int pipe_fds[2];
  ASSERT_EQ(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK), 0);
  const UniqueFd reading(pipe_fds[0]);
  EXPECT_TRUE(refused(Dup(inbox->ring_fd()), UniqueFd(pipe_fds[1])));
  EXPECT_TRUE(refused(Dup(inbox->ring_fd()), UniqueFd(eventfd(0, EFD_CLOEXEC)))) << "may block";
  EXPECT_TRUE(refused(UniqueFd(open("/dev/null", O_RDWR | O_CLOEXEC)), bell()));
  UniqueFd loose(memfd_create("loose", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(ftruncate(loose.get(), 1 << 20), 0);
  EXPECT_TRUE(refused(Dup(loose.get()), bell())) << "it could shrink";
  ASSERT_OK(SealSize(loose.get()));
  EXPECT_TRUE(refused(std::move(loose), bell())) << "no ring in it";
}

TEST(Lane, LeavesNothingOpen) {
  const int before = OpenDescriptors();
  const int mapped = MappingsOf("pannier-lane");
  for (int i = 0; i < 10; ++i) {
    auto inbox = *LaneInbox::Create();
    auto outbox = OutboxOf(*inbox);
    EXPECT_EQ(MappingsOf("pannier-lane"), mapped + 2);
  }
  EXPECT_EQ(OpenDescriptors(), before);
  EXPECT_EQ(MappingsOf("pannier-lane"), mapped);
}

}  // namespace
}  // namespace pannier

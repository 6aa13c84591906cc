#include "pannier/shm/lane_ring.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "lane_memory.h"

namespace pannier {
namespace {

constexpr uint32_t kCapacity = 4096;

// The next record, taken; kind 0 if there is none.
std::pair<uint8_t, std::string> Take(LaneReader& reader) {
  LaneReader::Record record;
  const auto found = reader.Peek(&record);
  EXPECT_TRUE(found.ok()) << found.status();
  if (!found.ok() || !*found) return {};
  LaneReader::Record same;
  EXPECT_FALSE(reader.PeekAt(static_cast<uint8_t>(record.kind ^ 1), &same));
  EXPECT_TRUE(reader.PeekAt(record.kind, &same));
  EXPECT_EQ(same.bytes.data(), record.bytes.data());
  EXPECT_EQ(same.bytes.size(), record.bytes.size());
  std::pair<uint8_t, std::string> taken(record.kind, AsText(record.bytes));
  reader.Pop();
  return taken;
}

TEST(LaneRing, IsLaidOutAsDocumented) {
  LaneMemory memory(kCapacity);
  LaneWriter writer(memory.data(), kCapacity);
  const auto at = [&](size_t offset, size_t size) {
    return std::string(AsText({memory.data() + offset, size}));
  };
  EXPECT_EQ(at(0, 16), std::string("PNLNRING\1\0\0\0\0\x10\0\0", 16));
  EXPECT_EQ(at(16, 384 - 16), std::string(384 - 16, '\0'));
  ASSERT_TRUE(Push(writer, 7, "first"));
  ASSERT_TRUE(Push(writer, 254, std::string(60, 'x')));
  EXPECT_EQ(at(384, 13), std::string("\5\0\0\7\0\0\0\0first", 13));
  EXPECT_EQ(at(384 + 64, 8), std::string("\x3c\0\0\xfe\1\0\0\0", 8));
  EXPECT_EQ(at(384 + 3 * 64, 8), std::string(8, '\0')) << "zero behind the last record";
  LaneReader reader(memory.data(), kCapacity);
  EXPECT_EQ(Take(reader), std::pair(uint8_t{7}, std::string("first")));
  EXPECT_EQ(at(128, 8), std::string("\x40\0\0\0\0\0\0\0", 8)) << "head";
  EXPECT_EQ(at(256, 4), std::string(4, '\0'));
  EXPECT_FALSE(reader.Arm()) << "a record is there";
  EXPECT_EQ(at(256, 4), std::string(4, '\0'));
  Take(reader);
  EXPECT_TRUE(reader.Arm());
  EXPECT_EQ(at(256, 4), std::string("\1\0\0\0", 4));
}

TEST(LaneRing, RingsOncePerSleep) {
  LaneMemory memory(kCapacity);
  LaneWriter writer(memory.data(), kCapacity);
  LaneReader reader(memory.data(), kCapacity);
  ASSERT_TRUE(Push(writer, 1, "a"));
  EXPECT_FALSE(writer.TakeBell()) << "nobody sleeps";
  Take(reader);
  EXPECT_TRUE(reader.Arm());
  ASSERT_TRUE(Push(writer, 1, "b"));
  ASSERT_TRUE(Push(writer, 1, "c"));
  EXPECT_TRUE(writer.TakeBell());
  EXPECT_FALSE(writer.TakeBell());
  Take(reader), Take(reader);
  EXPECT_TRUE(reader.Arm());
  reader.Disarm();
  ASSERT_TRUE(Push(writer, 1, "d"));
  EXPECT_FALSE(writer.TakeBell());
}

TEST(LaneRing, ARecordOfTheGreatestLengthFitsIntoAnEmptyRingAtAnyPosition) {
  for (uint32_t before = 0; before < kCapacity; before += kLaneLine) {
    LaneMemory memory(kCapacity);
    LaneWriter writer(memory.data(), kCapacity);
    LaneReader reader(memory.data(), kCapacity);
    for (uint32_t at = 0; at < before; at += kLaneLine) {
      ASSERT_TRUE(Push(writer, 1, "x"));
      Take(reader);
    }
    const std::string longest(writer.max_length(), 'l');
    ASSERT_TRUE(Push(writer, 2, longest)) << before;
    EXPECT_EQ(Take(reader), std::pair(uint8_t{2}, longest));
  }
}

TEST(LaneRing, TheReserveStaysFree) {
  LaneMemory memory(kCapacity);
  LaneWriter writer(memory.data(), kCapacity);
  int inside = 0, reserved = 0;
  while (Push(writer, 1, std::string(100, 'x'), 10 * 128)) ++inside;
  EXPECT_EQ(inside, 21);  // 4096 - 64 - 1280 bytes of 128 each
  while (Push(writer, 2, std::string(100, 'y'))) ++reserved;
  EXPECT_GE(reserved, 10);
}

// Any sequence of pushes and pops gives what a queue gives, and refuses what has no room only.
TEST(LaneRing, BehavesAsAQueue) {
  std::mt19937 random(20250722);
  for (int round = 0; round < 30; ++round) {
    LaneMemory memory(kCapacity);
    LaneWriter writer(memory.data(), kCapacity);
    LaneReader reader(memory.data(), kCapacity);
    std::deque<std::pair<uint8_t, std::string>> model;
    uint64_t used = 0;
    const uint32_t longest = round % 3 == 0 ? writer.max_length() : 40u << (round % 5);
    for (int step = 0; step < 3000; ++step) {
      if (random() % 2 == 0) {
        std::string bytes(random() % (longest + 1), '\0');
        for (char& byte : bytes) byte = static_cast<char>(random());
        const auto kind = static_cast<uint8_t>(1 + random() % 254);
        const uint64_t size = LaneRecordBytes(bytes.size());
        if (Push(writer, kind, bytes)) {
          model.emplace_back(kind, std::move(bytes));
          used += size;
        } else {
          // What was skipped, on this lap and the last, is less than two records.
          ASSERT_GT(used + 3 * LaneRecordBytes(longest) + kLaneLine, kCapacity);
        }
      } else {
        const auto taken = Take(reader);
        if (model.empty()) {
          ASSERT_EQ(taken.first, 0);
          ASSERT_TRUE(reader.Empty());
          continue;
        }
        ASSERT_EQ(taken, model.front());
        used -= LaneRecordBytes(taken.second.size());
        model.pop_front();
      }
    }
  }
}

// Two threads, with a condition variable for a doorbell: a lost wake-up hangs, and is a failure
// after its time. The records' bytes are plain memory: ThreadSanitizer reports it if they
// are not ordered.
TEST(LaneRing, OneThreadWritesAndOneSleepsUntilItIsRung) {
  constexpr int kRecords = 100'000;
  LaneMemory memory(kCapacity);
  std::mutex mutex;
  std::condition_variable wake;
  int rung = 0;
  std::thread producer([&] {
    LaneWriter writer(memory.data(), kCapacity);
    std::mt19937 random(1);
    for (int i = 0; i < kRecords; ++i) {
      std::string bytes(5 + random() % 200, static_cast<char>(i));
      std::memcpy(bytes.data(), &i, sizeof(i));
      while (!Push(writer, 1, bytes)) std::this_thread::yield();
      if (i % 100 == 0) std::this_thread::yield();
      if (!writer.TakeBell()) continue;
      const std::lock_guard lock(mutex);
      ++rung;
      wake.notify_one();
    }
  });
  LaneReader reader(memory.data(), kCapacity);
  int sleeps = 0, wrong = 0, lost = 0;
  for (int i = 0; i < kRecords && lost == 0;) {
    const auto taken = Take(reader);
    if (taken.first != 0) {
      int number;
      std::memcpy(&number, taken.second.data(), sizeof(number));
      wrong += number != i || taken.second.back() != static_cast<char>(i);
      ++i;
      continue;
    }
    if (!reader.Arm()) continue;
    std::unique_lock lock(mutex);
    ++sleeps;
    if (!wake.wait_for(lock, std::chrono::seconds(60), [&] { return rung > 0; })) ++lost;
    rung = 0;
  }
  producer.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(lost, 0) << "a wake-up was lost";
  EXPECT_GT(sleeps, 0);
}

TEST(LaneRing, ADamagedHeaderIsRefused) {
  LaneMemory good(kCapacity);
  EXPECT_EQ(*CheckLaneRing(good.data(), good.size()), kCapacity);
  const auto refused = [](size_t offset, uint32_t value) {
    LaneMemory memory(kCapacity);
    std::memcpy(memory.data() + offset, &value, sizeof(value));
    return KindOf(CheckLaneRing(memory.data(), memory.size()).status()) ==
           ErrorKind::kCorruptMessage;
  };
  EXPECT_TRUE(refused(0, 0));
  EXPECT_TRUE(refused(8, 2));
  for (const uint32_t capacity : {0u, 2048u, 4095u, 8192u, 32u << 20, 1u << 31, ~0u}) {
    EXPECT_TRUE(refused(12, capacity)) << capacity;
  }
  EXPECT_FALSE(CheckLaneRing(good.data(), good.size() - 1).ok());
  EXPECT_FALSE(CheckLaneRing(good.data(), 383).ok());
  EXPECT_FALSE(CheckLaneRing(good.data(), 0).ok());
}

// A writer that writes anything, anywhere: records, an end, or CorruptMessage; never a byte
// outside, and never without end.
TEST(LaneRing, AHostileWriterCanOnlyBeCorrupt) {
  int corrupt = 0;
  const auto read_all = [&corrupt](LaneMemory& memory) {
    LaneReader reader(memory.data(), kCapacity);
    for (int taken = 0; taken < 1000; ++taken) {
      LaneReader::Record record, at;
      const bool found_at = reader.PeekAt(1, &at);
      const auto found = reader.Peek(&record);
      if (found_at) {
        ASSERT_TRUE(found.ok() && *found);
        ASSERT_EQ(at.bytes.data(), record.bytes.data());
        ASSERT_EQ(at.bytes.size(), record.bytes.size());
      }
      if (!found.ok()) {
        EXPECT_EQ(KindOf(found.status()), ErrorKind::kCorruptMessage);
        ++corrupt;
        return;
      }
      if (!*found) return;
      ASSERT_GE(record.bytes.data(), memory.records());
      ASSERT_LE(record.bytes.data() + record.bytes.size(), memory.data() + memory.size());
      reader.Pop();
    }
    FAIL() << "more records than a ring holds";
  };
  // Every word of the ring, with what a broken peer might have there.
  const std::vector<uint64_t> values = {1, ~uint64_t{0}, uint64_t{1} << 63, 0x01ffffff, 0xff000000};
  for (uint64_t word = 0; word < LaneRingBytes(kCapacity) / 8; ++word) {
    for (const uint64_t flip : values) {
      LaneMemory memory(kCapacity);
      LaneWriter writer(memory.data(), kCapacity);
      while (Push(writer, 1, std::string(200, 'x'))) continue;
      uint64_t* at = reinterpret_cast<uint64_t*>(memory.data()) + word;
      *at ^= flip;
      read_all(memory);
    }
  }
  EXPECT_GE(corrupt, 40);
  // A skip at the start would lead to itself.
  LaneMemory memory(kCapacity);
  const uint64_t skip = LaneWord{0, LaneWord::kSkip, 0}.word();
  std::memcpy(memory.records(), &skip, sizeof(skip));
  LaneReader reader(memory.data(), kCapacity);
  LaneReader::Record record;
  EXPECT_EQ(KindOf(reader.Peek(&record).status()), ErrorKind::kCorruptMessage);
}

// A reader that lies about how far it is makes the writer overwrite what was not read, at
// worst, and never write outside.
TEST(LaneRing, AHostileReaderCannotMakeTheWriterLeaveTheRing) {
  std::mt19937_64 random(3);
  LaneMemory memory(kCapacity);
  LaneWriter writer(memory.data(), kCapacity);
  auto* header = reinterpret_cast<LaneRingHeader*>(memory.data());
  int pushed = 0;
  for (int i = 0; i < 20'000; ++i) {
    const uint64_t head = header->head.load();
    header->head.store(i % 2 == 0 ? random() >> (random() % 64) : head + random() % 4096);
    header->bell.store(static_cast<uint32_t>(random()));
    std::byte* at = writer.Begin(static_cast<uint32_t>(random() % (writer.max_length() + 1)));
    if (at == nullptr) continue;
    ASSERT_GE(at, memory.records() + 8);
    ASSERT_LT(at, memory.data() + memory.size());
    writer.Commit(1);
    (void)writer.TakeBell();
    ++pushed;
  }
  EXPECT_GT(pushed, 10);
}

}  // namespace
}  // namespace pannier

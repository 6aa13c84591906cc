#include "pannier/shm/return_ring.h"

#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <thread>
#include <vector>

#include "harness.h"
#include "heap_ring.h"
#include "pannier/shm/lease.h"
#include "pannier/shm/ledger.h"

namespace pannier {
namespace {

TEST(ReturnRing, CellsComeInOrder) {
  HeapRing memory(4);
  ReturnRingProducer producer(memory.data(), 4);
  ReturnRingConsumer consumer(memory.data(), 4);
  EXPECT_EQ(consumer.Pop(), 0u);
  for (uint64_t round = 0; round < 10; ++round) {
    for (uint64_t i = 1; i <= 3; ++i) producer.Push(round * 10 + i);
    for (uint64_t i = 1; i <= 3; ++i) EXPECT_EQ(consumer.Pop(), round * 10 + i);
    EXPECT_EQ(consumer.Pop(), 0u);
  }
}

TEST(ReturnRing, DoneIsSaidOnceAndBesidesTheCells) {
  HeapRing memory(4);
  ReturnRingProducer producer(memory.data(), 4);
  ReturnRingConsumer consumer(memory.data(), 4);
  producer.Push(7);
  EXPECT_FALSE(consumer.Done());
  producer.Finish();
  EXPECT_TRUE(consumer.Done());
  EXPECT_EQ(consumer.Pop(), 7u);
  EXPECT_EQ(consumer.Pop(), 0u);
  EXPECT_TRUE(consumer.Done());
  EXPECT_EQ(*CheckReturnRing(memory.data(), ReturnRingBytes(4)), 4u);
}

TEST(ReturnRing, ACellNamesSlotAndGeneration) {
  const uint64_t cell = LeaseCell(0xfffffffe, 0x80000001);
  EXPECT_EQ(CellSlot(cell), 0xfffffffeu);
  EXPECT_EQ(CellGeneration(cell), 0x80000001u);
  EXPECT_NE(LeaseCell(0, 1), 0u);
}

TEST(ReturnRing, TheHeaderIsAsDocumented) {
  HeapRing memory(16);
  const auto* bytes = reinterpret_cast<const char*>(memory.data());
  EXPECT_EQ(std::string(bytes, 8), "PRETRING");
  EXPECT_EQ(std::string(bytes + 8, 8), std::string("\1\0\0\0\20\0\0\0", 8));
  EXPECT_EQ(std::string(bytes + 16, 48 + 16 * 8), std::string(48 + 16 * 8, '\0'));
}

TEST(ReturnRing, ADamagedHeaderIsRefused) {
  constexpr uint32_t kCapacity = 16;
  constexpr uint64_t kSize = ReturnRingBytes(kCapacity);
  HeapRing good(kCapacity);
  EXPECT_EQ(*CheckReturnRing(good.data(), kSize), kCapacity);
  const auto refused = [](size_t offset, uint32_t value) {
    HeapRing memory(kCapacity);
    std::memcpy(memory.data() + offset, &value, sizeof(value));
    const auto checked = CheckReturnRing(memory.data(), kSize);
    return !checked.ok() && KindOf(checked.status()) == ErrorKind::kCorruptMessage;
  };
  EXPECT_TRUE(refused(0, 0));
  EXPECT_TRUE(refused(8, 2));
  for (const uint32_t capacity : {0u, 15u, 32u, 1u << 21, 1u << 31, ~0u}) {
    EXPECT_TRUE(refused(12, capacity)) << capacity;
  }
  EXPECT_FALSE(CheckReturnRing(good.data(), kSize - 1).ok());
  EXPECT_FALSE(CheckReturnRing(good.data(), 63).ok());
  EXPECT_FALSE(CheckReturnRing(good.data(), 0).ok());
}

// An owner that grants leases on blocks, and peers' threads that read the blocks and hand
// them back. The blocks' bytes are plain memory: ThreadSanitizer reports it if a hand-back
// does not order the reader's accesses before the owner's next use of the block.
TEST(ReturnRing, OwnerAndManyThreads) {
  constexpr uint32_t kCapacity = 8;
  constexpr int kThreads = 3;
  constexpr uint64_t kLeases = 30000;
  HeapRing memory(kCapacity);
  ReturnRingProducer producer(memory.data(), kCapacity);
  ReturnRingConsumer consumer(memory.data(), kCapacity);
  PageAllocator allocator;
  allocator.AddSegment(1, kCapacity);
  Ledger ledger;
  LedgerRow row(kCapacity);
  std::vector<uint64_t> bytes(kCapacity);  // the first word of each page

  struct Message {
    Ledger::Ticket ticket;
    uint64_t page;
    uint64_t content;
  };
  std::mutex mutex;  // of the mail, which stands for the connection
  std::deque<Message> mail;
  bool done = false;
  std::atomic<uint64_t> wrong{0};

  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (;;) {
        std::optional<Message> got;
        {
          const std::lock_guard lock(mutex);
          if (mail.empty() && done) return;
          if (!mail.empty()) {
            got = mail.front();
            mail.pop_front();
          }
        }
        if (!got) {
          std::this_thread::yield();
          continue;
        }
        const Message& message = *got;
        if (bytes[message.page] != message.content) wrong.fetch_add(1);
        producer.Push(LeaseCell(message.ticket.slot, message.ticket.generation));
      }
    });
  }
  uint64_t granted = 0;
  uint64_t home = 0;
  while (home < kLeases) {
    while (const uint64_t cell = consumer.Pop()) {
      const auto taken = ledger.Take(&row, CellSlot(cell), CellGeneration(cell));
      ASSERT_TRUE(taken) << "a cell was lost or overwritten";
      ASSERT_TRUE(taken->last);
      allocator.Free(taken->block);
      ++home;
    }
    const BlockId block = granted < kLeases ? allocator.Allocate(1) : kNoBlock;
    if (block == kNoBlock) {
      std::this_thread::yield();
      continue;
    }
    ledger.AddBlock(block);
    const uint64_t page = allocator.run(block).first;
    bytes[page] = ++granted;
    const auto ticket = ledger.Grant(&row, block, page * 4096, 8);
    ASSERT_TRUE(ticket) << "one block each: there is credit for every block";
    ledger.DropUser(block);
    const std::lock_guard lock(mutex);
    mail.push_back({*ticket, page, granted});
  }
  {
    const std::lock_guard lock(mutex);
    done = true;
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong.load(), 0u);
  EXPECT_EQ(row.leases(), 0u);
  EXPECT_EQ(allocator.used_blocks(), 0u);
  for (uint32_t i = 0; i < kCapacity; ++i) EXPECT_EQ(memory.cells()[i].load(), 0u);
  EXPECT_OK(ledger.Audit({&row}, allocator, 4096));
}

}  // namespace
}  // namespace pannier

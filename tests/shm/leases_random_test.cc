// Allocator, ledger and return rings against a model, on heap memory: what the pool does with
// them, without an operating system. Once step by step with a seed, liars among the peers;
// once with peers on threads of their own, where ThreadSanitizer sees every access.
#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "harness.h"
#include "heap_ring.h"
#include "pannier/shm/lease.h"
#include "pannier/shm/ledger.h"
#include "pannier/shm/page_allocator.h"
#include "pannier/shm/return_ring.h"

namespace pannier {
namespace {

constexpr uint64_t kPage = 4096;

// One row with its ring, and the peer's end of that ring: a connection's life.
struct Line {
  explicit Line(uint32_t capacity)
      : memory(capacity),
        row(capacity),
        producer(memory.data(), capacity),
        consumer(memory.data(), capacity) {}
  HeapRing memory;
  LedgerRow row;
  ReturnRingProducer producer;
  ReturnRingConsumer consumer;
};

// The owner: what PoolCore does under its mutex.
class Owner {
 public:
  explicit Owner(uint64_t pages) { allocator_.AddSegment(1, pages); }

  BlockId Allocate(uint64_t pages) {
    const BlockId block = allocator_.Allocate(pages);
    if (block != kNoBlock) ledger_.AddBlock(block);
    return block;
  }
  void DropUser(BlockId block) {
    if (ledger_.DropUser(block)) allocator_.Free(block);
  }
  std::optional<Ledger::Ticket> Grant(Line* line, BlockId block) {
    const PageRun run = allocator_.run(block);
    return ledger_.Grant(&line->row, block, run.first * kPage, run.pages * kPage);
  }
  bool Take(Line* line, uint64_t cell) {
    const auto taken = ledger_.Take(&line->row, CellSlot(cell), CellGeneration(cell));
    if (taken && taken->last) allocator_.Free(taken->block);
    return taken.has_value();
  }
  // Cells that named a lease of the row, and cells that did not.
  std::pair<uint32_t, uint32_t> Drain(Line* line) {
    const bool done = line->consumer.Done();
    std::pair<uint32_t, uint32_t> counts{0, 0};
    for (uint32_t i = 0; i < line->row.capacity(); ++i) {
      const uint64_t cell = line->consumer.Pop();
      if (cell == 0) break;
      ++(Take(line, cell) ? counts.first : counts.second);
    }
    if (done) Close(line);
    return counts;
  }
  void Close(Line* line) {
    ledger_.Clear(&line->row, [this](const Ledger::Taken& taken) {
      if (taken.last) allocator_.Free(taken.block);
    });
  }
  Status Audit(const std::vector<const LedgerRow*>& rows) const {
    PANNIER_RETURN_IF_ERROR(allocator_.Audit());
    return ledger_.Audit(rows, allocator_, kPage);
  }
  uint64_t FirstPage(BlockId block) const { return allocator_.run(block).first; }
  uint64_t used_blocks() const { return allocator_.used_blocks(); }
  bool Holds(BlockId block) const { return ledger_.Holds(block); }

 private:
  PageAllocator allocator_;
  Ledger ledger_;
};

class LedgerRandom : public ::testing::TestWithParam<int> {};

TEST_P(LedgerRandom, AgreesWithAModelAmongLiars) {
  std::mt19937 random(GetParam());
  const auto chance = [&](uint32_t n) { return random() % n == 0; };
  constexpr uint32_t kCapacity = 8;
  Owner owner(96);

  // The model: who holds which block. A block's number is its own for good, its id is not.
  struct Lease {
    uint64_t cell;
    uint64_t block;
  };
  struct Peer {
    std::unique_ptr<Line> line;
    std::vector<Lease> held;    // with the peer
    std::vector<Lease> pushed;  // handed back, not drained
    bool lies = false;
  };
  std::map<uint64_t, BlockId> mine;   // user references
  std::map<uint64_t, BlockId> known;  // every block that anyone holds
  uint64_t next = 1;
  std::vector<Peer> peers(3);
  const auto connect = [&](Peer* peer) {
    *peer = Peer();
    peer->line = std::make_unique<Line>(kCapacity);
    peer->lies = chance(4);
  };
  for (Peer& peer : peers) connect(&peer);
  const auto audit = [&] {
    std::vector<const LedgerRow*> rows;
    for (const Peer& peer : peers) rows.push_back(&peer.line->row);
    return owner.Audit(rows);
  };

  for (int step = 0; step < 6000; ++step) {
    Peer& peer = peers[random() % peers.size()];
    switch (random() % 10) {
      case 0:
      case 1: {
        const BlockId block = owner.Allocate(1 + random() % 9);
        if (block == kNoBlock) break;
        for (const auto& [number, id] : known) ASSERT_NE(id, block) << "a block in use";
        mine[next] = known[next] = block;
        ++next;
        break;
      }
      case 2:
        if (!mine.empty()) {
          const auto it = std::next(mine.begin(), random() % mine.size());
          owner.DropUser(it->second);
          mine.erase(it);
        }
        break;
      case 3:
      case 4:
      case 5: {
        if (mine.empty()) break;
        const auto& [number, block] = *std::next(mine.begin(), random() % mine.size());
        const auto ticket = owner.Grant(peer.line.get(), block);
        if (!peer.lies) {
          ASSERT_EQ(ticket.has_value(), peer.held.size() + peer.pushed.size() < kCapacity);
        }
        if (!ticket) break;
        const uint64_t cell = LeaseCell(ticket->slot, ticket->generation);
        if (chance(8)) {
          ASSERT_TRUE(owner.Take(peer.line.get(), cell)) << "a revoked lease";
        } else {
          peer.held.push_back({cell, number});
        }
        break;
      }
      case 6:
      case 7:
        if (!peer.held.empty()) {
          const auto it = peer.held.begin() + random() % peer.held.size();
          peer.line->producer.Push(it->cell);
          peer.pushed.push_back(*it);
          peer.held.erase(it);
        }
        break;
      case 8:
        if (peer.lies) {
          // Anything, anywhere: its own cells again, of another, nonsense.
          RingCell& cell = peer.line->memory.cells()[random() % kCapacity];
          const Peer& other = peers[random() % peers.size()];
          cell.store(chance(2) && !other.held.empty() ? other.held[0].cell
                                                      : LeaseCell(random() % 12, random() % 4));
          owner.Drain(peer.line.get());
        } else {
          const auto [right, wrong] = owner.Drain(peer.line.get());
          ASSERT_EQ(right, peer.pushed.size());
          ASSERT_EQ(wrong, 0u);
          peer.pushed.clear();
        }
        break;
      default:
        if (!peer.lies && chance(6)) {
          // A close in good order: what it did not see is not handed back.
          peer.line->producer.Finish();
          const auto [right, wrong] = owner.Drain(peer.line.get());
          ASSERT_EQ(right, peer.pushed.size());
          ASSERT_EQ(wrong, 0u);
          ASSERT_EQ(peer.line->row.leases(), 0u);
          connect(&peer);
        } else if (chance(6)) {
          owner.Close(peer.line.get());
          connect(&peer);
        }
    }
    ASSERT_OK(audit());
    // Blocks live exactly as long as somebody holds them. What a liar gave up early is its
    // own loss, so only those count that an honest peer or the owner holds.
    std::map<uint64_t, BlockId> held = mine;
    uint64_t liars = 0;
    for (const Peer& each : peers) {
      if (each.lies) {
        liars += each.line->row.leases();
        continue;
      }
      for (const auto* leases : {&each.held, &each.pushed}) {
        for (const Lease& lease : *leases) held[lease.block] = known.at(lease.block);
      }
      ASSERT_EQ(each.line->row.leases(), each.held.size() + each.pushed.size());
    }
    for (const auto& [number, block] : held) {
      ASSERT_TRUE(owner.Holds(block)) << "a held block was freed";
    }
    ASSERT_LE(owner.used_blocks(), held.size() + liars) << "a block that nobody holds";
    // Ids are used again as soon as nobody holds the block: forget those of liars too.
    for (auto it = known.begin(); it != known.end();) {
      it = held.contains(it->first) ? std::next(it) : known.erase(it);
    }
  }
  for (const auto& [number, block] : mine) owner.DropUser(block);
  for (Peer& peer : peers) {
    if (peer.lies) {
      owner.Close(peer.line.get());
      continue;
    }
    for (const Lease& lease : peer.held) peer.line->producer.Push(lease.cell);
    owner.Drain(peer.line.get());
    EXPECT_EQ(peer.line->row.leases(), 0u);
  }
  EXPECT_EQ(owner.used_blocks(), 0u) << "every block came home";
  EXPECT_OK(audit());
}

INSTANTIATE_TEST_SUITE_P(Seeds, LedgerRandom, ::testing::Range(1, 13));

// An owner and two peers of two threads each, which die or end with leases in hand and come back.
// The blocks' bytes are plain memory: ThreadSanitizer reports it if a hand-back does not order a
// reader's accesses before the owner's next use of the block.
TEST(LedgerThreads, PeersReadHandBackDieAndReturn) {
  constexpr uint32_t kCapacity = 4;
  constexpr uint64_t kPages = 6;
  constexpr int kGrants = 4000;
  struct Message {
    uint64_t cell;
    uint64_t page;
    uint64_t content;
  };
  // A life of a peer: its line, and the mail that stands for its connection.
  struct Life {
    Line line{kCapacity};
    std::mutex mutex;
    std::deque<Message> mail;
    bool over = false;
    std::atomic<int> running{2};  // the last one says that the peer is done
    std::atomic<bool> dies{true};
  };
  Owner owner(kPages);
  std::vector<uint64_t> bytes(kPages);
  std::atomic<uint64_t> wrong{0};
  std::mt19937 random(7);

  const auto serve = [&](Life* life) {
    for (;;) {
      Message message;
      {
        const std::lock_guard lock(life->mutex);
        if (life->over) break;
        if (life->mail.empty()) {
          message.cell = 0;
        } else {
          message = life->mail.front();
          life->mail.pop_front();
        }
      }
      if (message.cell == 0) {
        std::this_thread::yield();
        continue;
      }
      if (bytes[message.page] != message.content) wrong.fetch_add(1);
      life->line.producer.Push(message.cell);
    }
    if (life->running.fetch_sub(1) == 1 && !life->dies) life->line.producer.Finish();
  };
  struct Peer {
    std::unique_ptr<Life> life;
    std::vector<std::thread> threads;
  };
  std::vector<Peer> peers(2);
  const auto start = [&](Peer* peer) {
    peer->life = std::make_unique<Life>();
    for (int i = 0; i < 2; ++i) peer->threads.emplace_back(serve, peer->life.get());
  };
  // A process that is gone does nothing more: so its threads are joined before its row closes. One
  // that ends in good order orders that itself.
  const auto stop = [&](Peer* peer, bool dies) {
    {
      const std::lock_guard lock(peer->life->mutex);
      peer->life->dies = dies;
      peer->life->over = true;
    }
    // Before they are joined, or their ends would order what Finish has to.
    while (!dies && peer->life->line.row.leases() > 0) {
      EXPECT_EQ(owner.Drain(&peer->life->line).second, 0u);
      std::this_thread::yield();
    }
    const BlockId block = owner.Allocate(1);
    if (!dies && block != kNoBlock) bytes[owner.FirstPage(block)] = 0;
    if (block != kNoBlock) owner.DropUser(block);
    for (std::thread& thread : peer->threads) thread.join();
    peer->threads.clear();
    if (dies) owner.Close(&peer->life->line);
  };
  for (Peer& peer : peers) start(&peer);
  uint64_t content = 0;
  for (int granted = 0; granted < kGrants;) {
    Peer& peer = peers[random() % peers.size()];
    if (random() % 500 == 0) {
      stop(&peer, random() % 2 == 0);
      start(&peer);
    }
    for (Peer& each : peers) {
      ASSERT_EQ(owner.Drain(&each.life->line).second, 0u) << "a cell was lost or overwritten";
    }
    const BlockId block = owner.Allocate(1);
    if (block == kNoBlock) {
      std::this_thread::yield();
      continue;
    }
    const uint64_t page = owner.FirstPage(block);
    bytes[page] = ++content;
    // To one peer, or to both.
    for (Peer& each : peers) {
      if (&each != &peer && random() % 4 != 0) continue;
      const auto ticket = owner.Grant(&each.life->line, block);
      if (!ticket) continue;  // no credit
      ++granted;
      const std::lock_guard lock(each.life->mutex);
      each.life->mail.push_back({LeaseCell(ticket->slot, ticket->generation), page, content});
    }
    owner.DropUser(block);
    ASSERT_OK(owner.Audit({&peers[0].life->line.row, &peers[1].life->line.row}));
  }
  for (Peer& peer : peers) stop(&peer, /*dies=*/true);
  EXPECT_EQ(wrong.load(), 0u);
  EXPECT_EQ(owner.used_blocks(), 0u);
}

}  // namespace
}  // namespace pannier

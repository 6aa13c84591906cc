#include "pannier/shm/ledger.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "harness.h"

namespace pannier {
namespace {

constexpr uint64_t kPage = 4096;

class LedgerTest : public ::testing::Test {
 protected:
  LedgerTest() { allocator_.AddSegment(1, 1000); }

  BlockId NewBlock(uint64_t pages = 2) {
    const BlockId block = allocator_.Allocate(pages);
    ledger_.AddBlock(block);
    return block;
  }
  std::optional<Ledger::Ticket> Grant(LedgerRow* row, BlockId block, uint64_t skip = 0,
                                      uint64_t length = 100) {
    return ledger_.Grant(row, block, allocator_.run(block).first * kPage + skip, length);
  }
  Status Audit(std::vector<const LedgerRow*> rows) {
    return ledger_.Audit(rows, allocator_, kPage);
  }

  PageAllocator allocator_;
  Ledger ledger_;
};

TEST_F(LedgerTest, ABlockLivesWhileAnythingHoldsIt) {
  LedgerRow row(4);
  LedgerRow other(4);
  const BlockId block = NewBlock();
  const auto a = Grant(&row, block);
  const auto b = Grant(&other, block);
  ASSERT_TRUE(a && b);
  EXPECT_EQ(ledger_.LeasesOf(block), 2u);
  EXPECT_OK(Audit({&row, &other}));
  EXPECT_FALSE(ledger_.DropUser(block));
  EXPECT_EQ(ledger_.LeasesOf(block), 2u);
  EXPECT_FALSE(ledger_.Take(&row, a->slot, a->generation)->last);
  const auto last = ledger_.Take(&other, b->slot, b->generation);
  ASSERT_TRUE(last);
  EXPECT_TRUE(last->last);
  EXPECT_EQ(last->block, block);
  allocator_.Free(block);
  EXPECT_OK(Audit({&row, &other}));
}

TEST_F(LedgerTest, RefusesWhatIsNotOfTheRow) {
  LedgerRow row(4);
  LedgerRow other(4);
  const BlockId block = NewBlock();
  const auto ticket = Grant(&row, block);
  EXPECT_FALSE(ledger_.Take(&other, ticket->slot, ticket->generation)) << "another's row";
  EXPECT_FALSE(ledger_.Take(&row, ticket->slot, ticket->generation + 1));
  EXPECT_FALSE(ledger_.Take(&row, ticket->slot + 1, ticket->generation)) << "slot never used";
  EXPECT_FALSE(ledger_.Take(&row, 4, 1)) << "slot past the row";
  EXPECT_FALSE(ledger_.Take(&row, ~0u, ~0u));
  ASSERT_TRUE(ledger_.Take(&row, ticket->slot, ticket->generation));
  EXPECT_FALSE(ledger_.Take(&row, ticket->slot, ticket->generation)) << "returned twice";
  const auto again = Grant(&row, block);
  EXPECT_EQ(again->slot, ticket->slot);
  EXPECT_NE(again->generation, ticket->generation);
  EXPECT_FALSE(ledger_.Take(&row, ticket->slot, ticket->generation)) << "stale generation";
  EXPECT_OK(Audit({&row, &other}));
}

TEST_F(LedgerTest, CreditIsTheCapacity) {
  LedgerRow row(3);
  const BlockId block = NewBlock();
  std::set<uint32_t> slots;
  for (int i = 0; i < 3; ++i) slots.insert(Grant(&row, block)->slot);
  EXPECT_EQ(slots.size(), 3u);
  EXPECT_FALSE(Grant(&row, block));
  EXPECT_EQ(row.leases(), 3u);
  EXPECT_EQ(row.bytes(), 300u);
}

TEST_F(LedgerTest, ClearEndsEveryLease) {
  LedgerRow row(8);
  const BlockId kept = NewBlock();
  const BlockId gone = NewBlock();
  for (int i = 0; i < 3; ++i) Grant(&row, kept);
  for (int i = 0; i < 3; ++i) Grant(&row, gone);
  ledger_.DropUser(gone);
  std::vector<BlockId> freed;
  int ended = 0;
  ledger_.Clear(&row, [&](const Ledger::Taken& taken) {
    ++ended;
    if (!taken.last) return;
    freed.push_back(taken.block);
    allocator_.Free(taken.block);
  });
  EXPECT_EQ(ended, 6);
  EXPECT_EQ(freed, std::vector<BlockId>{gone});
  EXPECT_EQ(row.leases(), 0u);
  EXPECT_EQ(row.bytes(), 0u);
  EXPECT_OK(Audit({&row}));
}

TEST_F(LedgerTest, TheAuditFindsARangeOutsideItsBlock) {
  LedgerRow row(4);
  const BlockId block = NewBlock(2);
  Grant(&row, block, kPage, kPage);
  EXPECT_OK(Audit({&row}));
  Grant(&row, block, kPage, kPage + 1);
  EXPECT_FALSE(Audit({&row}).ok());
}

TEST_F(LedgerTest, TheAuditFindsABlockThatNobodyHolds) {
  allocator_.Allocate(1);
  EXPECT_FALSE(Audit({}).ok());
}

TEST(Ledger, OffsetsPastFourGigabytes) {
  constexpr uint64_t k4GiB = uint64_t{4} << 30;
  PageAllocator allocator;
  Ledger ledger;
  allocator.AddSegment(1, 3 * k4GiB / kPage);
  const BlockId first = allocator.Allocate(k4GiB / kPage + 1);
  const BlockId second = allocator.Allocate(k4GiB / kPage + 1);
  ledger.AddBlock(first);
  ledger.AddBlock(second);
  LedgerRow row(4);
  const uint64_t begin = allocator.run(second).first * kPage;
  EXPECT_GT(begin, k4GiB);
  ASSERT_TRUE(ledger.Grant(&row, second, begin + 1, k4GiB + kPage - 1));
  EXPECT_EQ(row.bytes(), k4GiB + kPage - 1);
  EXPECT_OK(ledger.Audit({&row}, allocator, kPage));
}

}  // namespace
}  // namespace pannier

// Guarded blocks: the owner's pages of a leased block are read-only until it is home.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "harness.h"

namespace pannier {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

std::shared_ptr<Pool> GuardedPool() {
  PoolOptions options;
  options.quota = 16 * kMiB;
  options.leases_per_peer = 8;
  options.name = "guarded";
  options.guard = true;
  return Pool::Create(options).value();
}

// True if the process may write there: asked of the kernel, which answers EFAULT if not.
bool Writable(std::byte* at) {
  int pipe[2];
  if (::pipe(pipe) != 0) std::abort();
  const char byte = 1;
  if (::write(pipe[1], &byte, 1) != 1) std::abort();
  const ssize_t got = ::read(pipe[0], at, 1);
  const bool writable = got == 1;
  if (!writable && errno != EFAULT) std::abort();
  ::close(pipe[0]);
  ::close(pipe[1]);
  return writable;
}

TEST(Guard, ALeasedBlockIsReadOnlyUntilItIsHome) {
  auto pool = GuardedPool();
  Pair pair(pool);
  Pair other(pool);
  const Buffer block = *pool->Allocate(10000);
  const Buffer neighbour = *pool->Allocate(10000);
  std::byte* const last = block.mutable_data() + block.size() - 1;
  Fill(block.mutable_span(), 1);
  {
    const Buffer view = *pair.Carry(block.Slice(100, 10), true);
    EXPECT_FALSE(Writable(block.mutable_data()));
    EXPECT_FALSE(Writable(last)) << "the whole block, as pool->Leases counts";
    EXPECT_TRUE(Writable(neighbour.mutable_data()));
    EXPECT_TRUE(Writable(view.mutable_data())) << "the receiver's own mapping";
    EXPECT_TRUE(Holds(block.span(), 1)) << "reading is allowed";
    const Buffer second = *other.Carry(block, false);
    EXPECT_FALSE(Writable(last));
  }
  EXPECT_FALSE(Writable(last)) << "home is what was collected";
  EXPECT_OK(pool->WaitHome(block.data(), Deadline::Now()));
  EXPECT_TRUE(Writable(last)) << "the seal forbids new mappings, not this";
  Fill(block.mutable_span(), 2);
  EXPECT_TRUE(Holds((*pair.Carry(block, false)).span(), 2)) << "the same pages as ever";
}

TEST(Guard, EndsHoweverTheLeaseEnds) {
  auto pool = GuardedPool();
  Pair pair(pool);
  Buffer block = *pool->Allocate(5000);
  std::byte* const at = block.mutable_data();
  const LeaseDescriptor lease = *pair.Grant(block, true);
  EXPECT_FALSE(Writable(at));
  pair.row->Revoke(lease);
  EXPECT_TRUE(Writable(at));
  ASSERT_OK(pair.Grant(block, true));
  EXPECT_FALSE(Writable(at));
  pair.row->Close();
  EXPECT_TRUE(Writable(at));
  // The owner lets go first: the block is free, and writable for its next user.
  Pair next(pool);
  Buffer view = *next.Carry(block, false);
  block = Buffer();
  view = Buffer();
  block = *pool->Allocate(5000);
  EXPECT_EQ(block.data(), at);
  EXPECT_TRUE(Writable(at));
  EXPECT_OK(pool->Audit());
}

TEST(Guard, AForbiddenWriteIsASegmentationFault) {
  auto pool = GuardedPool();
  Child child([] {
    ::signal(SIGSEGV, SIG_DFL);  // a sanitizer's handler would report it instead
    auto own = GuardedPool();
    Pair pair(own);
    const Buffer block = *own->Allocate(100);
    const Buffer view = *pair.Carry(block, false);
    *static_cast<volatile std::byte*>(block.mutable_data()) = std::byte{1};
    return 0;
  });
  EXPECT_EQ(child.Wait(), -SIGSEGV);
}

TEST(Guard, TheEnvironmentTurnsItOn) {
  for (const char* value : {"1", "0", ""}) {
    ::setenv("PANNIER_DEBUG", value, 1);
    auto pool = MakePool(8 * kMiB);
    ::unsetenv("PANNIER_DEBUG");
    Pair pair(pool);
    const Buffer block = *pool->Allocate(100);
    const Buffer view = *pair.Carry(block, false);
    EXPECT_EQ(Writable(block.mutable_data()), std::string(value) != "1") << value;
  }
}

}  // namespace
}  // namespace pannier

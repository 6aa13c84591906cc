#include "pannier/shm/memfd.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "harness.h"
#include "pannier/shm/mapping.h"

namespace pannier {
namespace {

constexpr uint64_t kSize = 64 << 10;

TEST(Memfd, IsBackedFromTheStart) {
  const auto fd = CreateMemfd("test", kSize);
  ASSERT_OK(fd);
  struct stat info = {};
  ASSERT_EQ(::fstat(fd->get(), &info), 0);
  EXPECT_EQ(static_cast<uint64_t>(info.st_size), kSize);
  EXPECT_GE(static_cast<uint64_t>(info.st_blocks) * 512, kSize);
  EXPECT_NE(::fcntl(fd->get(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST(Memfd, ASegmentIsSealedAgainstEverythingButItsOwnersMapping) {
  const auto fd = CreateMemfd("test", kSize);
  ASSERT_OK(fd);
  const auto owner = Mapping::Create(fd->get(), Access::kShared, 0, kSize);
  ASSERT_OK(owner);
  ASSERT_OK(SealSegment(fd->get()));
  owner->data()[5] = std::byte{42};

  const auto shared = Mapping::Create(fd->get(), Access::kShared, 0, kSize);
  ASSERT_FALSE(shared.ok());
  EXPECT_EQ(KindOf(shared.status()), ErrorKind::kSystem);
  EXPECT_EQ(ErrnoOf(shared.status()), EPERM);
  const auto reader = Mapping::Create(fd->get(), Access::kReadonly, 0, kSize);
  ASSERT_OK(reader);
  EXPECT_EQ(reader->data()[5], std::byte{42});
  EXPECT_EQ(::mprotect(reader->data(), kSize, PROT_READ | PROT_WRITE), -1);
  EXPECT_EQ(errno, EACCES);
  EXPECT_OK(Mapping::Create(fd->get(), Access::kPrivate, 0, kSize));

  EXPECT_EQ(::ftruncate(fd->get(), 0), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(::ftruncate(fd->get(), 2 * kSize), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(::pwrite(fd->get(), "x", 1, 0), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(::fallocate(fd->get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(::fcntl(fd->get(), F_ADD_SEALS, F_SEAL_WRITE), -1) << "seals are sealed";
  owner->data()[6] = std::byte{43};
  EXPECT_EQ(reader->data()[6], std::byte{43});
}

TEST(Memfd, CheckSealedWantsSeals) {
  const auto fd = CreateMemfd("test", kSize);
  ASSERT_OK(fd);
  const auto is_corrupt = [](int file) {
    return KindOf(CheckSealed(file, "segment 1").status()) == ErrorKind::kCorruptMessage;
  };
  EXPECT_TRUE(is_corrupt(fd->get()));
  ASSERT_EQ(::fcntl(fd->get(), F_ADD_SEALS, F_SEAL_GROW), 0);
  EXPECT_TRUE(is_corrupt(fd->get()));
  ASSERT_EQ(::fcntl(fd->get(), F_ADD_SEALS, F_SEAL_SHRINK), 0);
  EXPECT_EQ(*CheckSealed(fd->get(), "segment 1"), kSize);

  const UniqueFd plain(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  EXPECT_TRUE(is_corrupt(plain.get()));
  EXPECT_TRUE(is_corrupt(-1));
  const UniqueFd empty(::memfd_create("empty", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_OK(SealSize(empty.get()));
  EXPECT_TRUE(is_corrupt(empty.get()));
}

TEST(Memfd, ErrorsOfTheSystemAreTyped) {
  const auto huge = CreateMemfd("test", uint64_t{1} << 62);
  ASSERT_FALSE(huge.ok());
  EXPECT_EQ(KindOf(huge.status()), ErrorKind::kSystem);
  EXPECT_NE(ErrnoOf(huge.status()), 0);

  // In a child, so that the limit is not this process's.
  Child child([] {
    rlimit limit = {};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = 3;
    ::setrlimit(RLIMIT_NOFILE, &limit);
    const auto fd = CreateMemfd("test", kSize);
    return !fd.ok() && KindOf(fd.status()) == ErrorKind::kSystem && ErrnoOf(fd.status()) == EMFILE
               ? 0
               : 1;
  });
  EXPECT_EQ(child.Wait(), 0);
}

TEST(Mapping, PrivatePagesAreDropped) {
  const auto fd = CreateMemfd("test", kSize);
  ASSERT_OK(fd);
  const auto owner = Mapping::Create(fd->get(), Access::kShared, 0, kSize);
  const auto reader = Mapping::Create(fd->get(), Access::kPrivate, PageBytes(), 2 * PageBytes());
  ASSERT_OK(owner);
  ASSERT_OK(reader);
  EXPECT_EQ(reader->size(), 2 * PageBytes());
  std::byte& at_owner = owner->data()[PageBytes()];
  std::byte& at_reader = reader->data()[0];
  at_owner = std::byte{1};
  EXPECT_EQ(at_reader, std::byte{1});
  at_reader = std::byte{2};
  EXPECT_EQ(at_owner, std::byte{1});
  at_owner = std::byte{3};
  EXPECT_EQ(at_reader, std::byte{2}) << "the page is the reader's own by now";
  EXPECT_TRUE(reader->DropPages(0, PageBytes()));
  EXPECT_EQ(at_reader, std::byte{3});
}

TEST(Mapping, LockedPagesAreDroppedToo) {
  const auto fd = CreateMemfd("test", kSize);
  const auto owner = Mapping::Create(fd->get(), Access::kShared, 0, kSize);
  const auto reader = Mapping::Create(fd->get(), Access::kPrivate, 0, kSize);
  ASSERT_OK(owner);
  ASSERT_OK(reader);
  if (::mlock(reader->data(), kSize) != 0) GTEST_SKIP() << "pages cannot be locked here";
  reader->data()[0] = std::byte{2};
  EXPECT_TRUE(reader->DropPages(0, PageBytes()));
  EXPECT_EQ(reader->data()[0], std::byte{0});
}

TEST(Mapping, UnmapsAtItsEnd) {
  const auto fd = CreateMemfd("a-name-to-look-for", kSize);
  ASSERT_OK(fd);
  const int before = MappingsOf("a-name-to-look-for");
  {
    auto mapping = Mapping::Create(fd->get(), Access::kReadonly, 0, kSize);
    ASSERT_OK(mapping);
    Mapping moved = *std::move(mapping);
    EXPECT_EQ(MappingsOf("a-name-to-look-for"), before + 1);
    moved = Mapping();
    EXPECT_EQ(moved.data(), nullptr);
    EXPECT_EQ(MappingsOf("a-name-to-look-for"), before);
  }
  EXPECT_FALSE(Mapping::Create(-1, Access::kReadonly, 0, kSize).ok());
}

}  // namespace
}  // namespace pannier

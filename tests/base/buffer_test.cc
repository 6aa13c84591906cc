#include "pannier/base/buffer.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "pannier/base/allocator.h"

namespace pannier {
namespace {

class CountingOwner final : public BufferOwner {
 public:
  explicit CountingOwner(int* disposed) : disposed_(disposed) {}

 private:
  void Dispose() noexcept override { ++*disposed_; }
  int* disposed_;
};

TEST(Buffer, OwnerIsReleasedOnceByTheLastCopy) {
  int disposed = 0;
  CountingOwner owner(&disposed);
  std::byte bytes[16] = {};
  {
    Buffer first(bytes, sizeof(bytes), false, &owner);
    Buffer second = first;
    Buffer third = std::move(first);
    EXPECT_EQ(owner.refs(), 2u);
    Buffer part = second.Slice(4, 8);
    second = Buffer();
    third = Buffer();
    EXPECT_EQ(disposed, 0);
    EXPECT_EQ(part.data(), bytes + 4);
    EXPECT_EQ(part.size(), 8u);
  }
  EXPECT_EQ(disposed, 1);
}

TEST(Buffer, SelfAssignmentKeepsTheOwner) {
  Buffer buffer = Buffer::OfHeap(8);
  Buffer& alias = buffer;
  buffer = alias;
  EXPECT_EQ(buffer.owner()->refs(), 1u);
}

TEST(Buffer, HeapBytesAreAlignedAndWritable) {
  for (size_t size : {0, 1, 63, 64, 4097}) {
    Buffer buffer = Buffer::OfHeap(size);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % 64, 0u);
    EXPECT_FALSE(buffer.readonly());
    for (std::byte& b : buffer.mutable_span()) b = std::byte{7};
  }
}

TEST(Buffer, ReadonlyCopySharesTheBytes) {
  const Buffer buffer = Buffer::CopyOf(AsBytes("abc"));
  EXPECT_FALSE(buffer.readonly());
  const Buffer view = buffer.AsReadonly();
  EXPECT_TRUE(view.readonly());
  EXPECT_EQ(view.data(), buffer.data());
  EXPECT_EQ(AsText(view.span()), "abc");
}

TEST(Buffer, CopiesMayDieOnAnyThread) {
  int disposed = 0;
  CountingOwner owner(&disposed);
  {
    Buffer buffer(nullptr, 0, true, &owner);
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([copy = buffer] {
        for (int j = 0; j < 1000; ++j) Buffer again = copy;
      });
    }
    for (auto& thread : threads) thread.join();
  }
  EXPECT_EQ(disposed, 1);
}

class OneBuffer final : public BufferAllocator {
 public:
  Buffer AllocateBuffer(size_t size) override {
    last = Buffer::OfHeap(size);
    return last;
  }
  Buffer last;
};

TEST(Allocator, TheInstalledOneIsAsked) {
  OneBuffer allocator;
  InstallAllocator(&allocator);
  const Buffer buffer = AllocateBuffer(10);
  InstallAllocator(nullptr);
  EXPECT_EQ(buffer.data(), allocator.last.data());
  EXPECT_NE(AllocateBuffer(10).data(), allocator.last.data());
}

}  // namespace
}  // namespace pannier

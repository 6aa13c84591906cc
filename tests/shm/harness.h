// What the tests of shm/ need of the operating system: child processes, descriptors sent
// between them, and counts of what a process holds.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "pannier/base/buffer.h"
#include "pannier/base/unique_fd.h"
#include "pannier/shm/import.h"
#include "pannier/shm/pool.h"

namespace pannier {

// A socketpair over which plain structs and descriptors go.
class Channel {
 public:
  // Two ends.
  static std::pair<Channel, Channel> Pair();
  explicit Channel(int fd) : fd_(fd) {}

  bool SendBytes(const void* data, size_t size, int fd = -1) const;
  // False at the end of the other side.
  bool ReceiveBytes(void* data, size_t size, int* fd = nullptr) const;
  template <typename T>
  bool Send(const T& value, int fd = -1) const {
    return SendBytes(&value, sizeof(T), fd);
  }
  template <typename T>
  bool Receive(T* value, int* fd = nullptr) const {
    return ReceiveBytes(value, sizeof(T), fd);
  }
  void Close() { fd_ = UniqueFd(); }
  int fd() const { return fd_.get(); }

 private:
  UniqueFd fd_;
};

// A child process that runs `body` and exits with its result, without running anything
// of the parent's (no atexit, no static destructors).
class Child {
 public:
  explicit Child(const std::function<int()>& body);
  ~Child();  // kills, if it still runs
  pid_t pid() const { return pid_; }
  void Kill(int signal_number) const;
  // The exit code; minus the signal that ended it.
  int Wait();

 private:
  pid_t pid_;
};

// Open descriptors of this process, and its mappings whose name contains `name`.
int OpenDescriptors();
int MappingsOf(const std::string& name);

// Bytes that depend on `seed` and the position.
void Fill(std::span<std::byte> bytes, uint64_t seed);
bool Holds(ByteSpan bytes, uint64_t seed);

// A pool with few leases per peer, unless told otherwise.
std::shared_ptr<Pool> MakePool(uint64_t quota, uint32_t leases_per_peer = 64);

// An owner's row and the import of it in one process, with what a connection would do:
// announcing segments before leases.
class Pair {
 public:
  explicit Pair(std::shared_ptr<Pool> owner, const std::string& peer = "peer");
  // Grants, announces if need be, and gives the descriptor.
  StatusOr<LeaseDescriptor> Grant(const Buffer& buffer, bool readonly);
  // Grants, announces and opens.
  StatusOr<Buffer> Carry(const Buffer& buffer, bool writable);

  std::shared_ptr<Pool> pool;
  std::unique_ptr<LeaseRow> row;
  std::shared_ptr<Import> import;
};

#define ASSERT_OK(expression) ASSERT_TRUE(::pannier::IsOk(expression))
#define EXPECT_OK(expression) EXPECT_TRUE(::pannier::IsOk(expression))

inline ::testing::AssertionResult IsOk(const Status& status) {
  if (status.ok()) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << status.ToString();
}
template <typename T>
::testing::AssertionResult IsOk(const StatusOr<T>& value) {
  return IsOk(value.status());
}

}  // namespace pannier

#include "pannier/shm/memfd.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "pannier/shm/machine_memory.h"

namespace pannier {
namespace {

// A signal makes fallocate undo what it did in that call: in pieces, a process that gets
// signals often (a profiler's, say) still comes to the end. And others take memory at the
// same time, so that what is left is looked at before each piece.
constexpr uint64_t kBackAtOnce = uint64_t{16} << 20;

Status Back(int fd, uint64_t size) {
  for (uint64_t done = 0; done < size;) {
    const uint64_t available = AvailableMemory();
    if (size - done > available) {
      return SystemError(ENOMEM, absl::StrCat("cannot back ", size, " bytes of shared memory: ",
                                              done, " are, ", available, " more are available"));
    }
    const uint64_t piece = std::min(kBackAtOnce, size - done);
    if (::fallocate(fd, 0, static_cast<off_t>(done), static_cast<off_t>(piece)) == 0) {
      done += piece;
    } else if (errno != EINTR) {
      return SystemError(errno, absl::StrCat("cannot back ", size, " bytes of shared memory"));
    }
  }
  return absl::OkStatus();
}

Status Seal(int fd, int seals) {
  if (::fcntl(fd, F_ADD_SEALS, seals) == 0) return absl::OkStatus();
  return SystemError(errno, "cannot seal a memory file (Linux 5.1 or later is needed)");
}

}  // namespace

uint64_t PageBytes() {
  static const auto bytes = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  return bytes;
}

StatusOr<UniqueFd> CreateMemfd(const std::string& name, uint64_t size) {
  UniqueFd fd(::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return SystemError(errno, "cannot create a memory file");
  if (::ftruncate(fd.get(), static_cast<off_t>(size)) != 0) {
    return SystemError(errno, absl::StrCat("cannot make a memory file of ", size, " bytes"));
  }
  PANNIER_RETURN_IF_ERROR(Back(fd.get(), size));
  return fd;
}

Status SealSegment(int fd) {
  return Seal(fd, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL);
}

Status SealSize(int fd) { return Seal(fd, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL); }

StatusOr<uint64_t> CheckSealed(int fd, const std::string& what) {
  const int seals = ::fcntl(fd, F_GET_SEALS);
  if (seals < 0) {
    return MakeError(ErrorKind::kCorruptMessage,
                     absl::StrCat(what, ": the descriptor is not a memory file"));
  }
  if ((seals & F_SEAL_SHRINK) == 0 || (seals & F_SEAL_GROW) == 0) {
    return MakeError(ErrorKind::kCorruptMessage,
                     absl::StrCat(what, ": the file is not sealed against a change of size (seals ",
                                  seals, ")"));
  }
  struct stat info = {};
  if (::fstat(fd, &info) != 0) return SystemError(errno, absl::StrCat(what, ": fstat"));
  if (info.st_size <= 0) {
    return MakeError(ErrorKind::kCorruptMessage, absl::StrCat(what, ": the file is empty"));
  }
  return static_cast<uint64_t>(info.st_size);
}

}  // namespace pannier

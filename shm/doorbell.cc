#include "pannier/shm/doorbell.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"

namespace pannier {

StatusOr<Doorbell> Doorbell::Create() {
  UniqueFd fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!fd.valid()) return SystemError(errno, "doorbell: eventfd");
  return Doorbell(std::move(fd));
}

StatusOr<Doorbell> Doorbell::Adopt(UniqueFd fd) {
  // Writing to a pipe or a socket could block, or raise SIGPIPE.
  char target[64];
  const std::string link = absl::StrCat("/proc/self/fd/", fd.get());
  const ssize_t length = readlink(link.c_str(), target, sizeof(target));
  if (length < 0) return SystemError(errno, "doorbell: readlink");
  const int flags = fcntl(fd.get(), F_GETFL);
  if (std::string_view(target, static_cast<size_t>(length)) != "anon_inode:[eventfd]" ||
      flags < 0 || (flags & O_NONBLOCK) == 0) {
    return MakeError(ErrorKind::kCorruptMessage,
                     "doorbell: the peer's descriptor is not an eventfd that never blocks");
  }
  return Doorbell(std::move(fd));
}

void Doorbell::Ring() {
  const uint64_t one = 1;
  // It fails only when the count is full, and then the bell is readable already.
  (void)!write(fd_.get(), &one, sizeof(one));
}

void Doorbell::Silence() {
  uint64_t ignored;
  (void)!read(fd_.get(), &ignored, sizeof(ignored));
}

}  // namespace pannier

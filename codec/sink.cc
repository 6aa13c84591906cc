#include "pannier/codec/sink.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>

namespace pannier::codec {

Sink SinkToFd(int fd, Deadline deadline) {
  return [fd, deadline](ByteSpan bytes) -> Status {
    while (!bytes.empty()) {
      const ssize_t written = ::write(fd, bytes.data(), bytes.size());
      if (written >= 0) {
        bytes = bytes.subspan(static_cast<size_t>(written));
      } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
        pollfd room{fd, POLLOUT, 0};
        const int ready = ::poll(&room, 1, deadline.PollMillis());
        if (ready < 0 && errno != EINTR) return SystemError(errno, "poll");
        if (ready == 0 && deadline.Passed()) {
          return MakeError(ErrorKind::kDeadlineExceeded, "no room to write a pickle to");
        }
      } else if (errno != EINTR) {
        return SystemError(errno, "write of a pickle");
      }
    }
    return absl::OkStatus();
  };
}

Sink SinkToFile(std::FILE* file) {
  return [file](ByteSpan bytes) -> Status {
    if (std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size()) return absl::OkStatus();
    return SystemError(errno, "write of a pickle");
  };
}

Sink SinkToString(std::string* text) {
  return [text](ByteSpan bytes) -> Status {
    text->append(AsText(bytes));
    return absl::OkStatus();
  };
}

}  // namespace pannier::codec

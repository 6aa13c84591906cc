// What the tests of a broken link and the chaos program share.
#pragma once

#include <sys/socket.h>

#include <filesystem>
#include <string>

namespace pannier {

// Breaks every link of this process, as a program does that shuts sockets it does not own.
inline void BreakLinks() {
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    const int fd = std::stoi(entry.path().filename());
    int domain = 0, type = 0, listens = 0;
    socklen_t size = sizeof(int);
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_UNIX &&
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET &&
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens == 0) {
      shutdown(fd, SHUT_RDWR);
    }
  }
}

}  // namespace pannier

#include "pannier/transport/endpoint.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace pannier {
namespace {

constexpr size_t kMaxIpcPath = sizeof(sockaddr_un::sun_path) - 1;
constexpr uint32_t kMaxPort = 65535;

Status Invalid(const std::string& text, const std::string& why) {
  return MakeError(ErrorKind::kInvalidArgument, absl::StrCat("endpoint '", text, "': ", why));
}

}  // namespace

StatusOr<Endpoint> ParseEndpoint(const std::string& text) {
  const size_t mark = text.find("://");
  if (mark == std::string::npos) {
    return Invalid(text, "expected ipc://PATH, tcp://HOST:PORT or inproc://NAME");
  }
  Endpoint endpoint;
  endpoint.text = text;
  endpoint.address = text.substr(mark + 3);
  const std::string scheme = text.substr(0, mark);
  if (endpoint.address.empty()) return Invalid(text, "nothing stands after '://'");
  if (text.find('\0') != std::string::npos) return Invalid(text, "it holds a zero byte");
  if (scheme == "ipc") {
    endpoint.scheme = Endpoint::Scheme::kIpc;
    if (endpoint.address.size() > kMaxIpcPath) {
      return Invalid(text, absl::StrCat("the path has ", endpoint.address.size(),
                                        " bytes, a Unix socket's at most ", kMaxIpcPath));
    }
  } else if (scheme == "tcp") {
    endpoint.scheme = Endpoint::Scheme::kTcp;
    const size_t colon = endpoint.address.rfind(':');
    if (colon == std::string::npos || colon + 1 == endpoint.address.size()) {
      return Invalid(text, "a tcp endpoint ends in :PORT");
    }
    const std::string port = endpoint.address.substr(colon + 1);
    uint32_t number = 0;
    if (port != "*" && (!absl::SimpleAtoi(port, &number) || number > kMaxPort)) {
      return Invalid(text, absl::StrCat("'", port, "' is no port: 0 to ", kMaxPort, ", or *"));
    }
  } else if (scheme == "inproc") {
    endpoint.scheme = Endpoint::Scheme::kInproc;
  } else {
    return Invalid(text, absl::StrCat("unknown scheme '", scheme, "'; there are ipc, tcp, inproc"));
  }
  return endpoint;
}

Status CheckIpcPathIsFree(const Endpoint& endpoint) {
  if (endpoint.scheme != Endpoint::Scheme::kIpc) return absl::OkStatus();
  if (endpoint.address == "*" || endpoint.address[0] == '@') return absl::OkStatus();
  struct stat info {};
  if (stat(endpoint.address.c_str(), &info) != 0) return absl::OkStatus();
  if (!S_ISSOCK(info.st_mode)) {
    return Invalid(endpoint.text, "the path exists and is not a socket");
  }
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return SystemError(errno, "socket");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, endpoint.address.data(), endpoint.address.size());
  const int result = connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address));
  const int error = result == 0 ? 0 : errno;
  close(fd);
  if (error == 0 || error == EAGAIN) {  // EAGAIN: alive, with a full backlog
    return SystemError(EADDRINUSE, absl::StrCat("listen on ", endpoint.text));
  }
  return absl::OkStatus();
}

}  // namespace pannier

// What the tests of calls share: one suite runs over every way two sides can be joined.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "pannier/rpc/client.h"
#include "pannier/rpc/server.h"

namespace pannier {

struct Way {
  const char* name;
  const char* scheme;
  bool link;
};
inline std::ostream& operator<<(std::ostream& out, const Way& way) { return out << way.name; }

inline const Way kWays[] = {
    {"IpcLink", "ipc", true}, {"IpcFrames", "ipc", false}, {"TcpLink", "tcp", true}};

inline std::string WayName(const ::testing::TestParamInfo<Way>& way) { return way.param.name; }

inline std::string NewEndpoint(const Way& way) {
  static std::atomic<int> count{0};
  if (std::string_view(way.scheme) == "tcp") return "tcp://127.0.0.1:0";
  return absl::StrCat("ipc:///tmp/pannier-rpc-test-", getpid(), "-", ++count, ".sock");
}

class RpcTest : public ::testing::TestWithParam<Way> {
 protected:
  TransportOptions Transport() const {
    TransportOptions options;
    options.link = GetParam().link;
    options.insecure = true;
    return options;
  }
  std::unique_ptr<Server> NewServer(ServerOptions options = {}) const {
    options.transport.link = GetParam().link;
    options.transport.insecure = true;
    return std::make_unique<Server>(std::move(options));
  }
  // A server that is started once its methods are named.
  void Start(Server& server) {
    const Status started = server.Start(NewEndpoint(GetParam()));
    ASSERT_TRUE(started.ok()) << started;
  }
  std::shared_ptr<Client> Connect(const std::string& endpoint) const {
    ClientOptions options;
    options.transport = Transport();
    auto client = Client::Connect(endpoint, options);
    EXPECT_TRUE(client.ok()) << client.status();
    return client.ok() ? *std::move(client) : nullptr;
  }
};

inline Deadline In(absl::Duration wait) { return Deadline::After(wait); }
inline Deadline Soon() { return In(absl::Seconds(30)); }  // a test that waits so long has failed

template <class T>
ErrorKind KindOf(const StatusOr<T>& result) {
  return KindOf(result.status());
}

inline std::string TextOf(const Status& status) { return std::string(status.message()); }
template <class T>
std::string TextOf(const StatusOr<T>& result) {
  return TextOf(result.status());
}

}  // namespace pannier

#include "pannier/transport/endpoint.h"

#include <gtest/gtest.h>

namespace pannier {
namespace {

TEST(ParseEndpoint, KnowsThreeSchemes) {
  EXPECT_EQ(ParseEndpoint("ipc:///tmp/x")->address, "/tmp/x");
  EXPECT_EQ(ParseEndpoint("ipc://@abstract")->scheme, Endpoint::Scheme::kIpc);
  EXPECT_EQ(ParseEndpoint("tcp://127.0.0.1:5555")->scheme, Endpoint::Scheme::kTcp);
  EXPECT_EQ(ParseEndpoint("tcp://[::1]:*")->address, "[::1]:*");
  EXPECT_EQ(ParseEndpoint("inproc://a b")->scheme, Endpoint::Scheme::kInproc);
}

TEST(ParseEndpoint, ErrorsNameTheEndpoint) {
  const std::string long_path = "ipc:///" + std::string(200, 'p');
  for (const std::string text :
       {"", "ipc://", "/tmp/x", "udp://1.2.3.4:5", "tcp://host", "tcp://host:", "tcp://",
        "tcp://host:x", "tcp://host:80x", "tcp://host:-1", "tcp://host:65536", long_path.c_str()}) {
    const Status status = ParseEndpoint(text).status();
    EXPECT_EQ(KindOf(status), ErrorKind::kInvalidArgument) << text;
    EXPECT_NE(std::string(status.message()).find("'" + text + "'"), std::string::npos) << status;
  }
  EXPECT_FALSE(ParseEndpoint(std::string("ipc:///a\0b", 10)).ok());
}

}  // namespace
}  // namespace pannier

// The examples that the README quotes, run as they are.
#include <cstdio>

#include "rpc_test_base.h"
#include "worker_process.h"

namespace pannier {
namespace {

using ::testing::HasSubstr;

std::string OutputOf(const std::string& command) {
  std::string output;
  FILE* pipe = popen(command.c_str(), "r");
  for (int c; pipe != nullptr && (c = fgetc(pipe)) != EOF;) output += static_cast<char>(c);
  EXPECT_EQ(pipe != nullptr ? pclose(pipe) : -1, 0) << command;
  return output;
}

TEST(Examples, HelloServerAndClient) {
  const std::string endpoint = NewEndpoint(kWays[0]);
  const std::vector<std::string> command = {PANNIER_EXAMPLES "/hello_server", endpoint};
  const WorkerProcess server(command);
  // The client waits for the server.
  EXPECT_EQ(OutputOf(absl::StrCat(PANNIER_EXAMPLES "/hello_client ", endpoint)), "2\n4\n6\n");
  const auto client = Client::Connect(endpoint);
  ASSERT_TRUE(client.ok()) << client.status();
  auto x = Array<float>::Zeros({300, 400});
  x.Fill(1.5);
  const uint64_t copied = (*client)->pool()->Stats().copied_bytes;
  const auto y = (*client)->Call<Array<float>>("scale", x, 2.0f);
  ASSERT_TRUE(y.ok()) << y.status();
  EXPECT_EQ((*y)(299, 399), 3.0f);
  EXPECT_EQ((*client)->Stats().leased_bytes_received, x.any().size_bytes());
  EXPECT_EQ((*client)->pool()->Stats().copied_bytes, copied);
}

TEST(Examples, EchoServer) {
  WorkerProcess server(PANNIER_EXAMPLES "/echo_server", NewEndpoint(kWays[0]));
  const auto client = Client::Connect(server.ready());
  ASSERT_TRUE(client.ok()) << client.status();
  using Value = std::map<std::string, std::vector<int>>;
  const Value value = {{"a", {1, 2}}, {"b", {}}};
  EXPECT_EQ(*(*client)->Call<Value>("echo", value), value);
  auto x = Array<double>::Zeros({1000, 100});
  x.Fill(4);
  const auto y = (*client)->Call<Array<double>>("echo", x);
  ASSERT_TRUE(y.ok()) << y.status();
  EXPECT_EQ((*y)(999, 99), 4);
  EXPECT_THAT(TextOf((*client)->Call<int>("echo", 1, 2)), HasSubstr("echo() takes one argument"));
  server.LetGo();
  EXPECT_EQ(server.WaitForExit(), 0);
}

}  // namespace
}  // namespace pannier

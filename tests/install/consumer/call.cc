// A server and a client in one process, over the installed library: every layer is linked
// and runs. Succeeds if the answer is the argument.
#include <pannier/pannier.h>
#include <pannier/rpc/client.h>
#include <pannier/rpc/server.h>
#include <unistd.h>

#include <iostream>
#include <string>
#include <utility>
#include <vector>

int main() {
  const std::string endpoint = "ipc:///tmp/pannier-consumer-" + std::to_string(getpid());
  pannier::Server server;
  server.RawMethod("echo", [](pannier::RawCall& call) -> pannier::StatusOr<pannier::RawResult> {
    return pannier::RawResult{std::move(call.stream), std::move(call.buffers)};
  });
  if (auto status = server.Start(endpoint); !status.ok()) {
    std::cerr << status << '\n';
    return 1;
  }
  auto client = pannier::Client::Connect(endpoint);
  if (!client.ok()) {
    std::cerr << client.status() << '\n';
    return 1;
  }

  const std::string stream = "not a pickle; nobody looks at it";
  const std::vector<pannier::Buffer> buffers = {
      pannier::BufferOf(std::string(1 << 20, 'x')),
      pannier::BufferOf("short"),
  };
  const auto deadline = pannier::Deadline::After(absl::Seconds(30));
  auto result = (*client)->CallRaw("echo", {.stream = pannier::AsBytes(stream), .buffers = buffers},
                                   deadline);
  if (!result.ok()) {
    std::cerr << result.status() << '\n';
    return 1;
  }
  bool same = pannier::AsText(result->stream.span()) == stream && result->buffers.size() == 2;
  for (size_t i = 0; same && i < buffers.size(); ++i) {
    same = pannier::AsText(result->buffers[i].span()) == pannier::AsText(buffers[i].span());
  }
  std::cout << "link: " << (*client)->info().link << '\n';
  return same ? 0 : 1;
}

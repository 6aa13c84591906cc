// The worker that the tests start, kill and abandon.
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <thread>

#include "absl/strings/str_cat.h"
#include "pannier/rpc/worker.h"

int main(int argc, char** argv) {
  using pannier::RawCall;
  using pannier::RawResult;
  using pannier::StatusOr;
  pannier::ServerOptions options;
  options.transport.insecure = true;
  options.transport.link = std::getenv("PANNIER_TEST_NO_LINK") == nullptr;
  pannier::Server server(options);
  std::vector<pannier::Buffer> kept;
  server.RawMethod("echo", [](RawCall& call) -> StatusOr<RawResult> {
    return RawResult{std::move(call.stream), std::move(call.buffers)};
  });
  server.RawMethod("pid", [](RawCall&) -> StatusOr<RawResult> {
    return RawResult{pannier::BufferOf(absl::StrCat(getpid())), {}};
  });
  // Never returns.
  server.RawMethod("hang", [](RawCall&) -> StatusOr<RawResult> {
    for (;;) std::this_thread::sleep_for(std::chrono::seconds(1));
  });
  server.RawMethod("exit", [](RawCall&) -> StatusOr<RawResult> { _exit(7); });
  // Holds the caller's buffers until the end.
  server.RawMethod("keep", [&](RawCall& call) -> StatusOr<RawResult> {
    for (pannier::Buffer& buffer : call.buffers) kept.push_back(std::move(buffer));
    return RawResult();
  });
  return pannier::WorkerMain(argc, argv, server);
}

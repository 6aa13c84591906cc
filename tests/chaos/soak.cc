// soak [MESSAGES]: one pair of processes, a million messages of mixed sizes (nothing to 64 MiB,
// mostly small), each checked on its way there and back. After the first hundredth, memory,
// mappings and descriptors of both processes must not grow. Exit status 1 if they do. Among the
// first are the largest, several at a time, so that both pools have the size that they need.
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <fstream>
#include <random>

#include "pannier/transport/connection.h"
#include "parcel.h"

namespace pannier::chaos {
namespace {

constexpr size_t kUnderWay = 16;
constexpr uint64_t kLargest = uint64_t{64} << 20;
constexpr long kResidentSlackKib = 32 << 10;
constexpr long kMapsSlack = 16;
constexpr long kDescriptorSlack = 2;  // a segment more, should many large ones meet

struct Footprint {
  long descriptors = 0, mappings = 0, resident_kib = 0;

  static Footprint Take() {
    Footprint now;
    for ([[maybe_unused]] const auto& entry :
         std::filesystem::directory_iterator("/proc/self/fd")) {
      ++now.descriptors;
    }
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) ++now.mappings;
    // Of its own: pages of segments are counted when they are touched first, and belong to both.
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with("RssAnon:")) now.resident_kib = std::atol(line.c_str() + 8);
    }
    return now;
  }
};

bool Flat(const char* who, const Footprint& before, const Footprint& after) {
  const bool flat = after.descriptors <= before.descriptors + kDescriptorSlack &&
                    after.mappings <= before.mappings + kMapsSlack &&
                    after.resident_kib <= before.resident_kib + kResidentSlackKib;
  std::printf("%s: %ld -> %ld descriptors, %ld -> %ld mappings, %ld -> %ld KiB of its own: %s\n",
              who, before.descriptors, after.descriptors, before.mappings, after.mappings,
              before.resident_kib, after.resident_kib, flat ? "flat" : "GROWS");
  return flat;
}

int Fail(const std::string& what) {
  std::fprintf(stderr, "soak: %s\n", what.c_str());
  return 1;
}

uint64_t SizeOf(std::mt19937_64& random) {
  const uint64_t dice = random() % 20'000;
  if (dice == 0) return random() % kLargest;
  if (dice < 20) return random() % (1 << 20);
  return dice < 4'000 ? random() % 100'000 : random() % 500;
}

// Sends every message back; its footprint is taken where the other side's is.
int Echo(const std::string& endpoint, long first, long count) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  auto connection = Connection::Connect(endpoint, {}, Deadline::After(absl::Seconds(20)));
  if (!connection.ok()) return Fail(connection.status().ToString());
  Footprint before;
  for (long i = 0; i < count; ++i) {
    if (i == first) before = Footprint::Take();
    auto message = (*connection)->Receive(Deadline::After(absl::Seconds(60)));
    if (!message.ok()) return Fail(message.status().ToString());
    const auto parcel = Parcel::Parse(message->stream.span());
    const std::string fault = parcel.has_value() ? parcel->Fault(message->buffers) : "no parcel";
    if (!fault.empty()) return Fail(fault);
    const Status sent = (*connection)
                            ->Send({.stream = message->stream.span(), .buffers = message->buffers},
                                   Deadline::After(absl::Seconds(60)));
    if (!sent.ok()) return Fail(sent.ToString());
  }
  return Flat("receiver", before, Footprint::Take()) ? 0 : 1;
}

int Drive(Listener& listener, long first, long count) {
  auto connection = listener.Accept(Deadline::After(absl::Seconds(20)));
  if (!connection.ok()) return Fail(connection.status().ToString());
  std::mt19937_64 random(1);
  std::deque<std::string> expected;
  Footprint before;
  uint64_t bytes = 0;
  for (long sent = 0, back = 0; back < count;) {
    if (sent < count && expected.size() < kUnderWay) {
      if (sent == first) before = Footprint::Take();
      const bool largest = sent >= first / 2 && sent < first / 2 + 4;
      const Parcel parcel{static_cast<uint64_t>(sent),
                          {{largest ? kLargest : SizeOf(random), random()}}};
      auto block =
          Pool::Default()->Allocate(parcel.pieces[0].size, Deadline::After(absl::Seconds(60)));
      if (!block.ok()) return Fail(block.status().ToString());
      FillPattern(block->mutable_span(), parcel.pieces[0].seed);
      bytes += block->size();
      expected.push_back(parcel.Stream());
      const Status status =
          (*connection)
              ->Send({.stream = AsBytes(expected.back()), .buffers = {&*block, 1}},
                     Deadline::After(absl::Seconds(60)));
      if (!status.ok()) return Fail(status.ToString());
      ++sent;
      continue;
    }
    auto message = (*connection)->Receive(Deadline::After(absl::Seconds(60)));
    if (!message.ok()) return Fail(message.status().ToString());
    if (AsText(message->stream.span()) != expected.front()) return Fail("not the next message");
    const std::string fault = Parcel::Parse(message->stream.span())->Fault(message->buffers);
    if (!fault.empty()) return Fail(fault);
    expected.pop_front();
    ++back;
    if (back % (count / 10) == 0)
      std::printf("%ld messages, %.2f GB\n", back, bytes / 1e9), std::fflush(stdout);
  }
  return Flat("sender", before, Footprint::Take()) ? 0 : 1;
}

}  // namespace
}  // namespace pannier::chaos

int main(int argc, char** argv) {
  using namespace pannier;
  const long count = argc > 1 ? std::atol(argv[1]) : 1'000'000;
  if (count < 100) return chaos::Fail("usage: soak [MESSAGES, 100 or more]");
  std::string folder = (std::filesystem::temp_directory_path() / "pannier-XXXXXX").string();
  if (mkdtemp(folder.data()) == nullptr) return chaos::Fail("no temporary directory");
  const std::string endpoint = "ipc://" + folder + "/soak";
  const pid_t child = fork();
  if (child == 0) return chaos::Echo(endpoint, count / 100, count);
  auto listener = Listener::Listen(endpoint, {});
  int result = listener.ok() ? chaos::Drive(**listener, count / 100, count) : 1;
  if (result != 0) kill(child, SIGKILL);
  int status = -1;
  waitpid(child, &status, 0);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) result = 1;
  std::filesystem::remove_all(folder);
  return result;
}

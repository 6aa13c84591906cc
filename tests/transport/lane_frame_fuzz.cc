// Frames taken off a lane whose writer wrote any bytes: what LaneCarrier gives is whole, and what
// is parsed of it lies inside. The ring's words are made to fit, so that the fuzzer need not guess
// them; tests/shm/lane_fuzz.cc has those that do not.
#include <fcntl.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>

#include "pannier/transport/lane_carrier.h"

namespace {

using pannier::LaneCarrier;
using pannier::LaneInbox;
using pannier::LaneOutbox;

// Two bytes choose a record's kind and length; as many bytes follow.
void WriteRecords(pannier::LaneWriter& writer, const uint8_t* data, size_t size) {
  while (size >= 2) {
    const auto length = static_cast<uint32_t>(std::min<size_t>(data[1] * 2, size - 2));
    std::byte* const at = writer.Begin(length);
    if (at == nullptr) return;
    if (length > 0) std::memcpy(at, data + 2, length);
    writer.Commit(static_cast<uint8_t>(1 + data[0] % 5));
    data += 2 + length;
    size -= 2 + length;
  }
}

std::unique_ptr<LaneOutbox> OutboxOf(const LaneInbox& inbox, int bell) {
  using pannier::UniqueFd;
  return *LaneOutbox::Open(UniqueFd(fcntl(inbox.ring_fd(), F_DUPFD_CLOEXEC, 0)),
                           UniqueFd(fcntl(bell, F_DUPFD_CLOEXEC, 0)));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  namespace wire = pannier::wire;
  auto inbox = *LaneInbox::Create(pannier::LaneRingHeader::kLeastCapacity);
  const auto writer = OutboxOf(*inbox, inbox->doorbell().fd());
  auto unused = OutboxOf(*inbox, inbox->doorbell().fd());
  LaneCarrier carrier(std::move(inbox), std::move(unused));
  WriteRecords(writer->writer(), data, size);
  for (;;) {
    LaneCarrier::Received received;
    const auto found = carrier.Read(&received);
    if (!found.ok() || !*found) return 0;
    if (received.plain) {
      if (received.envelope_size > received.bytes.size()) __builtin_trap();
      continue;
    }
    if (received.bytes.size() < sizeof(wire::FrameHeader)) __builtin_trap();
    const bool elsewhere = received.block.has_value() || received.beside != 0;
    if (elsewhere && received.bytes.size() != sizeof(wire::FrameHeader)) __builtin_trap();
    if (received.block && received.block->generation == 0) __builtin_trap();
    if (elsewhere) continue;
    const auto frame = wire::ParseFrame(received.bytes.span(), {});
    if (frame.ok() && frame->stream.size() > received.bytes.size()) __builtin_trap();
  }
}

// The reader of a lane, on a ring whose writer wrote any bytes, and goes on writing them while
// records are looked at.
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "lane_memory.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr uint32_t kCapacity = pannier::LaneRingHeader::kLeastCapacity;
  pannier::LaneMemory memory(kCapacity);
  const auto write = [&](size_t offset) {
    const size_t count = std::min<size_t>(size, kCapacity - offset);
    if (count > 0) std::memcpy(memory.records() + offset, data, count);
  };
  write(0);
  pannier::LaneReader reader(memory.data(), kCapacity);
  uint64_t sum = 0;
  for (int taken = 0; taken < 200; ++taken) {
    pannier::LaneReader::Record record;
    const auto found = reader.Peek(&record);
    if (!found.ok() || !*found) break;
    if (record.bytes.data() < memory.records() ||
        record.bytes.data() + record.bytes.size() > memory.data() + memory.size()) {
      __builtin_trap();
    }
    for (const std::byte byte : record.bytes) sum += static_cast<uint64_t>(byte);
    if (size > 0) write(sum % kCapacity / 64 * 64);
    reader.Pop();
  }
  (void)reader.Arm();
  return 0;
}

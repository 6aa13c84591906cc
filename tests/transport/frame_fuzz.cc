// Frames and the bodies of control frames, from any bytes. The first byte chooses.
#include <cstdint>

#include "pannier/transport/handshake.h"
#include "pannier/transport/wire.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const pannier::ByteSpan bytes(reinterpret_cast<const std::byte*>(data + 1), size - 1);
  namespace wire = pannier::wire;
  switch (data[0] % 7) {
    case 0: {
      const uint64_t parts[] = {16, size};
      const auto frame = wire::ParseFrame(bytes, {parts, data[0] / 7u % 3});
      if (frame.ok() && frame->inline_bytes.size() > size) __builtin_trap();
      break;
    }
    case 1:
      (void)wire::ParseHello(bytes);
      break;
    case 2:
      (void)wire::ParseWelcome(bytes);
      break;
    case 3:
      (void)wire::ParseReason(bytes);
      break;
    case 4:
      (void)wire::ParseReady(bytes);
      break;
    case 5:
      (void)wire::ParseOffer(bytes);
      break;
    default:
      (void)wire::ParseCredit(bytes);
  }
  return 0;
}

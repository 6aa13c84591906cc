// Streams from strangers: what the direct way of Loads reads, the general one reads alike. The
// first byte of the input chooses the type, so that a corpus grows for each.
#include <cstdint>
#include <cstdlib>

#include "direct_types.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pannier::codec::direct;  // NOLINT: a program of one function
  if (size == 0) return 0;
  const pannier::ByteSpan stream(reinterpret_cast<const std::byte*>(data) + 1, size - 1);
  size_t index = 0;
  const auto check = [&]<class T>() {
    if (index++ == data[0] && Compare<T>(stream) == Outcome::kDiffers) std::abort();
  };
  ForEachType(check, AllTypes());
  return 0;
}

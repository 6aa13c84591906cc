#include "pannier/shm/sizing.h"

#include <algorithm>
#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "pannier/base/bytes.h"
#include "pannier/shm/machine_memory.h"

namespace pannier {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kFirstSegment = 4 * kMiB;
constexpr uint64_t kLargestSegment = 256 * kMiB;
constexpr uint64_t kOwnSegmentUnit = 2 * kMiB;
}  // namespace

std::optional<uint64_t> ParseByteCount(std::string_view text) {
  absl::string_view digits = absl::StripAsciiWhitespace(ToAbsl(text));
  uint64_t unit = 1;
  if (absl::ConsumeSuffix(&digits, "K")) {
    unit = uint64_t{1} << 10;
  } else if (absl::ConsumeSuffix(&digits, "M")) {
    unit = kMiB;
  } else if (absl::ConsumeSuffix(&digits, "G")) {
    unit = uint64_t{1} << 30;
  }
  uint64_t number = 0;
  if (digits.empty() || digits.find_first_not_of("0123456789") != absl::string_view::npos ||
      !absl::SimpleAtoi(digits, &number) || number == 0) {
    return std::nullopt;
  }
  return CheckedMul(number, unit);
}

StatusOr<uint64_t> DefaultQuota() {
  const char* variable = std::getenv("PANNIER_POOL_QUOTA");
  if (variable == nullptr) return std::max(UsableMemory() / 2, kFirstSegment);
  const auto quota = ParseByteCount(variable);
  if (quota) return *quota;
  return MakeError(ErrorKind::kInvalidArgument,
                   absl::StrCat("PANNIER_POOL_QUOTA is '", variable,
                                "': it must be a number of bytes, which may end in K, M or G"));
}

uint64_t NextSegmentBytes(uint64_t need, uint64_t held, uint64_t quota, uint64_t page_bytes) {
  const uint64_t room = (quota > held ? quota - held : 0) & ~(page_bytes - 1);
  if (need > room) return 0;
  const uint64_t wanted = need > kLargestSegment
                              ? RoundUp(need, kOwnSegmentUnit)  // an overflow gives 0: no room
                              : std::max(need, std::clamp(held, kFirstSegment, kLargestSegment));
  return std::min(RoundUp(wanted, page_bytes), room);
}

}  // namespace pannier

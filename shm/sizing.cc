#include "pannier/shm/sizing.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <sstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "pannier/base/bytes.h"

namespace pannier {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kFirstSegment = 4 * kMiB;
constexpr uint64_t kLargestSegment = 256 * kMiB;
constexpr uint64_t kOwnSegmentUnit = 2 * kMiB;
constexpr uint64_t kUnlimited = std::numeric_limits<uint64_t>::max();

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// The least limit from the cgroup `path` up to the root of the hierarchy at `root`.
uint64_t LimitUpwards(const std::string& root, std::string path, const std::string& file) {
  uint64_t least = kUnlimited;
  for (;;) {
    const auto limit = ParseCgroupLimit(ReadFile(absl::StrCat(root, path, "/", file)));
    if (limit) least = std::min(least, *limit);
    const size_t slash = path.rfind('/');
    if (path.empty() || slash == std::string::npos) return least;
    path.resize(slash);
  }
}

// /proc/self/cgroup has lines "id:controllers:path"; version 2 has no controllers.
uint64_t CgroupLimit() {
  uint64_t least = kUnlimited;
  for (const absl::string_view line : absl::StrSplit(ReadFile("/proc/self/cgroup"), '\n')) {
    const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3) continue;
    if (parts[1].empty()) {
      least = std::min(least, LimitUpwards("/sys/fs/cgroup", parts[2], "memory.max"));
    } else if (parts[1] == "memory") {
      least =
          std::min(least, LimitUpwards("/sys/fs/cgroup/memory", parts[2], "memory.limit_in_bytes"));
    }
  }
  return least;
}

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

std::optional<uint64_t> ParseCgroupLimit(const std::string& text) {
  uint64_t limit = 0;
  if (!absl::SimpleAtoi(absl::StripAsciiWhitespace(text), &limit)) return std::nullopt;
  return limit;
}

uint64_t HalfOfMemory() {
  const auto pages = static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES));
  const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  return std::max(std::min(pages * page, CgroupLimit()) / 2, kFirstSegment);
}

StatusOr<uint64_t> DefaultQuota() {
  const char* variable = std::getenv("PANNIER_POOL_QUOTA");
  if (variable == nullptr) return HalfOfMemory();
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

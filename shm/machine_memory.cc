#include "pannier/shm/machine_memory.h"

#include <algorithm>
#include <fstream>
#include <functional>
#include <limits>
#include <sstream>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "pannier/base/status.h"

namespace pannier {
namespace {

constexpr uint64_t kUnlimited = std::numeric_limits<uint64_t>::max();

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

uint64_t FreeOf(uint64_t limit, uint64_t used) {
  const uint64_t spare = limit / 64;
  return limit - spare > used ? limit - spare - used : 0;
}

// One directory of a cgroup hierarchy with a limit, and its files' names.
struct MemoryGroup {
  std::string directory;
  const char* usage_file;
  const char* inactive_key;
  const char* active_key;
  uint64_t limit;
};

// Calls `visit` for each limited group that this process is in, up to the roots. In a
// container the path may not be there, but the root then is the container's group.
void VisitGroups(const std::function<void(const MemoryGroup&)>& visit) {
  const std::string groups = ReadFile("/proc/self/cgroup");
  for (const absl::string_view line : absl::StrSplit(groups, '\n')) {
    // "id:controllers:path"; version 2 has no controllers.
    const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3) continue;
    const bool second = parts[1].empty();
    if (!second && parts[1] != "memory") continue;
    const std::string root = second ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
    const std::string limit_file = second ? "/memory.max" : "/memory.limit_in_bytes";
    for (std::string path = parts[2] == "/" ? "" : parts[2];; path.resize(path.rfind('/'))) {
      uint64_t limit = 0;  // the text may be "max", or no file
      const std::string text = ReadFile(absl::StrCat(root, path, limit_file));
      if (absl::SimpleAtoi(absl::StripAsciiWhitespace(text), &limit)) {
        visit(second ? MemoryGroup{root + path, "/memory.current", "inactive_file ", "active_file ",
                                   limit}
                     : MemoryGroup{root + path, "/memory.usage_in_bytes", "total_inactive_file ",
                                   "total_active_file ", limit});
      }
      if (path.rfind('/') == std::string::npos) break;
    }
  }
}

}  // namespace

std::optional<uint64_t> NumberAfter(std::string_view text, std::string_view key) {
  for (absl::string_view line : absl::StrSplit(ToAbsl(text), '\n')) {
    if (!absl::ConsumePrefix(&line, ToAbsl(key))) continue;
    line = absl::StripLeadingAsciiWhitespace(line);
    uint64_t number = 0;
    if (absl::SimpleAtoi(line.substr(0, line.find_first_not_of("0123456789")), &number)) {
      return number;
    }
  }
  return std::nullopt;
}

uint64_t UsableMemory() {
  const auto kib = NumberAfter(ReadFile("/proc/meminfo"), "MemTotal:");
  uint64_t bytes = kib ? *kib * 1024 : kUnlimited;
  VisitGroups([&](const MemoryGroup& group) { bytes = std::min(bytes, group.limit); });
  return bytes;
}

uint64_t AvailableMemory() {
  const std::string info = ReadFile("/proc/meminfo");
  const auto total = NumberAfter(info, "MemTotal:");
  const auto available = NumberAfter(info, "MemAvailable:");
  uint64_t bytes = kUnlimited;
  if (total && available) bytes = FreeOf(*total * 1024, (*total - *available) * 1024);
  VisitGroups([&](const MemoryGroup& group) {
    if (group.limit >= (uint64_t{1} << 62)) return;  // how version 1 says "none"
    uint64_t usage = 0;
    if (!absl::SimpleAtoi(absl::StripAsciiWhitespace(ReadFile(group.directory + group.usage_file)),
                          &usage)) {
      return;
    }
    const std::string stat = ReadFile(group.directory + "/memory.stat");
    const uint64_t caches = NumberAfter(stat, group.inactive_key).value_or(0) +
                            NumberAfter(stat, group.active_key).value_or(0);
    bytes = std::min(bytes, FreeOf(group.limit, usage - std::min(usage, caches)));
  });
  return bytes;
}

}  // namespace pannier

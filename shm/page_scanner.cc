#include "pannier/shm/page_scanner.h"

#include <fcntl.h>
#include <sys/ioctl.h>

#include <array>
#include <utility>

namespace pannier {
namespace {

// The kernel's interface, from its documentation (admin-guide/mm/pagemap); the system's
// headers may be older than the kernel.
struct PageRegion {
  uint64_t start;
  uint64_t end;
  uint64_t categories;
};
struct ScanRequest {
  uint64_t size;
  uint64_t flags;
  uint64_t start;
  uint64_t end;
  uint64_t walk_end;  // out: where the walk stopped
  uint64_t regions;   // address of PageRegions
  uint64_t region_count;
  uint64_t max_pages;
  uint64_t category_inverted;
  uint64_t category_mask;
  uint64_t category_anyof_mask;
  uint64_t return_mask;
};
constexpr uint64_t kIsFile = 1 << 2;
constexpr uint64_t kIsPresent = 1 << 3;
constexpr uint64_t kIsSwapped = 1 << 4;
constexpr unsigned long kPagemapScan = _IOWR('f', 16, ScanRequest);

}  // namespace

PageScanner::PageScanner()
    : PageScanner(UniqueFd(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC))) {}

PageScanner::PageScanner(UniqueFd pagemap) : pagemap_(std::move(pagemap)) {}

bool PageScanner::DropWritten(const Mapping& mapping, uint64_t offset, uint64_t size) const {
  if (!pagemap_.valid()) return mapping.DropPages(offset, size);
  // Asks for pages that are there, or swapped out, and are not the file's: copies.
  std::array<PageRegion, 16> copies;
  ScanRequest request = {};
  request.size = sizeof(request);
  request.start = reinterpret_cast<uint64_t>(mapping.data()) + offset;
  request.end = request.start + size;
  request.regions = reinterpret_cast<uint64_t>(copies.data());
  request.region_count = copies.size();
  request.category_inverted = kIsFile;
  request.category_mask = kIsFile;
  request.category_anyof_mask = kIsPresent | kIsSwapped;
  request.return_mask = kIsPresent;
  const int found = ::ioctl(pagemap_.get(), kPagemapScan, &request);
  if (found < 0) return mapping.DropPages(offset, size);
  const auto base = reinterpret_cast<uint64_t>(mapping.data());
  bool dropped = true;
  for (int i = 0; i < found; ++i) {
    const PageRegion& copy = copies[static_cast<size_t>(i)];
    dropped = mapping.DropPages(copy.start - base, copy.end - copy.start) && dropped;
  }
  // Many pieces: what was not walked is dropped whole.
  if (request.walk_end < request.end) {
    dropped = mapping.DropPages(request.walk_end - base, request.end - request.walk_end) && dropped;
  }
  return dropped;
}

}  // namespace pannier

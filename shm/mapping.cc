#include "pannier/shm/mapping.h"

#include <sys/mman.h>

#include <boost/interprocess/exceptions.hpp>
#include <boost/interprocess/mapped_region.hpp>
#include <utility>

#include "absl/strings/str_cat.h"

namespace pannier {
namespace {

namespace ipc = boost::interprocess;

// What mapped_region asks of a memory-mappable object: a descriptor.
class BorrowedFile {
 public:
  explicit BorrowedFile(int fd) : fd_(fd) {}
  ipc::mapping_handle_t get_mapping_handle() const {
    return ipc::ipcdetail::mapping_handle_from_file_handle(fd_);
  }

 private:
  const int fd_;
};

ipc::mode_t ModeOf(Access access) {
  switch (access) {
    case Access::kShared:
      return ipc::read_write;
    case Access::kReadonly:
      return ipc::read_only;
    case Access::kPrivate:
      break;
  }
  return ipc::copy_on_write;
}

const char* NameOf(Access access) {
  switch (access) {
    case Access::kShared:
      return "shared";
    case Access::kReadonly:
      return "read-only";
    case Access::kPrivate:
      break;
  }
  return "copy-on-write";
}

}  // namespace

struct Mapping::Region {
  ipc::mapped_region mapped;
};

Mapping::Mapping() = default;
Mapping::~Mapping() = default;

Mapping::Mapping(Mapping&& other) noexcept
    : region_(std::move(other.region_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  region_ = std::move(other.region_);
  data_ = std::exchange(other.data_, nullptr);
  size_ = std::exchange(other.size_, 0);
  return *this;
}

StatusOr<Mapping> Mapping::Create(int fd, Access access, uint64_t offset, uint64_t size) {
  // A private mapping of a whole segment is rarely written whole: it reserves nothing.
  const ipc::map_options_t options =
      access == Access::kPrivate ? MAP_NORESERVE : ipc::default_map_options;
  Mapping mapping;
  try {
    mapping.region_ = std::make_unique<Region>(Region{
        ipc::mapped_region(BorrowedFile(fd), ModeOf(access), static_cast<ipc::offset_t>(offset),
                           static_cast<size_t>(size), nullptr, options)});
  } catch (const ipc::interprocess_exception& error) {
    const int error_number = error.get_native_error();
    const char* hint = error_number == ENOMEM ? " (perhaps vm.max_map_count is reached)" : "";
    return SystemError(error_number, absl::StrCat("cannot map ", size, " bytes at offset ", offset,
                                                  " ", NameOf(access), hint));
  }
  mapping.data_ = static_cast<std::byte*>(mapping.region_->mapped.get_address());
  mapping.size_ = size;
  return mapping;
}

void Mapping::Populate() const {
#ifdef MADV_POPULATE_WRITE
  (void)::madvise(data_, size_, MADV_POPULATE_WRITE);  // Linux 5.14
#endif
}

bool Mapping::SetWritable(uint64_t offset, uint64_t size, bool writable) const {
  return ::mprotect(data_ + offset, size, writable ? PROT_READ | PROT_WRITE : PROT_READ) == 0;
}

bool Mapping::DropPages(uint64_t offset, uint64_t size) const {
  if (::madvise(data_ + offset, size, MADV_DONTNEED) == 0) return true;
  // The usual reason is mlockall(2): locked pages are not dropped. Locked or not, these
  // are to be used for something else now.
  return ::munlock(data_ + offset, size) == 0 &&
         ::madvise(data_ + offset, size, MADV_DONTNEED) == 0;
}

}  // namespace pannier

// Mapping: a range of a memory file in this process's addresses. The one place that uses
// Boost.Interprocess is behind it, and so do its exceptions end here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "pannier/base/status.h"

namespace pannier {

enum class Access {
  kShared,    // read and write the file's pages
  kReadonly,  // read the file's pages
  kPrivate,   // read them; a write makes a copy of the page that this process alone sees
};

// Move-only; unmaps at its end.
class Mapping {
 public:
  // REQUIRES: size > 0; `offset` is a multiple of the page size; the range lies inside the
  // file, and the file cannot shrink. `fd` is not kept. Errors: kSystem with the errno.
  static StatusOr<Mapping> Create(int fd, Access access, uint64_t offset, uint64_t size);

  Mapping();
  ~Mapping();
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;

  std::byte* data() const { return data_; }  // null: nothing is mapped
  uint64_t size() const { return size_; }

  // Enters all pages into the page tables at once, which costs a fraction of as many
  // faults later. Advice: where the system cannot, the faults come.
  void Populate() const;

  // Takes from a kShared mapping's range the right to be written to, or gives it back. The
  // seal of a segment does not stand against that: it forbids new mappings. REQUIRES: whole
  // pages inside the mapping. False if the system refused (vm.max_map_count), and nothing
  // changed.
  bool SetWritable(uint64_t offset, uint64_t size, bool writable) const;

  // Forgets this process's copies of pages of a kPrivate mapping, so that the range shows
  // the file again. REQUIRES: whole pages inside the mapping. False if the system refused:
  // then some copies may still show.
  bool DropPages(uint64_t offset, uint64_t size) const;

 private:
  struct Region;
  std::unique_ptr<Region> region_;
  std::byte* data_ = nullptr;
  uint64_t size_ = 0;
};

}  // namespace pannier

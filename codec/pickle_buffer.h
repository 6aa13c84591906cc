// PickleBuffer: memory that may travel out of band, and how a program looks at it: its items'
// format, shape and strides (PEP 574, PEP 3118). A pickle carries contiguous bytes alone, so
// raw() is what travels; one that is not contiguous is refused.
//
//   auto image = PickleBuffer::Of(memory, "B", 1, {480, 640, 3});
//   auto value = image->ToValue(document);
//
// ArrayView (array.h) is the typed way to arrays; this is for memory of any kind.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pannier/base/buffer.h"
#include "pannier/base/status.h"
#include "pannier/codec/document.h"

namespace pannier::codec {

// Copies share the memory, but release() is of this one alone. Thread-compatible.
class PickleBuffer {
 public:
  // One dimension of bytes.
  explicit PickleBuffer(Buffer memory);

  // `memory` as items of `itemsize` bytes with a format of Python's struct module, which is not
  // interpreted. `strides` are in bytes, may be negative or 0, and are those of C order if
  // empty; the first item then lies at `offset`. Errors: InvalidArgument, if an item lies
  // outside of the memory, or the numbers contradict each other.
  static StatusOr<PickleBuffer> Of(Buffer memory, std::string_view format, size_t itemsize,
                                   std::vector<int64_t> shape, std::vector<int64_t> strides = {},
                                   size_t offset = 0);

  const std::string& format() const { return format_; }
  size_t itemsize() const { return itemsize_; }
  std::span<const int64_t> shape() const { return shape_; }
  std::span<const int64_t> strides() const { return strides_; }
  bool readonly() const { return memory_.readonly(); }
  size_t nbytes() const;  // of all items together

  // Whether the items lie one behind the other, in the order in which the last index changes
  // fastest, or the first. Both, for one dimension and for no items.
  bool c_contiguous() const;
  bool f_contiguous() const;

  // The items' memory as bytes: the same memory, and read-only if it is. Errors: Pickling, if it
  // is neither C- nor Fortran-contiguous; Closed, after release().
  StatusOr<Buffer> raw() const;

  // Gives up this hold on the memory; raw() and ToValue() are errors from then on.
  void release();
  bool released() const { return released_; }

  // A Buffer value: offered out of band by an encoder of protocol 5. Errors: those of raw().
  StatusOr<Value> ToValue(Document& document) const;

 private:
  PickleBuffer() = default;
  bool Contiguous(bool c_order) const;

  Buffer memory_;  // begins at the lowest byte of any item
  std::string format_ = "B";
  size_t itemsize_ = 1;
  std::vector<int64_t> shape_;
  std::vector<int64_t> strides_;
  bool released_ = false;
};

}  // namespace pannier::codec

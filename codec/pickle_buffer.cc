#include "pannier/codec/pickle_buffer.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace pannier::codec {
namespace {

// As many as Python's memoryview takes.
constexpr size_t kMostDimensions = 64;

Status Wrong(std::string_view what) { return MakeError(ErrorKind::kInvalidArgument, what); }

}  // namespace

PickleBuffer::PickleBuffer(Buffer memory)
    : memory_(std::move(memory)), shape_{static_cast<int64_t>(memory_.size())}, strides_{1} {}

StatusOr<PickleBuffer> PickleBuffer::Of(Buffer memory, std::string_view format, size_t itemsize,
                                        std::vector<int64_t> shape, std::vector<int64_t> strides,
                                        size_t offset) {
  if (itemsize == 0) return Wrong("a PickleBuffer of items of no bytes");
  if (itemsize > (size_t{1} << 62)) return Wrong("a PickleBuffer of impossible items");
  if (shape.size() > kMostDimensions) {
    return Wrong(absl::StrCat("a PickleBuffer of ", shape.size(), " dimensions; at most ",
                              kMostDimensions, " are possible"));
  }
  bool empty = false;
  for (const int64_t extent : shape) {
    if (extent < 0) return Wrong("a PickleBuffer of negative extent");
    empty = empty || extent == 0;
  }
  if (strides.empty()) {
    strides.resize(shape.size());
    auto step = static_cast<int64_t>(itemsize);
    for (size_t i = shape.size(); i-- > 0;) {
      strides[i] = step;
      if (!empty && __builtin_mul_overflow(step, shape[i], &step)) {
        return Wrong("a PickleBuffer larger than any memory");
      }
    }
  }
  if (strides.size() != shape.size()) {
    return Wrong(absl::StrCat("a PickleBuffer of ", shape.size(), " dimensions and ",
                              strides.size(), " strides"));
  }
  // The lowest byte of an item, and the one behind the highest.
  auto low = static_cast<int64_t>(offset);
  int64_t high = 0;
  if (low < 0 || __builtin_add_overflow(low, static_cast<int64_t>(itemsize), &high)) {
    return Wrong("a PickleBuffer outside of its memory");
  }
  for (size_t i = 0; i < shape.size() && !empty; ++i) {
    int64_t reach = 0;
    int64_t* const end = strides[i] < 0 ? &low : &high;
    if (__builtin_mul_overflow(shape[i] - 1, strides[i], &reach) ||
        __builtin_add_overflow(*end, reach, end)) {
      return Wrong("a PickleBuffer outside of its memory");
    }
  }
  if (empty) low = high = 0;
  if (low < 0 || static_cast<uint64_t>(high) > memory.size()) {
    return Wrong(absl::StrCat("a PickleBuffer of bytes ", low, " to ", high, " of a memory of ",
                              memory.size()));
  }
  PickleBuffer buffer;
  buffer.memory_ = memory.Slice(static_cast<size_t>(low), static_cast<size_t>(high - low));
  buffer.format_ = format;
  buffer.itemsize_ = itemsize;
  buffer.shape_ = std::move(shape);
  buffer.strides_ = std::move(strides);
  return buffer;
}

size_t PickleBuffer::nbytes() const {
  size_t bytes = itemsize_;
  for (const int64_t extent : shape_) {
    if (extent == 0) return 0;
  }
  // A dimension of stride 0 may have any extent, so this can be more than the memory, and wraps
  // where memory has no such size.
  for (const int64_t extent : shape_) bytes *= static_cast<size_t>(extent);
  return bytes;
}

bool PickleBuffer::Contiguous(bool c_order) const {
  if (nbytes() == 0) return true;
  auto step = static_cast<int64_t>(itemsize_);
  for (size_t n = 0; n < shape_.size(); ++n) {
    const size_t i = c_order ? shape_.size() - 1 - n : n;
    if (shape_[i] != 1 && strides_[i] != step) return false;
    if (__builtin_mul_overflow(step, shape_[i], &step)) return false;
  }
  return true;
}

bool PickleBuffer::c_contiguous() const { return Contiguous(true); }
bool PickleBuffer::f_contiguous() const { return Contiguous(false); }

StatusOr<Buffer> PickleBuffer::raw() const {
  if (released_) return MakeError(ErrorKind::kClosed, "the PickleBuffer was released");
  if (!c_contiguous() && !f_contiguous()) {
    return MakeError(ErrorKind::kPickling,
                     "cannot pickle a PickleBuffer that is not contiguous: copy it first");
  }
  return memory_;
}

void PickleBuffer::release() {
  memory_ = Buffer();
  released_ = true;
}

StatusOr<Value> PickleBuffer::ToValue(Document& document) const {
  PANNIER_ASSIGN_OR_RETURN(Buffer bytes, raw());
  return document.NewBuffer(std::move(bytes));
}

}  // namespace pannier::codec

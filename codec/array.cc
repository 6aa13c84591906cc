#include "pannier/codec/array.h"

#include <cstring>
#include <limits>
#include <new>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace pannier::codec {
namespace {

// NumPy counts bytes with a signed number.
constexpr uint64_t kMaxBytes = std::numeric_limits<ptrdiff_t>::max();

// The number of elements, or nothing if they have too many bytes; dimensions of 0 count as 1
// first, so that every stride can be computed.
std::optional<size_t> CountElements(const Shape& shape, size_t itemsize) {
  uint64_t count = 1;
  bool none = false;
  for (const size_t extent : shape.span()) {
    none = none || extent == 0;
    const auto product = CheckedMul(count, std::max<size_t>(extent, 1));
    if (!product) return std::nullopt;
    count = *product;
  }
  if (count > kMaxBytes / itemsize) return std::nullopt;
  return none ? 0 : count;
}

// Bytes from the first element's first to the last one's last; nothing if it overflows.
std::optional<uint64_t> SpanBytes(const Shape& shape, const Extents& strides, size_t itemsize) {
  uint64_t last = 0;
  for (size_t i = 0; i < shape.rank(); ++i) {
    const auto step = CheckedMul(shape[i] - 1, strides[i]);
    const auto sum = step ? CheckedAdd(last, *step) : std::nullopt;
    if (!sum) return std::nullopt;
    last = *sum;
  }
  if (last >= kMaxBytes / itemsize) return std::nullopt;
  return (last + 1) * itemsize;
}

Status TooLarge(DType dtype, const Shape& shape) {
  return MakeError(ErrorKind::kInvalidArgument,
                   absl::StrCat("an array of shape ", ShapeText(shape.span()), " and dtype ",
                                dtype.Name(), " is larger than any memory"));
}

// Copies the elements of `array` in C order to `out`, one at a time.
void Gather(const AnyArray& array, std::byte* out) {
  const size_t itemsize = array.dtype().itemsize;
  const auto shape = array.shape();
  const auto strides = array.strides();
  absl::InlinedVector<size_t, 4> index(shape.size(), 0);
  const std::byte* from = array.data();
  for (size_t left = array.size(); left > 0; --left) {
    std::memcpy(out, from, itemsize);
    out += itemsize;
    for (size_t d = shape.size(); d-- > 0;) {
      from += strides[d] * itemsize;
      if (++index[d] < shape[d]) break;
      from -= strides[d] * itemsize * shape[d];
      index[d] = 0;
    }
  }
}

void SwapBytes(std::span<std::byte> bytes, size_t unit) {
  for (size_t at = 0; at < bytes.size(); at += unit) {
    std::reverse(bytes.begin() + static_cast<ptrdiff_t>(at),
                 bytes.begin() + static_cast<ptrdiff_t>(at + unit));
  }
}

}  // namespace

std::string ShapeText(std::span<const size_t> shape) {
  return absl::StrCat("(", absl::StrJoin(shape, ", "), shape.size() == 1 ? ",)" : ")");
}

std::optional<Extents> DenseStrides(const Shape& shape, Order order, size_t itemsize) {
  if (!CountElements(shape, itemsize)) return std::nullopt;
  Extents strides = shape;
  size_t step = 1;
  for (size_t i = 0; i < shape.rank(); ++i) {
    const size_t d = order == Order::kC ? shape.rank() - 1 - i : i;
    strides[d] = step;
    step *= std::max<size_t>(shape[d], 1);
  }
  return strides;
}

AnyArray::AnyArray(DType dtype, const Shape& shape, const Extents& strides, Buffer buffer,
                   size_t offset)
    : dtype_(dtype),
      size_(*CountElements(shape, dtype.itemsize)),
      offset_(offset),
      shape_(shape),
      strides_(strides),
      buffer_(std::move(buffer)) {
  layout_ = FindLayout();
}

StatusOr<AnyArray> AnyArray::Over(DType dtype, const Shape& shape, const Extents& strides,
                                  Buffer buffer, size_t offset) {
  if (shape.rank() > kMaxRank || strides.rank() != shape.rank()) {
    return MakeError(
        ErrorKind::kInvalidArgument,
        absl::StrCat("an array has at most ", kMaxRank, " dimensions, and a stride for each: got ",
                     shape.rank(), " and ", strides.rank()));
  }
  const auto count = CountElements(shape, dtype.itemsize);
  if (!count) return TooLarge(dtype, shape);
  uint64_t needed = 0;
  if (*count > 0) {
    const auto bytes = SpanBytes(shape, strides, dtype.itemsize);
    if (!bytes) return TooLarge(dtype, shape);
    needed = *bytes;
  }
  if (!RangeInside(offset, needed, buffer.size())) {
    return MakeError(ErrorKind::kInvalidArgument,
                     absl::StrCat("an array of shape ", ShapeText(shape.span()), " and dtype ",
                                  dtype.Name(), " needs ", needed, " bytes",
                                  offset == 0 ? "" : absl::StrCat(" from byte ", offset),
                                  ", its buffer has ", buffer.size()));
  }
  return AnyArray(dtype, shape, strides, std::move(buffer), offset);
}

StatusOr<AnyArray> AnyArray::Over(DType dtype, const Shape& shape, Order order, Buffer buffer,
                                  size_t offset) {
  const auto strides = DenseStrides(shape, order, dtype.itemsize);
  if (!strides) return TooLarge(dtype, shape);
  return Over(dtype, shape, *strides, std::move(buffer), offset);
}

AnyArray AnyArray::New(DType dtype, const Shape& shape, Order order) {
  const auto strides = DenseStrides(shape, order, dtype.itemsize);
  if (!strides || shape.rank() > kMaxRank) throw std::bad_array_new_length();
  const size_t bytes = *CountElements(shape, dtype.itemsize) * dtype.itemsize;
  return AnyArray(dtype, shape, *strides, AllocateBuffer(bytes), 0);
}

uint8_t AnyArray::FindLayout() const {
  if (size_ <= 1) return kIsC | kIsFortran | kIsDense;
  // Dimensions of one element have no say.
  absl::InlinedVector<std::pair<size_t, size_t>, 4>
      steps;  // stride, extent: slowest dimension first
  for (size_t d = 0; d < rank(); ++d) {
    if (shape_[d] > 1) steps.emplace_back(strides_[d], shape_[d]);
  }
  const auto without_gaps = [](auto first, auto last) {
    size_t expected = 1;
    for (; first != last; ++first) {
      if (first->first != expected) return false;
      expected *= first->second;
    }
    return true;
  };
  uint8_t layout = 0;
  if (without_gaps(steps.rbegin(), steps.rend())) layout |= kIsC;
  if (without_gaps(steps.begin(), steps.end())) layout |= kIsFortran;
  if (layout == 0) std::ranges::sort(steps);
  if (layout != 0 || without_gaps(steps.begin(), steps.end())) layout |= kIsDense;
  return layout;
}

AnyArray AnyArray::Row(size_t index) const {
  Shape shape;
  Extents strides;
  for (size_t d = 1; d < rank(); ++d) {
    shape.push_back(shape_[d]);
    strides.push_back(strides_[d]);
  }
  const size_t offset = offset_ + (size_ == 0 ? 0 : index * strides_[0] * dtype_.itemsize);
  return AnyArray(dtype_, shape, strides, buffer_, offset);
}

AnyArray AnyArray::Copy() const {
  if (!is_dense()) return CopyToC();
  AnyArray copy = New(NativeDType(), shape_, Order::kC);
  copy = AnyArray(copy.dtype_, shape_, strides_, std::move(copy.buffer_), 0);
  if (size_ == 0) return copy;
  std::memcpy(copy.buffer_.mutable_data(), data(), size_bytes());
  if (dtype_.big_endian) SwapBytes(copy.buffer_.mutable_span(), dtype_.swap_unit());
  return copy;
}

AnyArray AnyArray::CopyToC() const {
  AnyArray copy = New(NativeDType(), shape_, Order::kC);
  if (size_ == 0) return copy;
  Gather(*this, copy.buffer_.mutable_data());
  if (dtype_.big_endian) SwapBytes(copy.buffer_.mutable_span(), dtype_.swap_unit());
  return copy;
}

DType AnyArray::NativeDType() const {
  DType native = dtype_;
  native.big_endian = false;
  return native;
}

AnyArray AnyArray::AsReadonly() const {
  AnyArray copy = *this;
  copy.buffer_ = buffer_.AsReadonly();
  return copy;
}

}  // namespace pannier::codec

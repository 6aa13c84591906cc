#include "pannier/codec/convert_numpy.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "pannier/codec/array_record.h"
#include "pannier/codec/convert_array.h"
#include "pannier/codec/convert_dtype.h"
#include "pannier/codec/convert_shapes.h"

namespace pannier::codec::internal {

Status ScalarFrom(const Value& value, const DType& dtype, std::byte* out, const Place& place) {
  const std::string expected = "NumPy " + dtype.Name();
  const auto args = value.is(Kind::kReduce) ? ArgumentsOf(value) : std::nullopt;
  if (!args || args->size() != 2 || !IsNumpyCore(value.callee(), "multiarray", "scalar")) {
    return place.Expected(expected, value);
  }
  auto found = codec::DTypeOf((*args)[0], nullptr, &dtype);
  const bool swapped = found && found->big_endian;
  if (found) found->big_endian = false;
  const auto bytes = OldBytesOf((*args)[1], place.document());
  if (found != dtype || !bytes || bytes->bytes.size() != dtype.itemsize) {
    return place.Expected(expected, value);
  }
  std::memcpy(out, bytes->bytes.data(), dtype.itemsize);
  for (size_t at = 0; swapped && at < dtype.itemsize; at += dtype.swap_unit()) {
    std::reverse(out + at, out + at + dtype.swap_unit());
  }
  // A bool is 0 or 1, whatever a stranger says.
  const auto clean = [&](size_t at) { out[at] = static_cast<std::byte>(out[at] != std::byte{0}); };
  if (dtype.kind == DTypeKind::kBool) clean(0);
  if (dtype.layout != nullptr) std::ranges::for_each(dtype.layout->bools, clean);
  return absl::OkStatus();
}

Value ScalarTo(const DType& dtype, ByteSpan bytes, Builder& builder) {
  Document& document = builder.document();
  // NumPy 2 loads this name in silence, and NumPy 1 has no other.
  return document.NewReduce(document.NewGlobal("numpy.core.multiarray", "scalar"),
                            {DTypeTo(dtype, document), document.NewBytes(bytes)});
}

}  // namespace pannier::codec::internal

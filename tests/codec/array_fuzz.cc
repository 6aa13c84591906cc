// Streams from strangers as typed values: whatever a stream says, conversion ends, within its
// limits, and every element of what it gives can be read and written. What is read is written
// again, and comes back the same.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <numeric>
#include <set>

#include "pannier/codec/dumps.h"
#include "pannier/codec/loads.h"

namespace pannier::codec {
namespace {

void Require(bool condition) {
  if (!condition) std::abort();
}

// Reads every element, so that the sanitizers see where they lie.
uint64_t Sum(const AnyArray& array) {
  uint64_t sum = 0;
  if (array.size() > 1 << 20) return sum;  // repeated by strides of 0
  const AnyArray copy = array.CopyToC();
  for (size_t i = 0; i < copy.size_bytes(); ++i) sum += static_cast<uint8_t>(copy.data()[i]);
  return sum;
}

struct Sample {
  std::optional<std::string> name;
  Array<float> data;
};

using Anything =
    std::variant<bool, int64_t, uint64_t, double, std::complex<double>, std::string, Array<double>,
                 Array<bool>, ArrayView<const int32_t>, AnyArray, std::vector<uint16_t>, Buffer,
                 absl::Time, absl::CivilSecond, absl::CivilDay, absl::Duration, Sample, Document>;
using Nested = std::variant<std::map<std::string, Anything>, std::vector<Anything>,
                            std::set<std::pair<int, std::string>>, Anything>;

}  // namespace

template <>
struct PythonClass<Sample> {
  static constexpr std::string_view kModule = "m";
  static constexpr std::string_view kName = "S";
  static constexpr auto kFields =
      std::tuple(Field("name", &Sample::name), Field("data", &Sample::data));
};

namespace {

void CheckArray(const Document& document, const ConvertOptions& options) {
  const auto any = As<AnyArray>(document, options);
  if (!any.ok()) return;
  Sum(*any);
  auto own = As<Array<double>>(document, options);
  if (own.ok()) own->Fill(1);
  const auto bools = As<ArrayView<const bool>>(document, options);
  if (bools.ok() && bools->is_dense()) {
    for (const bool& b : bools->flat()) Require(reinterpret_cast<const uint8_t&>(b) <= 1);
  }
  if (any->size() > 1 << 20) return;
  // There and back.
  const auto encoded = Dumps(*any);
  Require(encoded.ok());
  const auto back = Loads<AnyArray>(AsBytes(encoded->stream), encoded->buffers);
  Require(back.ok());
  Require(std::ranges::equal(back->shape(), any->shape()));
  Require(Sum(*back) == Sum(*any));
}

void Check(ByteSpan input) {
  // The first byte says how long the out-of-band buffer is, and where it begins.
  if (input.empty()) return;
  const auto setup = static_cast<uint8_t>(input[0]);
  Buffer whole = Buffer::OfHeap(setup % 64 + 8);
  std::memset(whole.mutable_data(), setup, whole.size());
  const Buffer part = whole.Slice(setup % 8, setup % 64);
  const Buffer buffers[] = {part, part.AsReadonly(), whole};

  DecodeOptions decode;
  decode.buffers = buffers;
  const auto document = Decode(input.subspan(1), decode);
  if (!document.ok()) return;
  ConvertOptions options;
  options.max_bytes = 1 << 24;
  options.max_depth = 50;
  CheckArray(*document, options);
  const auto nested = As<Nested>(*document, options);
  if (!nested.ok()) return;
  const auto encoded = Dumps(*nested);
  // What a stream may say and none of ours may: text that is not UTF-8, for one.
  if (!encoded.ok()) return;
  Require(Loads<Nested>(AsBytes(encoded->stream), encoded->buffers).ok());
}

}  // namespace
}  // namespace pannier::codec

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  pannier::codec::Check({reinterpret_cast<const std::byte*>(data), size});
  return 0;
}

#include "pannier/codec/convert_container.h"

#include "absl/strings/str_cat.h"

namespace pannier::codec::internal {

Status CheckLength(const std::optional<std::span<const Value>>& items, size_t length,
                   const Value& value, const Place& place) {
  if (items && items->size() == length) return absl::OkStatus();
  return place.Expected(absl::StrCat("tuple of ", length), value);
}

Status CheckRankOne(const AnyArray& array, const Place& place) {
  if (array.rank() == 1) return absl::OkStatus();
  return place.Error(absl::StrCat(
      "expected a list or an array of one dimension, found an array of ", array.rank()));
}

}  // namespace pannier::codec::internal

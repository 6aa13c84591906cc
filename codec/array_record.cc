#include "pannier/codec/array_record.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "pannier/base/status.h"

namespace pannier::codec {

void RecordLayout::Add(std::string_view name, size_t offset, DType dtype,
                       std::vector<size_t> shape) {
  size_t count = 1;
  for (const size_t extent : shape) count *= extent;
  for (size_t i = 0; i < count; ++i) {
    const size_t at = offset + i * dtype.itemsize;
    if (dtype.kind == DTypeKind::kBool) bools.push_back(at);
    if (dtype.layout == nullptr) continue;
    for (const size_t inner : dtype.layout->bools) bools.push_back(at + inner);
  }
  fields.push_back({name, offset, dtype, std::move(shape)});
}

std::string RecordLayout::Text() const {
  std::string text = "structure (";
  for (const RecordField& field : fields) {
    absl::StrAppend(&text, &field == fields.data() ? "" : ", ", ToAbsl(field.name), ": ",
                    field.dtype.Name());
    if (!field.shape.empty()) absl::StrAppend(&text, "[", absl::StrJoin(field.shape, ", "), "]");
    absl::StrAppend(&text, " at ", field.offset);
  }
  absl::StrAppend(&text, "; ", itemsize, " bytes)");
  return text;
}

}  // namespace pannier::codec

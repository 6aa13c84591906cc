#include "pannier/codec/loads.h"

#include "absl/strings/str_cat.h"

namespace pannier::codec::internal {

Status CheckArgumentCount(const Document& document, size_t count) {
  const Value& root = document.root();
  if (!root.is(Kind::kTuple)) {
    return MakeError(ErrorKind::kInvalidArgument,
                     absl::StrCat("expected a tuple of arguments, found ", Describe(root)));
  }
  if (root.size() == count) return absl::OkStatus();
  return MakeError(ErrorKind::kInvalidArgument,
                   absl::StrCat("expected ", count, count == 1 ? " argument" : " arguments",
                                ", found ", root.size()));
}

}  // namespace pannier::codec::internal

#include "pannier/base/status.h"

#include <array>
#include <cstring>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace pannier {
namespace {

constexpr char kKindPayload[] = "pannier/kind";
constexpr char kErrnoPayload[] = "pannier/errno";

struct KindRow {
  std::string_view name;
  absl::StatusCode code;
};

constexpr std::array<KindRow, kLastErrorKind + 1> kKinds = {{
    {"None", absl::StatusCode::kUnknown},
    {"ConnectionLost", absl::StatusCode::kUnavailable},
    {"DeadlineExceeded", absl::StatusCode::kDeadlineExceeded},
    {"PoolExhausted", absl::StatusCode::kResourceExhausted},
    {"CorruptMessage", absl::StatusCode::kDataLoss},
    {"ForbiddenGlobal", absl::StatusCode::kPermissionDenied},
    {"RemoteError", absl::StatusCode::kUnknown},
    {"InvalidArgument", absl::StatusCode::kInvalidArgument},
    {"PicklingError", absl::StatusCode::kInvalidArgument},
    {"UnpicklingError", absl::StatusCode::kInvalidArgument},
    {"Refused", absl::StatusCode::kFailedPrecondition},
    {"Closed", absl::StatusCode::kFailedPrecondition},
    {"Interrupted", absl::StatusCode::kAborted},
    {"Forked", absl::StatusCode::kFailedPrecondition},
    {"UnknownMethod", absl::StatusCode::kUnimplemented},
    {"SystemError", absl::StatusCode::kInternal},
    {"Cancelled", absl::StatusCode::kCancelled},
    {"Limit", absl::StatusCode::kResourceExhausted},
}};

int NumberPayload(const Status& status, const char* url) {
  const auto payload = status.GetPayload(url);
  int number = 0;
  if (!payload || !absl::SimpleAtoi(std::string(*payload), &number)) return 0;
  return number;
}

}  // namespace

std::string_view ErrorKindName(ErrorKind kind) {
  const auto index = static_cast<size_t>(kind);
  return index < kKinds.size() ? kKinds[index].name : "unknown";
}

Status MakeError(ErrorKind kind, std::string_view message) {
  const auto index = static_cast<size_t>(kind);
  Status status(kKinds[index < kKinds.size() ? index : 0].code, ToAbsl(message));
  status.SetPayload(kKindPayload, absl::Cord(absl::StrCat(index)));
  return status;
}

Status SystemError(int error_number, std::string_view what) {
  Status status = MakeError(
      ErrorKind::kSystem,
      absl::StrCat(ToAbsl(what), ": ", strerror(error_number), " (errno ", error_number, ")"));
  status.SetPayload(kErrnoPayload, absl::Cord(absl::StrCat(error_number)));
  return status;
}

ErrorKind KindOf(const Status& status) {
  if (status.ok()) return ErrorKind::kNone;
  const int number = NumberPayload(status, kKindPayload);
  return number > 0 && number <= kLastErrorKind ? static_cast<ErrorKind>(number) : ErrorKind::kNone;
}

int ErrnoOf(const Status& status) { return NumberPayload(status, kErrnoPayload); }

Status Annotate(const Status& status, std::string_view context) {
  if (status.ok()) return status;
  Status annotated(status.code(), absl::StrCat(ToAbsl(context), ": ", status.message()));
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) {
    annotated.SetPayload(url, payload);
  });
  return annotated;
}

}  // namespace pannier

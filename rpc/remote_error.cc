#include "pannier/rpc/remote_error.h"

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "pannier/rpc/envelope.h"

namespace pannier {
namespace {

// The failure as in an error envelope, uncut, and behind it the exception.
constexpr char kFailurePayload[] = "pannier/remote";

constexpr char kOwnModule[] = "pannier";
constexpr char kAbslModule[] = "absl";

}  // namespace

Status MakeRemoteError(const RemoteFailure& failure, std::string_view context) {
  std::string message;
  if (!context.empty()) message = absl::StrCat(ToAbsl(context), ": ");
  if (!failure.qualname.empty() && failure.module != kOwnModule) {
    absl::StrAppend(&message, failure.qualname, failure.message.empty() ? "" : ": ");
  }
  message += failure.message;
  Status status =
      MakeError(failure.kind == ErrorKind::kNone ? ErrorKind::kRemote : failure.kind, message);
  status.SetPayload(kFailurePayload,
                    absl::Cord(rpc::SerializeFailure(failure) + failure.exception));
  return status;
}

std::optional<RemoteFailure> RemoteFailureOf(const Status& status) {
  const auto payload = status.GetPayload(kFailurePayload);
  if (!payload) return std::nullopt;
  const std::string bytes(*payload);
  ByteSpan exception;
  StatusOr<RemoteFailure> failure = rpc::ParseFailure(AsBytes(bytes), &exception);
  if (!failure.ok()) return std::nullopt;
  failure->exception = AsText(exception);
  return *std::move(failure);
}

RemoteFailure FailureFrom(const Status& status) {
  if (auto failure = RemoteFailureOf(status)) return *std::move(failure);
  RemoteFailure failure;
  failure.message = std::string(status.message());
  const ErrorKind kind = KindOf(status);
  if (kind != ErrorKind::kNone) {
    failure.kind = kind;
    failure.module = kOwnModule;
    failure.qualname = ErrorKindName(kind);
  } else {
    failure.module = kAbslModule;
    failure.qualname = absl::StatusCodeToString(status.code());
  }
  return failure;
}

}  // namespace pannier

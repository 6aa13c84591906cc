#include "pannier/base/status.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace pannier {
namespace {

TEST(Status, EveryKindSurvivesTheRoundTrip) {
  for (uint8_t number = 1; number <= kLastErrorKind; ++number) {
    const auto kind = static_cast<ErrorKind>(number);
    const Status status = MakeError(kind, "text");
    EXPECT_FALSE(status.ok());
    EXPECT_EQ(KindOf(status), kind);
    EXPECT_NE(ErrorKindName(kind), "unknown");
  }
}

TEST(Status, ForeignErrorsHaveNoKind) {
  EXPECT_EQ(KindOf(absl::OkStatus()), ErrorKind::kNone);
  EXPECT_EQ(KindOf(absl::InternalError("x")), ErrorKind::kNone);
}

TEST(Status, SystemErrorsKeepTheirErrno) {
  const Status status = SystemError(EMFILE, "memfd_create");
  EXPECT_EQ(KindOf(status), ErrorKind::kSystem);
  EXPECT_EQ(ErrnoOf(status), EMFILE);
  EXPECT_NE(status.message().find("memfd_create: "), absl::string_view::npos);
}

TEST(Status, AnnotationKeepsKindAndErrno) {
  const Status status = Annotate(SystemError(ENOSPC, "fallocate"), "segment 3");
  EXPECT_EQ(KindOf(status), ErrorKind::kSystem);
  EXPECT_EQ(ErrnoOf(status), ENOSPC);
  EXPECT_EQ(status.message().substr(0, 11), "segment 3: ");
  EXPECT_TRUE(Annotate(absl::OkStatus(), "x").ok());
}

StatusOr<int> Half(int n) {
  if (n % 2 != 0) return MakeError(ErrorKind::kInvalidArgument, "odd");
  return n / 2;
}
StatusOr<int> Quarter(int n) {
  PANNIER_ASSIGN_OR_RETURN(const int half, Half(n));
  PANNIER_ASSIGN_OR_RETURN(const int quarter, Half(half));
  return quarter;
}

TEST(Status, MacrosPassErrorsOn) {
  EXPECT_EQ(*Quarter(8), 2);
  EXPECT_EQ(KindOf(Quarter(6).status()), ErrorKind::kInvalidArgument);
}

}  // namespace
}  // namespace pannier

#include "pannier/base/deadline.h"

#include <gtest/gtest.h>

namespace pannier {
namespace {

TEST(Deadline, NeverDoesNotPass) {
  EXPECT_FALSE(Deadline::Never().Passed());
  EXPECT_EQ(Deadline::Never().Remaining(), absl::InfiniteDuration());
  EXPECT_EQ(Deadline::Never().PollMillis(), -1);
  EXPECT_EQ(Deadline::Never().PollMillis(250), 250);
  EXPECT_TRUE(Deadline::After(absl::InfiniteDuration()).never());
  EXPECT_TRUE(Deadline::After(absl::Hours(24 * 365 * 1000)).never());
}

TEST(Deadline, ZeroAndNegativePassAtOnce) {
  for (auto wait : {absl::ZeroDuration(), absl::Seconds(-1), -absl::InfiniteDuration()}) {
    EXPECT_TRUE(Deadline::After(wait).Passed());
    EXPECT_EQ(Deadline::After(wait).PollMillis(), 0);
    EXPECT_EQ(Deadline::After(wait).Remaining(), absl::ZeroDuration());
  }
}

TEST(Deadline, MillisecondsAreRoundedUpAndCapped) {
  EXPECT_EQ(Deadline::After(absl::Microseconds(1)).PollMillis() <= 1, true);
  const int millis = Deadline::After(absl::Seconds(100)).PollMillis();
  EXPECT_GT(millis, 99'000);
  EXPECT_LE(millis, 100'000);
  EXPECT_EQ(Deadline::After(absl::Seconds(100)).PollMillis(7), 7);
}

TEST(Deadline, EarlierIsTheSmaller) {
  const Deadline soon = Deadline::After(absl::Seconds(1));
  EXPECT_EQ(Earlier(soon, Deadline::Never()).when(), soon.when());
  EXPECT_TRUE(Earlier(Deadline::Now(), soon).Passed());
}

}  // namespace
}  // namespace pannier

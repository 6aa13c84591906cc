#include "pannier/shm/spin_time.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <chrono>
#include <thread>

namespace pannier {
namespace {

using std::chrono::microseconds;
using std::chrono::seconds;

TEST(SpinTime, OfAProcessWithOneProcessorIsNothing) {
  SpinTime spin(microseconds(50), 1);
  EXPECT_EQ(spin.Next().count(), 0);
  spin.Paid();
  EXPECT_EQ(spin.Next().count(), 0);
  SpinTime never(microseconds(0), 8);
  never.Paid();
  EXPECT_EQ(never.Next().count(), 0);
}

TEST(SpinTime, GoesAwayWhileWaitsAreLong) {
  SpinTime spin(microseconds(64), 2);
  EXPECT_EQ(spin.Next(), microseconds(64));
  spin.InVain(seconds(1));
  EXPECT_EQ(spin.Next(), microseconds(32));
  SpinTime::Duration spent{};
  for (int i = 0; i < 1000; ++i) {
    spent += spin.Next();
    spin.InVain(seconds(1));
  }
  EXPECT_LE(spent, microseconds(64));
  spin.Paid();
  EXPECT_EQ(spin.Next(), microseconds(64));
}

TEST(SpinTime, IsTriedAgainWhileWaitsAreShort) {
  SpinTime spin(microseconds(64), 2);
  const auto trials = [&] {
    int full = 0;
    for (int i = 0; i < 1600; ++i) {
      spin.InVain(microseconds(100));
      full += spin.Next() == microseconds(64);
    }
    return full;
  };
  const int at_first = trials();
  EXPECT_GE(at_first, 6) << "one in 16, 32, ... 256";
  EXPECT_LT(trials(), at_first) << "the more seldom, the more were in vain";
  EXPECT_GE(trials(), 6) << "but never given up";
  spin.Paid();
  EXPECT_EQ(trials(), at_first);
}

TEST(SpinTime, CostsLittleWhereItNeverPays) {
  SpinTime spin(microseconds(64), 2);
  SpinTime::Duration spent{};
  for (int i = 0; i < 10'000; ++i) {
    spent += spin.Next();
    spin.InVain(microseconds(100));
  }
  EXPECT_LT(spent, microseconds(10'000)) << "less than one for each wait";
}

TEST(SpinTime, ProcessorsAreThoseThisThreadMayUse) {
  EXPECT_GE(ProcessorsToRunOn(), 1);
  std::thread([] {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
    EXPECT_EQ(ProcessorsToRunOn(), 1);
  }).join();
}

}  // namespace
}  // namespace pannier

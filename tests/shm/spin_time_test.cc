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
  int full = 0;
  for (int i = 0; i < 160; ++i) {
    spin.InVain(microseconds(100));
    full += spin.Next() == microseconds(64);
  }
  EXPECT_EQ(full, 10);
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

#include "pannier/base/process_epoch.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace pannier {
namespace {

TEST(ProcessEpoch, AChildIsAnotherEpoch) {
  const uint32_t epoch = ProcessEpoch();
  EXPECT_FALSE(Forked(epoch));
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) _exit(Forked(epoch) && ProcessEpoch() == epoch + 1 ? 0 : 1);
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_FALSE(Forked(epoch));
}

}  // namespace
}  // namespace pannier

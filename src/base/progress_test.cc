#include "base/progress.h"

#include <gtest/gtest.h>

namespace esa {
namespace {

TEST(ProgressBar, FillsFromTheLeft) {
  EXPECT_EQ(ProgressBar(0, 4), "[>   ]   0%");
  EXPECT_EQ(ProgressBar(0.5, 4), "[==> ]  50%");
  EXPECT_EQ(ProgressBar(1, 4), "[====] 100%");
  EXPECT_EQ(ProgressBar(-1, 4), ProgressBar(0, 4));
  EXPECT_EQ(ProgressBar(7, 4), ProgressBar(1, 4));
}

TEST(ShortDuration, GrowsItsUnits) {
  EXPECT_EQ(ShortDuration(0.4), "0s");
  EXPECT_EQ(ShortDuration(59), "59s");
  EXPECT_EQ(ShortDuration(185), "3m05s");
  EXPECT_EQ(ShortDuration(3725), "1h02m");
}

}  // namespace
}  // namespace esa

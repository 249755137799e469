#include "ops/isa.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace esa {
namespace {

TEST(Isa, ScalarIsAlwaysThereAndFirst) {
  ASSERT_FALSE(AvailableIsas().empty());
  EXPECT_EQ(AvailableIsas().front(), Isa::kScalar);
}

TEST(Isa, ForceIsaChangesTheCurrentOne) {
  for (const Isa isa : AvailableIsas()) {
    ForceIsa(isa);
    EXPECT_EQ(CurrentIsa(), isa);
  }
}

// The environment is read once, so each value is tried in a process of its own.
void ExitWithCurrentIsa(const char* wanted) {
  setenv("ESA_ISA", wanted, 1);
  std::exit(static_cast<int>(CurrentIsa()));
}

TEST(IsaDeathTest, EnvironmentChoosesAndAnUnknownNameChangesNothing) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  for (const Isa isa : AvailableIsas()) {
    EXPECT_EXIT(ExitWithCurrentIsa(IsaName(isa).data()),
                testing::ExitedWithCode(static_cast<int>(isa)), "^$");
  }
  EXPECT_EXIT(ExitWithCurrentIsa("avx1024"),
              testing::ExitedWithCode(static_cast<int>(AvailableIsas().back())), "^$");
}

}  // namespace
}  // namespace esa

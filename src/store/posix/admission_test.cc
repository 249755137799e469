#include "store/posix/admission.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/random.h"
#include "store/testing/faulty_files.h"
#include "store/testing/store_fixture.h"

namespace esa::testing {
namespace {

BlockId IdOf(std::uint64_t seed) {
  SplitMix64 random(seed);
  BlockId id;
  for (std::uint8_t& byte : id.bytes) byte = static_cast<std::uint8_t>(random.Next());
  return id;
}

class AdmissionTest : public ::testing::Test {
 protected:
  AdmissionPolicy::Options Options() {
    return {.path = folder_.path(), .day_of_now = [this] { return day_; }};
  }
  AdmissionPolicy SecondTouch() {
    auto options = Options();
    options.second_touch = true;
    return AdmissionPolicy(*files_, options);
  }
  AdmissionPolicy Daily(std::uint64_t bytes) {
    auto options = Options();
    options.write_bytes_per_day = bytes;
    return AdmissionPolicy(*files_, options);
  }
  static bool Offer(AdmissionPolicy& policy, std::uint64_t seed, std::uint64_t bytes = 10) {
    return policy.Admit(IdOf(seed), bytes, Admission::kOptional);
  }
  std::string Ghosts() const { return folder_.path() + "/" + kGhostsName; }
  std::string Writes() const { return folder_.path() + "/" + kWritesName; }

  TemporaryFolder folder_;
  const std::shared_ptr<Faults> faults_ = std::make_shared<Faults>();
  const std::unique_ptr<FileSystem> files_ = MakeFaultyFiles(faults_);
  std::int64_t day_ = 20000;
};

TEST_F(AdmissionTest, WithoutOptionsEverythingIsTaken) {
  AdmissionPolicy policy(*files_, Options());
  for (std::uint64_t seed = 0; seed < 100; ++seed) EXPECT_TRUE(Offer(policy, seed));
  EXPECT_FALSE(std::filesystem::exists(Writes()));
}

TEST_F(AdmissionTest, TakesWhatIsOfferedAgain) {
  auto policy = SecondTouch();
  EXPECT_FALSE(Offer(policy, 1));
  EXPECT_FALSE(Offer(policy, 2));
  EXPECT_TRUE(Offer(policy, 1));
  EXPECT_TRUE(Offer(policy, 1));
}

TEST_F(AdmissionTest, NeverRefusesWhatIsRequiredAndRemembersIt) {
  auto policy = SecondTouch();
  EXPECT_TRUE(policy.Admit(IdOf(1), 10, Admission::kRequired));
  EXPECT_TRUE(Offer(policy, 1));
}

TEST_F(AdmissionTest, RemembersTheLastTensOfThousandsOnly) {
  auto policy = SecondTouch();
  for (std::uint64_t seed = 0; seed < 200000; ++seed) Offer(policy, seed);
  int late = 0, early = 0;
  for (std::uint64_t i = 0; i < 1000; ++i) late += Offer(policy, 199999 - i) ? 1 : 0;
  for (std::uint64_t i = 0; i < 1000; ++i) early += Offer(policy, i) ? 1 : 0;
  EXPECT_EQ(late, 1000);
  EXPECT_LT(early, 300);
}

TEST_F(AdmissionTest, RemembersAcrossARestart) {
  {
    auto policy = SecondTouch();
    EXPECT_FALSE(Offer(policy, 1));
  }
  auto policy = SecondTouch();
  EXPECT_TRUE(Offer(policy, 1));
  EXPECT_FALSE(Offer(policy, 2));
}

TEST_F(AdmissionTest, StartsFromNothingWhenTheMemoryIsDamaged) {
  for (const std::uintmax_t size : {0, 5, 16, 1000, 262160}) {
    {
      auto policy = SecondTouch();
      Offer(policy, 1);
    }
    if (size < 262160) {
      std::filesystem::resize_file(Ghosts(), size);
    } else {
      std::fstream(Ghosts()).seekp(100000).put('!');
    }
    auto policy = SecondTouch();
    EXPECT_FALSE(Offer(policy, 1)) << size;
    std::filesystem::remove(Ghosts());
  }
}

TEST_F(AdmissionTest, BoundsTheWritesOfADay) {
  auto policy = Daily(100);
  EXPECT_TRUE(Offer(policy, 1, 60));
  EXPECT_FALSE(Offer(policy, 2, 60));
  EXPECT_TRUE(Offer(policy, 3, 40));
  EXPECT_FALSE(Offer(policy, 4, 1));
  EXPECT_TRUE(policy.Admit(IdOf(5), 60, Admission::kRequired));
  ++day_;
  EXPECT_TRUE(Offer(policy, 6, 100));
  EXPECT_FALSE(Offer(policy, 7, 1));
}

TEST_F(AdmissionTest, CountsWhatIsRequired) {
  auto policy = Daily(100);
  EXPECT_TRUE(policy.Admit(IdOf(1), 90, Admission::kRequired));
  EXPECT_FALSE(Offer(policy, 2, 20));
}

TEST_F(AdmissionTest, TheDayIsSharedAndSurvivesRestarts) {
  {
    auto one = Daily(100), other = Daily(100);
    EXPECT_TRUE(Offer(one, 1, 60));
    EXPECT_FALSE(Offer(other, 2, 60));
  }
  auto again = Daily(100);
  EXPECT_FALSE(Offer(again, 3, 60));
  EXPECT_TRUE(Offer(again, 3, 40));
}

TEST_F(AdmissionTest, ADayIsNotGivenTwiceButAClockGoneWrongIsForgotten) {
  auto policy = Daily(100);
  EXPECT_TRUE(Offer(policy, 1, 100));
  --day_;
  EXPECT_FALSE(Offer(policy, 2, 100));
  day_ -= 400;
  EXPECT_TRUE(Offer(policy, 3, 100));
}

TEST_F(AdmissionTest, ADamagedDayStartsAnew) {
  auto policy = Daily(100);
  EXPECT_TRUE(Offer(policy, 1, 100));
  std::ofstream(Writes(), std::ios::trunc) << "not a count of bytes";
  EXPECT_TRUE(Offer(policy, 2, 100));
  EXPECT_FALSE(Offer(policy, 3, 100));
}

TEST_F(AdmissionTest, TakesEverythingWhereItCannotLock) {
  auto policy = Daily(100);
  faults_->FailOn(FileCall::kLock, 1, 0, IoError("lock: No locks available"));
  for (std::uint64_t seed = 0; seed < 5; ++seed) EXPECT_TRUE(Offer(policy, seed, 90));
}

}  // namespace
}  // namespace esa::testing

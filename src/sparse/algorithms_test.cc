// Every algorithm against a step that checks the framework's contract, and ESA's schedule.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <set>

#include "esa/sparse_attention.h"

namespace esa {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Blocks = std::vector<BlockIndex>;

constexpr int kKvHeads = 2;

// One layer of an engine: keeps which blocks are resident, as StartLoad documents it. Retrieval
// returns the first k candidates, or what a chooser finds in scores that fall with the index.
class FakeStep : public AttentionStep {
 public:
  FakeStep(std::int64_t prompt_tokens, int block_tokens) {
    shape_ = {.prompt_tokens = prompt_tokens,
              .context_tokens = prompt_tokens,
              .sealed_blocks = (prompt_tokens - 1) / block_tokens,
              .block_tokens = block_tokens,
              .num_layers = 1,
              .num_heads = 4,
              .num_kv_heads = kKvHeads,
              .head_dim = 2};
    for (std::set<BlockIndex>& resident : resident_) {
      for (BlockIndex b = 0; b < shape_.num_blocks(); ++b) resident.insert(b);
    }
  }

  int layer() const override { return 0; }
  std::int64_t step() const override { return step_; }
  const SequenceShape& shape() const override { return shape_; }
  std::span<const float> query() const override { return query_; }
  RepresentationView representations() const override {
    return {.mean = {.data = zeros_.data()},
            .variance = {.data = zeros_.data()},
            .value_mean = {.data = zeros_.data()},
            .num_blocks = shape_.sealed_blocks,
            .part_tokens = shape_.block_tokens,
            .block_tokens = shape_.block_tokens,
            .num_kv_heads = kKvHeads,
            .head_dim = shape_.head_dim};
  }

  void Attend(std::span<const BlockIndex> blocks, int kv_head) override {
    for (int head = 0; head < kKvHeads; ++head) {
      if (kv_head != kAllHeads && kv_head != head) continue;
      attended.assign(blocks.begin(), blocks.end());
      ExpectSealed(attended);
      for (BlockIndex b : attended) {
        EXPECT_TRUE(resident_[head].contains(b)) << b << " at " << step_;
      }
    }
  }
  RetrievalTicket StartRetrieval(const RetrievalRequest& request) override {
    events.push_back("retrieve " + std::to_string(step_));
    EXPECT_EQ(ticket_, 0u);
    last_request = request;
    return ticket_ = 7;
  }
  BlockLists Collect(RetrievalTicket ticket) override {
    EXPECT_EQ(ticket, std::exchange(ticket_, 0));
    events.push_back("collect " + std::to_string(step_));
    const BlockRange range = last_request.candidates;
    lists_.assign(static_cast<std::size_t>(last_request.num_lists), {});
    if (last_request.chooser != nullptr) {
      std::vector<float> scores(static_cast<std::size_t>(last_request.num_scores * range.size()));
      for (std::size_t i = 0; i < scores.size(); ++i) {
        const auto block = static_cast<BlockIndex>(i % static_cast<std::size_t>(range.size()));
        scores[i] = score ? score(block) : -static_cast<float>(block);
      }
      (*last_request.chooser)(representations(), range,
                              {.data = scores.data(), .stride = range.size(), .size = range.size()},
                              lists_);
      return lists_;
    }
    for (Blocks& list : lists_) {
      for (std::int64_t i = 0; i < std::min(last_request.k, range.size()); ++i) {
        list.push_back(range.begin + static_cast<BlockIndex>(i));
      }
    }
    return lists_;
  }
  void StartLoad(std::span<const BlockIndex> blocks, int kv_head) override {
    events.push_back("load " + std::to_string(step_));
    ExpectSealed(Blocks(blocks.begin(), blocks.end()));
    for (int head = 0; head < kKvHeads; ++head) {
      if (kv_head != kAllHeads && kv_head != head) continue;
      resident_[head] = {blocks.begin(), blocks.end()};
      for (std::int64_t b = shape_.sealed_blocks; b < shape_.num_blocks(); ++b) {
        resident_[head].insert(static_cast<BlockIndex>(b));
      }
    }
  }
  Blocks WaitLoad() override {
    events.push_back("wait " + std::to_string(step_));
    for (std::set<BlockIndex>& resident : resident_) {
      for (BlockIndex b : failing) resident.erase(b);
    }
    return failing;
  }
  Status AttentionMass(std::span<float> mass) override {
    std::fill(mass.begin(), mass.end(), 1.0f / static_cast<float>(shape_.num_blocks()));
    return {};
  }
  void AddEstimate(int, float, std::span<const float>) override {}

  // One decode step; step 0 is run by the first call of all.
  void Decode(SparseAttention& algorithm) {
    if (step_ == 0) algorithm.AttentionEnd(*this);
    ++step_;
    ++shape_.context_tokens;
    shape_.sealed_blocks = (shape_.context_tokens - 1) / shape_.block_tokens;
    for (std::set<BlockIndex>& resident : resident_) {
      resident.insert(static_cast<BlockIndex>(shape_.sealed_blocks));
    }
    algorithm.AttentionBegin(*this);
    EXPECT_LE(std::ssize(attended) + 1, algorithm.ResidentBlocks(shape_)) << "step " << step_;
    algorithm.AttentionEnd(*this);
  }

  Blocks AllSealed() const {
    Blocks all;
    for (BlockIndex b = 0; b < shape_.sealed_blocks; ++b) all.push_back(b);
    return all;
  }

  std::vector<float>& query_now() { return query_; }

  std::function<float(BlockIndex)> score;  // of every head, for choosers; none: the first are best
  std::vector<std::string> events;
  Blocks attended;
  Blocks failing;
  RetrievalRequest last_request;

 private:
  void ExpectSealed(const Blocks& blocks) const {
    for (std::size_t i = 1; i < blocks.size(); ++i) EXPECT_LT(blocks[i - 1], blocks[i]);
    if (!blocks.empty()) {
      EXPECT_LT(blocks.back(), shape_.sealed_blocks);
    }
  }

  SequenceShape shape_;
  std::int64_t step_ = 0;
  std::vector<float> query_{1, 2, 3, 4, 5, 6, 7, 8};
  std::vector<float> zeros_ = std::vector<float>(1 << 14);
  std::set<BlockIndex> resident_[kKvHeads];
  RetrievalTicket ticket_ = 0;
  std::vector<Blocks> lists_;
};

std::unique_ptr<SparseAttention> Make(const std::string& name, const Options& options = {}) {
  auto made = CreateSparseAttention(name, options);
  EXPECT_TRUE(made) << name;
  return std::move(*made);
}

const char* const kAlgorithms[] = {
#define ESA_SPARSE_ATTENTION(name, factory, doc) #name,
#include "sparse/algorithms.def"
#undef ESA_SPARSE_ATTENTION
};

// Options under which an algorithm's budget covers any context of these tests.
Options CoveringOptions(const std::string& name) {
  if (name == "dense") return {};
  if (name == "streaming") return {{"local_window_sz", std::int64_t{1000}}};
  return {{"sparse_ratio", 1.0}};
}

TEST(AlgorithmsTest, KeepTheContractOfTheStep) {
  for (const std::string name : kAlgorithms) {
    for (const int block_tokens : {1, 2, 4, 16}) {
      for (const std::int64_t prompt : {1, 16, 64, 67, 160, 163}) {
        SCOPED_TRACE(name + " " + std::to_string(block_tokens) + " " + std::to_string(prompt));
        const auto algorithm = Make(name);
        FakeStep step(prompt, block_tokens);
        for (int i = 0; i < 60; ++i) step.Decode(*algorithm);
      }
    }
  }
}

TEST(AlgorithmsTest, ABudgetThatCoversTheContextIsDense) {
  for (const std::string name : kAlgorithms) {
    const auto algorithm = Make(name, CoveringOptions(name));
    FakeStep step(64, 4);
    for (int i = 0; i < 40; ++i) {
      step.Decode(*algorithm);
      EXPECT_EQ(step.attended, step.AllSealed()) << name;
    }
  }
}

TEST(AlgorithmsTest, NameWhatIsWrong) {
  for (const std::string name : kAlgorithms) {
    EXPECT_THAT(CreateSparseAttention(name, {{"nonsense", true}}).error().message,
                HasSubstr("nonsense"));
  }
  EXPECT_THAT(CreateSparseAttention("ESA", {{"retrieval_stride", std::int64_t{2}}}).error().message,
              HasSubstr("retrieval_stride"));
  EXPECT_THAT(
      CreateSparseAttention("nobody", {}).error().message,
      HasSubstr(
          "Adaptive, ESA, Hash, MeanStd, MultiStep, Oracle, Quest, dense, random, streaming"));
}

TEST(AlgorithmsTest, EveryRowOfTheTableIsRegistered) {
  const std::vector<std::string> names = SparseAttentionNames();
  for (const std::string name : kAlgorithms) {
    EXPECT_EQ(std::count(names.begin(), names.end(), name), 1) << name;
  }
}

TEST(AlgorithmsTest, RegistersOnce) {
  const SparseAttentionFactory factory = [](const Options& options) {
    return CreateSparseAttention("dense", options);
  };
  EXPECT_FALSE(RegisterSparseAttention("ESA", factory));
  EXPECT_TRUE(RegisterSparseAttention("test_only", factory));
  EXPECT_TRUE(CreateSparseAttention("test_only", {}));
}

TEST(StreamingTest, AttendsSinksAndLastBlocks) {
  const auto algorithm = Make("streaming");
  FakeStep step(32, 4);
  step.Decode(*algorithm);  // 33 tokens: blocks 0 to 7 and a tail
  EXPECT_THAT(step.attended, ElementsAre(0, 7));
}

TEST(EsaTest, FollowsTheSchedule) {
  const auto algorithm = Make("ESA");
  FakeStep step(64, 4);
  for (int i = 0; i < 7; ++i) step.Decode(*algorithm);
  EXPECT_THAT(step.events, ElementsAre("retrieve 0", "collect 0", "load 0", "wait 1", "retrieve 2",
                                       "collect 5", "load 5", "wait 6", "retrieve 7"));
}

TEST(EsaTest, SelectsBetweenTheWindowsAndAllTokensSince) {
  const auto algorithm = Make("ESA");
  FakeStep step(64, 4);  // 16 blocks: range 13, top_k 2
  step.Decode(*algorithm);
  EXPECT_EQ(step.last_request.candidates.begin, 1);
  EXPECT_EQ(step.last_request.candidates.end, 14);
  EXPECT_EQ(step.last_request.k, 2);
  EXPECT_THAT(step.last_request.query, ElementsAre(2, 3, 6, 7));  // means of head pairs
  EXPECT_THAT(step.attended, ElementsAre(0, 1, 2, 14, 15));
  for (int i = 0; i < 4; ++i) step.Decode(*algorithm);  // 69 tokens: block 16 is sealed
  EXPECT_THAT(step.attended, ElementsAre(0, 1, 2, 14, 15, 16));
}

TEST(EsaTest, LeavesOutWhatFailedToLoad) {
  const auto algorithm = Make("ESA");
  FakeStep step(64, 4);
  step.failing = {2};
  step.Decode(*algorithm);
  EXPECT_THAT(step.attended, ElementsAre(0, 1, 14, 15));
}

// Log weights: `each` for the blocks named, next to nothing for the others.
std::function<float(BlockIndex)> HeavyBlocks(Blocks blocks, float each = 0) {
  return [=](BlockIndex block) {
    return std::find(blocks.begin(), blocks.end(), block) == blocks.end() ? -20.0f : each;
  };
}

class AdaptiveTest : public testing::Test {
 protected:
  // 100 blocks of 4 tokens, 97 between the windows, of which 24 may be selected.
  AdaptiveTest() : step_(400, 4) {}

  void Start(const Options& more = {}) {
    Options options = {{"sparse_ratio", 0.25}, {"turn", -1.0}, {"neighbours", 0.0}};
    for (const auto& [name, value] : more) options[name] = value;
    algorithm_ = Make("Adaptive", options);
    step_.Decode(*algorithm_);
    first_ = step_.attended;
  }
  void Decode(int steps) {
    for (int i = 0; i < steps; ++i) step_.Decode(*algorithm_);
  }
  bool Attends(BlockIndex block) const {
    return std::find(step_.attended.begin(), step_.attended.end(), block) != step_.attended.end();
  }
  Blocks NewOnes() const {
    Blocks blocks;
    for (const BlockIndex block : step_.attended) {
      if (block < 97 && std::find(first_.begin(), first_.end(), block) == first_.end()) {
        blocks.push_back(block);
      }
    }
    return blocks;
  }

  FakeStep step_;
  std::unique_ptr<SparseAttention> algorithm_;
  Blocks first_;
};

TEST_F(AdaptiveTest, TheFirstSelectionFillsTheBudget) {
  step_.score = HeavyBlocks({50});
  Start();
  EXPECT_TRUE(Attends(50));
  EXPECT_EQ(step_.attended.size(), 24u + 3u);
}

TEST_F(AdaptiveTest, OneRetrievalReplacesAPartOfTheBudget) {
  step_.score = HeavyBlocks({5});
  Start({{"most_new", 0.125}, {"retrieval_stride", std::int64_t{10}}});
  const Blocks wanted = {60, 61, 62, 63, 64, 65, 66, 67};
  step_.score = HeavyBlocks(wanted);
  Decode(14);  // one retrieval
  EXPECT_EQ(NewOnes(), Blocks({60, 61, 62}));
  Decode(30);
  EXPECT_EQ(NewOnes(), wanted);
}

TEST_F(AdaptiveTest, LoadsNothingOfLittleWeight) {
  step_.score = HeavyBlocks({5});
  Start({{"least_share", 0.02}});
  step_.score = [](BlockIndex block) { return block == 5 ? 0.0f : block == 60 ? -4.5f : -20.0f; };
  Decode(20);
  EXPECT_TRUE(NewOnes().empty());  // exp(-4.5) is 1.1%
  step_.score = [](BlockIndex block) { return block == 5 ? 0.0f : block == 60 ? -3.5f : -20.0f; };
  Decode(20);
  EXPECT_EQ(NewOnes(), Blocks({60}));
}

TEST_F(AdaptiveTest, LoadsNothingOnceTopPIsCovered) {
  step_.score = HeavyBlocks({5});
  Start({{"top_p", 0.9}});
  step_.score = [](BlockIndex block) { return block == 5 ? 0.0f : block == 60 ? -3.0f : -20.0f; };
  Decode(20);
  EXPECT_TRUE(NewOnes().empty());
}

TEST_F(AdaptiveTest, NeighboursOfAHeavyBlockComeFirst) {
  step_.score = HeavyBlocks({50});
  Start({{"sparse_ratio", 0.03}, {"neighbours", 0.1}});
  EXPECT_TRUE(Attends(49) && Attends(50));
}

TEST_F(AdaptiveTest, ATurnedQueryIsAnsweredAtOnce) {
  step_.score = HeavyBlocks({5});
  Start({{"turn", 0.7}, {"retrieval_stride", std::int64_t{100}}});
  step_.score = HeavyBlocks({60});
  Decode(2);
  EXPECT_FALSE(Attends(60));
  for (float& value : step_.query_now()) value = -value;
  Decode(1);
  EXPECT_TRUE(Attends(60));
}

TEST_F(AdaptiveTest, ATurnedQueryDoesNotWaitForARetrievalUnderWay) {
  step_.score = HeavyBlocks({5});
  Start({{"turn", 0.7}, {"retrieval_stride", std::int64_t{10}}});
  Decode(9);  // the retrieval of step 10 is started at its end
  ASSERT_EQ(step_.events.back(), "retrieve 10");
  step_.score = HeavyBlocks({60});
  for (float& value : step_.query_now()) value = -value;
  Decode(1);
  EXPECT_TRUE(Attends(60));
}

TEST(EsaTest, AShortPromptIsDense) {
  const auto algorithm = Make("ESA");
  FakeStep step(15, 4);
  for (int i = 0; i < 40; ++i) {
    step.Decode(*algorithm);
    EXPECT_EQ(step.attended, step.AllSealed());
  }
  EXPECT_THAT(step.events, IsEmpty());
}

}  // namespace
}  // namespace esa

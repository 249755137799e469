// What is evicted first, on a synthetic trace: hits in percent of the blocks looked up, per rule.
//
// The trace: conversations begin with one of 20 system prompts (4 to 35 blocks), half of them go on
// with one of 400 documents (8 to 63 blocks), both drawn by Zipf's law; then come one to many turns
// (45 percent have one) of 1 to 8 blocks, the first of up to 40, while others take theirs. Each
// turn looks its chain up and stores what is missing. Args: rule, capacity in blocks; the trace
// touches 81,437 distinct blocks.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <queue>
#include <unordered_map>
#include <vector>

#include "base/random.h"
#include "store/block_index.h"

namespace esa {
namespace {

using Chain = std::vector<BlockId>;

BlockId ChildOf(const BlockId& parent, std::uint64_t salt) {
  std::uint64_t words[2];
  std::memcpy(words, parent.bytes.data(), sizeof(words));
  SplitMix64 random(words[0] ^ (salt * 0x9e3779b97f4a7c15u + words[1]));
  words[0] = random.Next();
  words[1] = random.Next();
  BlockId id;
  std::memcpy(id.bytes.data(), words, sizeof(words));
  return id;
}

void Extend(Chain* chain, std::uint64_t salt, std::uint64_t blocks) {
  for (std::uint64_t i = 0; i < blocks; ++i) {
    chain->push_back(ChildOf(chain->empty() ? BlockId{} : chain->back(), salt));
  }
}

class Zipf {
 public:
  explicit Zipf(std::size_t count) {
    double sum = 0;
    for (std::size_t i = 1; i <= count; ++i) sums_.push_back(sum += 1.0 / static_cast<double>(i));
  }
  std::size_t Draw(SplitMix64* random) const {
    const double at = static_cast<double>(random->Below(1u << 30)) / (1u << 30) * sums_.back();
    return static_cast<std::size_t>(std::ranges::upper_bound(sums_, at) - sums_.begin());
  }

 private:
  std::vector<double> sums_;
};

// The chains of all turns, in the order of time.
std::vector<Chain> MakeTrace(std::uint64_t seed) {
  constexpr std::uint64_t kConversations = 4000;
  struct Turn {
    std::uint64_t time = 0;
    Chain chain;
    bool operator>(const Turn& other) const { return time > other.time; }
  };
  SplitMix64 random(seed);
  const Zipf systems(20), documents(400);
  std::priority_queue<Turn, std::vector<Turn>, std::greater<>> turns;
  for (std::uint64_t i = 0; i < kConversations; ++i) {
    Turn first{i * 1000, {}};
    const std::uint64_t system = systems.Draw(&random);
    Extend(&first.chain, system, 4 + system * 7 % 32);
    if (random.Below(2) == 0) {
      const std::uint64_t document = 1000 + documents.Draw(&random);
      Extend(&first.chain, document, 8 + document * 13 % 56);
    }
    Extend(&first.chain, 1'000'000 + i, 1 + random.Below(1u << (1 + random.Below(5))));
    turns.push(std::move(first));
  }
  std::vector<Chain> trace;
  while (!turns.empty()) {
    Turn turn = turns.top();
    turns.pop();
    trace.push_back(turn.chain);
    if (random.Below(100) < 45) continue;
    // The think time: mostly as long as some tens of other turns, sometimes hundreds.
    turn.time += 1000 * (1u << (2 + random.Below(8)));
    Extend(&turn.chain, random.Next(), 1 + random.Below(8));
    turns.push(std::move(turn));
  }
  return trace;
}

enum Rule : std::int64_t { kPlainLru, kChainLru, kMidpoint, kHitCredit };

// Stamps blocks by a rule; evicts the oldest.
class Simulation {
 public:
  Simulation(Rule rule, std::uint64_t capacity) : rule_(rule), capacity_(capacity) {}

  void Run(const Chain& chain) {
    now_ += 100000;
    std::size_t hits = 0;
    while (hits < chain.size() && index_.Find(chain[hits]) != nullptr) ++hits;
    looked_up_ += chain.size();
    hit_ += hits;
    for (std::size_t i = 0; i < chain.size(); ++i) {
      const bool hit = i < hits;
      if (!hit) MakeRoom();
      index_.Put(chain[i], {1, StampOf(chain, i, hit)});
    }
  }

  double HitPercent() const {
    return 100.0 * static_cast<double>(hit_) / static_cast<double>(looked_up_);
  }
  double blocks() const { return static_cast<double>(index_.blocks()); }

 private:
  void MakeRoom() {
    while (index_.blocks() >= capacity_) {
      const BlockId oldest = *index_.Oldest();
      oldest_us_ = std::max(oldest_us_, index_.Find(oldest)->stamp_us);
      hits_.erase(oldest);
      index_.Erase(oldest);
    }
  }

  std::int64_t StampOf(const Chain& chain, std::size_t i, bool hit) {
    const auto place = static_cast<std::int64_t>(i);
    const std::int64_t age = now_ - oldest_us_;
    switch (rule_) {
      case kPlainLru:
        return now_ + place;
      case kChainLru:
        return now_ - place;
      case kMidpoint:
        return now_ - place - (hit ? 0 : age / 2);
      default: {
        const int hits = hit ? ++hits_[chain[i]] : 0;
        return now_ - place +
               static_cast<std::int64_t>(std::log2(1 + hits) * 0.25 * static_cast<double>(age));
      }
    }
  }

  const Rule rule_;
  const std::uint64_t capacity_;
  BlockIndex index_;
  std::unordered_map<BlockId, int, BlockIdHash> hits_;
  std::int64_t now_ = 0;
  std::int64_t oldest_us_ = 0;  // the latest stamp that was evicted
  std::uint64_t looked_up_ = 0;
  std::uint64_t hit_ = 0;
};

void BM_Eviction(benchmark::State& state) {
  static const std::vector<Chain> trace = MakeTrace(1);
  double percent = 0, blocks = 0;
  for (auto _ : state) {
    Simulation simulation(static_cast<Rule>(state.range(0)),
                          static_cast<std::uint64_t>(state.range(1)));
    for (const Chain& chain : trace) simulation.Run(chain);
    percent = simulation.HitPercent();
    blocks = simulation.blocks();
  }
  state.counters["hit_percent"] = percent;
  state.counters["blocks_left"] = blocks;
}
BENCHMARK(BM_Eviction)
    ->ArgNames({"rule", "blocks"})
    ->ArgsProduct({{kPlainLru, kChainLru, kMidpoint, kHitCredit},
                   {500, 1500, 5000, 15000, 1'000'000}})
    ->Iterations(1)
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace esa

// Retrieval over 65,536 blocks of 8 KV heads with 128 dimensions, the best fifth of them, beside
// reading the same memory and beside the plain loop. All are run in turn, so that what else the
// machine does meets all of them; counters are medians:
//   ms, GB/s         retrieval with the choice of blocks, and its rate
//   read_GB/s        plain reading of the same memory by as many threads
//   of_read          the median of the rounds' ratios
//   reference_ms     the plain loop in f32 on one thread; `times` is its time over that of
//   retrieval cores            what as many threads get done of what one does, in arithmetic alone
#include <algorithm>
#include <chrono>
#include <cstring>
#include <random>
#include <vector>

#include "ops/machine_ceilings.h"
#include "ops/retrieval_kernels.h"
#include "ops/testing/bench.h"
#include "retrieval/block_scores.h"
#include "retrieval/retrieval_pool.h"
#include "retrieval/testing/reference_retrieval.h"

namespace esa {
namespace {

constexpr std::int64_t kBlocks = 65536;
constexpr int kHeads = 8;
constexpr int kDim = 128;
constexpr std::int64_t kBest = kBlocks / 5;
constexpr int kRounds = 15;

template <class Op>
double Seconds(Op op) {
  const auto begin = std::chrono::steady_clock::now();
  op();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double Median(std::vector<double> values) {
  const auto middle = values.begin() + std::ssize(values) / 2;
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// A chain of additions on each thread.
void Compute(int threads) {
#pragma omp parallel num_threads(threads)
  {
    float value = 1;
    for (int i = 0; i < 1000000; ++i) {
      value += 1.0f;
      benchmark::DoNotOptimize(value);
    }
  }
}

// Representations of random content and their view.
class Rows {
 public:
  explicit Rows(RepresentationType type)
      : value_bytes_(type == RepresentationType::kF32    ? 4
                     : type == RepresentationType::kBf16 ? 2
                                                         : 1),
        memory_(bytes()),
        scales_(kHeads * kBlocks) {
    std::mt19937 engine(1);
    std::normal_distribution<float> normal;
    std::vector<float> row(kDim);
    for (std::int64_t r = 0; r < kHeads * kBlocks; ++r) {
      for (float& value : row) value = normal(engine);
      StoreRow(row.data(), kDim, type, memory_.data() + r * kDim * value_bytes_,
               &scales_[static_cast<std::size_t>(r)]);
    }
    view_.mean = {
        .data = memory_.data(), .scales = scales_.data(), .head_stride = kBlocks, .type = type};
    view_.num_blocks = kBlocks;
    view_.num_kv_heads = kHeads;
    view_.head_dim = kDim;
  }
  std::int64_t bytes() const { return kHeads * kBlocks * kDim * value_bytes_; }
  const std::byte* data() const { return memory_.data(); }
  const RepresentationView& view() const { return view_; }

 private:
  std::int64_t value_bytes_;
  BenchMemory memory_;
  std::vector<float> scales_;
  RepresentationView view_;
};

// One thread: as a worker does it. More: a pool, with the thread that collects.
class Retrieval {
 public:
  explicit Retrieval(int threads) : threads_(threads), pool_(std::max(1, threads - 1)) {}

  void Run(const RepresentationView& view, const RetrievalRequest& request) {
    if (threads_ > 1) {
      benchmark::DoNotOptimize(pool_.Collect(pool_.Start(request, view)).data());
      return;
    }
    scores_.resize(kBlocks);
    ScoreBlocks(view, request, request.candidates,
                {.data = scores_.data(), .stride = kBlocks, .size = kBlocks});
    TopK(scores_, request.k, &scratch_, &best_);
    benchmark::DoNotOptimize(best_.data());
  }

 private:
  int threads_;
  RetrievalPool pool_;
  std::vector<float> scores_;
  TopKScratch scratch_;
  std::vector<std::int32_t> best_;
};

void BM_Retrieval(benchmark::State& state) {
  const Rows rows(static_cast<RepresentationType>(state.range(0)));
  const int threads = static_cast<int>(state.range(1));
  const BenchMemory plain(kBlocks * kHeads * kDim * 4);  // finite values of any kind
  const std::vector<float> query(kHeads * kDim, 0.5f);
  const RetrievalRequest request = {.candidates = {0, kBlocks}, .k = kBest, .query = query};
  std::vector<float> scores;
  std::vector<std::int32_t> best;
  Retrieval retrieval(threads);
  const auto gigabytes = static_cast<double>(rows.bytes()) * 1e-9;
  std::vector<double> read, own, ratio, reference, cores;
  for (auto _ : state) {
    for (int round = 0; round < kRounds; ++round) {
      read.push_back(Seconds(
          [&] { benchmark::DoNotOptimize(ReadMemory(rows.data(), rows.bytes(), threads)); }));
      own.push_back(Seconds([&] { retrieval.Run(rows.view(), request); }));
      ratio.push_back(read.back() / own.back());
      reference.push_back(Seconds(
          [&] { ReferenceRetrieval(plain.floats(), kBlocks, query, kBest, &scores, &best); }));
      cores.push_back(threads * Seconds([] { Compute(1); }) /
                      Seconds([threads] { Compute(threads); }));
    }
  }
  state.counters["ms"] = 1e3 * Median(own);
  state.counters["GB/s"] = gigabytes / Median(own);
  state.counters["read_GB/s"] = gigabytes / Median(read);
  state.counters["of_read"] = Median(ratio);
  state.counters["reference_ms"] = 1e3 * Median(reference);
  state.counters["times"] = Median(reference) / Median(own);
  state.counters["cores"] = Median(cores);
}
BENCHMARK(BM_Retrieval)
    ->ArgNames({"type", "threads"})
    ->ArgsProduct({{static_cast<int>(RepresentationType::kF32),
                    static_cast<int>(RepresentationType::kBf16),
                    static_cast<int>(RepresentationType::kInt8)},
                   {1, 2}})
    ->Iterations(1)
    ->Unit(benchmark::kMillisecond);

// Scores alone, by rule, of 32,768 blocks in bf16, each in so many parts.
void BM_Rule(benchmark::State& state) {
  const auto kind = static_cast<ScoreRule::Kind>(state.range(0));
  const int parts = static_cast<int>(state.range(1));
  const bool heads = state.range(2) != 0;
  constexpr BlockIndex kSome = 32768;
  const std::int64_t bytes = std::int64_t{kHeads} * kSome * parts * kDim * 2;
  const BenchMemory first(bytes);
  const BenchMemory second(bytes);
  const auto rows = [&](const BenchMemory& memory) {
    return RepresentationRows{.data = memory.data(),
                              .scales = nullptr,
                              .head_stride = kSome * parts,
                              .type = RepresentationType::kBf16};
  };
  RepresentationView view;
  view.mean = view.upper = rows(first);
  view.variance = view.lower = rows(second);
  view.num_blocks = kSome;
  view.parts = parts;
  view.part_tokens = 128 / parts;
  view.num_kv_heads = kHeads;
  view.head_dim = kDim;
  const int num_scores = heads ? 4 * kHeads : 1;
  const std::vector<float> query(static_cast<std::size_t>(4 * kHeads * kDim), 0.5f);
  const RetrievalRequest request = {.query = query,
                                    .score_of = heads ? ScoreOf::kHead : ScoreOf::kLayer,
                                    .rule = {.kind = kind},
                                    .num_scores = num_scores};
  std::vector<float> scores(static_cast<std::size_t>(num_scores) * kSome);
  for (auto _ : state) {
    ScoreBlocks(view, request, {0, kSome}, {.data = scores.data(), .stride = kSome, .size = kSome});
    benchmark::DoNotOptimize(scores.data());
  }
  const int statistics = kind == ScoreRule::Kind::kDot ? 1 : 2;
  state.counters["GB/s"] = Giga(static_cast<double>(statistics * bytes));
}
BENCHMARK(BM_Rule)
    ->ArgNames({"rule", "parts", "heads"})
    ->ArgsProduct(
        {{static_cast<int>(ScoreRule::Kind::kDot), static_cast<int>(ScoreRule::Kind::kDeviation),
          static_cast<int>(ScoreRule::Kind::kLogMass), static_cast<int>(ScoreRule::Kind::kBounds)},
         {1, 4},
         {0, 1}})
    ->Unit(benchmark::kMillisecond);

// A request that is collected at once, from a pool whose worker sleeps.
void BM_SmallRequest(benchmark::State& state) {
  static const Rows rows(RepresentationType::kBf16);
  const std::vector<float> query(kHeads * kDim, 0.5f);
  const auto blocks = static_cast<BlockIndex>(state.range(0));
  const RetrievalRequest request = {.candidates = {0, blocks}, .k = blocks / 5, .query = query};
  RetrievalPool pool(1);
  for (auto _ : state) {
    benchmark::DoNotOptimize(pool.Collect(pool.Start(request, rows.view())).data());
  }
}
BENCHMARK(BM_SmallRequest)
    ->ArgName("blocks")
    ->Arg(64)
    ->Arg(512)
    ->Arg(4096)
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace esa

// The five families of RULER's tasks. Private to eval.
//
// Templates, parameters and the way texts are built are RULER's
// (https://github.com/NVIDIA/RULER, scripts/data/synthetic); the words and random numbers are this
// project's own, so the records are of the same kind, not the same.
//
// Threading: what is made belongs to one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "esa/result.h"
#include "eval/ruler/draw.h"
#include "eval/ruler/essay.h"
#include "eval/ruler/long_text.h"
#include "eval/ruler/qa_data.h"

namespace esa::ruler {

// What hides the needles and variables of some tasks, over and over.
inline constexpr std::string_view kNoiseLine =
    "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";

// Needles in a haystack.
struct NeedleShape {
  enum class Haystack {
    kNoise,    // one line over and over
    kEssay,    // prose
    kNeedles,  // other needles
  };
  Haystack haystack = Haystack::kNoise;
  ValueKind keys = ValueKind::kWords;
  ValueKind values = ValueKind::kNumbers;
  std::int64_t num_keys = 1;
  std::int64_t num_values = 1;  // of each key
  std::int64_t num_queries = 1;
};

struct NeedleRequest {
  NeedleShape shape;
  std::optional<double> depth;  // of the needle asked for, where there is one
  SplitMix64 rng;
};

// `file` and `source` as in Essay; both must outlive it.
std::unique_ptr<LongText> MakeNeedles(const NeedleRequest& request,
                                      const std::vector<EssayWord>& file,
                                      const SentenceSource& source);

// How many tokens parts have in a prompt.
using PartsCounter = std::function<std::int64_t(const Parts&)>;

// Variables that are set to each other, after a worked example. One chain of four hops in noise.
std::unique_ptr<LongText> MakeVariableChain(std::int64_t tokens, SplitMix64 rng,
                                            const PartsCounter& count);

// Ten words that a list has more often than the others, after a worked example. Below 4096 tokens
// words are repeated less.
std::unique_ptr<LongText> MakeCommonWords(std::int64_t tokens, SplitMix64 rng);

// The three most frequent of made-up words, whose frequencies follow a zeta distribution.
std::unique_ptr<LongText> MakeFrequentWords(std::int64_t tokens, SplitMix64 rng);

// A question of `data` among documents that answer it and others. Keeps a reference to `data`.
std::unique_ptr<LongText> MakeQuestion(const QaData& data, std::size_t question, SplitMix64 rng);

}  // namespace esa::ruler

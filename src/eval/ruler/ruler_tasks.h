// RULER's thirteen tasks, made here at any length. Private to eval.
//
// A record's dataset is the task's name; its prompt is FillPrompt with that data set's template,
// and exactly RULER's, the beginning of the answer included. As in RULER a prompt leaves room for
// the answer: it has at most `tokens` less the data set's output length.
//
// Threading: immutable; Generate may be called from any thread.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "esa/result.h"
#include "eval/records.h"
#include "eval/ruler/essay.h"
#include "eval/ruler/families.h"
#include "eval/ruler/long_text.h"
#include "eval/ruler/qa_data.h"
#include "eval/task_generator.h"

namespace esa::ruler {

class RulerTasks {
 public:
  // `haystack`: prose for needles (ReadEssay); where it is empty, sentences of `filler`. `qa_data`:
  // files for qa_1 (SQuAD) and qa_2 (HotpotQA), which are told by their format.
  static Result<RulerTasks> Open(const std::string& haystack, std::span<const std::string> qa_data,
                                 SentenceSource filler);

  static std::vector<std::string> Names();
  static bool Has(std::string_view name);

  // False for qa_1 and qa_2 without their data.
  bool CanMake(std::string_view name) const;

  // `rng` is the record's own. The record's length is RULER's: tokens of prompt and answer.
  // kInvalidArgument: too few tokens, with the numbers; questions that are not there.
  Result<Record> Generate(const TaskRequest& request, SplitMix64 rng,
                          const TokenCounter& count) const;

 private:
  struct Row;
  static const Row kRows[];
  static const Row* Find(std::string_view name);

  Result<const QaData*> DataOf(const Row& row) const;
  Result<std::unique_ptr<LongText>> Make(const Row& row, const TaskRequest& request, SplitMix64 rng,
                                         const PartsCounter& count) const;

  std::vector<EssayWord> essay_;
  SentenceSource filler_;
  std::optional<QaData> squad_;
  std::optional<QaData> hotpotqa_;
};

}  // namespace esa::ruler

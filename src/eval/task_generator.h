// Makes long-context records of known answer: facts hidden in filler text, and a question.
//
// The words come from the tasks.json of a model folder. The same request gives the same record on
// every platform.
//
// Threading: immutable after Load; Generate may be called from any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "esa/result.h"
#include "eval/records.h"

namespace esa {

class TaskText;

struct TaskRequest {
  std::string task;         // a name of Tasks()
  std::int64_t tokens = 0;  // of the whole prompt, at most
  double depth = 0.5;       // where the asked fact stands: 0 first, 1 last sentence
  std::uint64_t seed = 0;
  std::uint64_t index = 0;  // of the record among those of one seed
};

// How many tokens a text has, without special tokens.
using TokenCounter = std::function<std::int64_t(std::string_view text)>;

class TaskGenerator {
 public:
  static Result<TaskGenerator> Load(const std::string& tasks_json);

  ~TaskGenerator();
  TaskGenerator(TaskGenerator&&) noexcept;

  std::vector<std::string> Tasks() const;

  // The record's length is its context's number of words. kInvalidArgument: an unknown task, or
  // too few tokens for the fact and the question (with the numbers).
  Result<Record> Generate(const TaskRequest& request, const TokenCounter& count) const;

  // `count` records with depths spread evenly.
  Result<std::vector<Record>> GenerateMany(const TaskRequest& first, std::int64_t num_records,
                                           const TokenCounter& count) const;

 private:
  explicit TaskGenerator(std::unique_ptr<TaskText> text);
  std::unique_ptr<TaskText> text_;
};

}  // namespace esa

// Makes long-context records of known answer: the tasks of a model folder's tasks.json, which are
// facts hidden in filler text and a question, and RULER's thirteen.
//
// The same request gives the same record on every platform.
//
// Threading: immutable after Load; Generate may be called from any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "esa/result.h"
#include "eval/records.h"

namespace esa {

class TaskText;

namespace ruler {
class RulerTasks;
}

struct TaskRequest {
  std::string task;  // a name of Tasks()
  // At most: of the whole prompt, or, for RULER's tasks, of the prompt and the longest answer.
  std::int64_t tokens = 0;
  // Where the fact asked for stands: 0 first, 1 last sentence. Nothing: in the middle; drawn for
  // RULER's tasks. Those that ask for several facts or none take no heed of it.
  std::optional<double> depth = {};
  std::uint64_t seed = 0;
  std::uint64_t index = 0;  // of the record among those of one seed
};

// How many tokens a text has, without special tokens.
using TokenCounter = std::function<std::int64_t(std::string_view text)>;

// What tasks are made of. Everything may be empty.
struct TaskSources {
  std::string tasks_json = {};  // without the file, or a name, there are RULER's tasks only
  std::string haystack = {};    // prose: a text file, or JSON with "text"; "": filler
  std::vector<std::string> qa_data = {};  // SQuAD's and HotpotQA's JSON, for qa_1 and qa_2
};

class TaskGenerator {
 public:
  // Errors name the file and what was expected.
  static Result<TaskGenerator> Open(const TaskSources& sources);
  // The tasks.json must be there.
  static Result<TaskGenerator> Load(const std::string& tasks_json);

  ~TaskGenerator();
  TaskGenerator(TaskGenerator&&) noexcept;

  // The model's own, then RULER's.
  std::vector<std::string> Tasks() const;
  static std::vector<std::string> RulerTaskNames();
  static bool IsRulerTask(const std::string& task);
  // False for RULER's qa_1 and qa_2 without their data.
  bool CanMake(const std::string& task) const;

  // A record's length is its context's number of words; for RULER's tasks the tokens of prompt and
  // longest answer. kInvalidArgument: an unknown task; too few tokens, with the numbers; data that
  // is not there.
  Result<Record> Generate(const TaskRequest& request, const TokenCounter& count) const;

  // `count` records with depths spread evenly.
  Result<std::vector<Record>> GenerateMany(const TaskRequest& first, std::int64_t num_records,
                                           const TokenCounter& count) const;

 private:
  TaskGenerator(std::unique_ptr<TaskText> text, std::unique_ptr<ruler::RulerTasks> ruler);

  Result<Record> GenerateFact(const TaskRequest& request, const TokenCounter& count) const;

  std::unique_ptr<TaskText> text_;  // null where the model has no tasks of its own
  std::unique_ptr<ruler::RulerTasks> ruler_;
};

}  // namespace esa

// Algorithms against budgets over data files: plans the rows, answers the records with each, checks
// that every sparse row was sparse, and reports score and cost.
//
// Threading: one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "esa/config.h"
#include "esa/llm.h"
#include "esa/result.h"
#include "esa/sparse_attention.h"
#include "eval/evaluation.h"

namespace esa {

// What stands behind a row: the reference that scores are held to, a baseline, or what is compared.
enum class RowKind { kDense, kBaseline, kCandidate };

// One algorithm with its options.
struct CompareRow {
  std::string series;  // rows of a series differ in their ratio alone
  std::string algorithm;
  Options options;              // with sparse_ratio and retrieval_stride where they are known
  std::optional<double> ratio;  // where it is the plan's
  RowKind kind = RowKind::kCandidate;

  std::string name() const;  // "ESA 0.1"
};

// A row of the user's own: an ablation.
struct NamedAlgorithm {
  std::string series;
  std::string algorithm;
  Options options;
};

struct ComparePlan {
  std::vector<std::string> algorithms = {};  // to compare; empty: all but dense and the baselines
  std::vector<double> ratios = {};           // in (0, 1)
  std::int64_t stride = 5;
  std::map<std::string, Options> options = {};  // by algorithm, over its defaults
  std::vector<NamedAlgorithm> named = {};
};

// "label=NAME {json}"; without a label the rest is the label.
Result<NamedAlgorithm> ParseNamedAlgorithm(const std::string& text);

// {"NAME": {options}, ...}
Result<std::map<std::string, Options>> ParseOptionsByAlgorithm(const std::string& json);

// Dense, Oracle, the algorithms, random, streaming, as far as they are registered. One row for each
// ratio where the algorithm knows sparse_ratio and its options do not set it, else one. Errors:
// an unknown algorithm, wrong options, a label twice.
Result<std::vector<CompareRow>> PlanRows(const ComparePlan& plan);

// Options as a JSON object, in one line.
std::string OptionsText(const Options& options);

// The records of one file.
struct CompareFile {
  std::string path;
  std::string name;  // the file's name without its ending; the path where two share it
  Dataset dataset;
  std::vector<Record> records;
};

// At most `limit` records of each; 0: all. Errors: as ReadRecords; records that name no data set or
// several; one that cannot be scored; a file twice.
Result<std::vector<CompareFile>> ReadCompareFiles(std::span<const std::string> paths,
                                                  std::size_t limit);

// Which blocks each layer attended to at each decode step, beside the tail.
class SelectionLog {
 public:
  static constexpr std::int64_t kMostSteps = 64;  // later ones are dropped

  void Add(const SelectionEvent& event);

  std::size_t num_layers() const { return layers_.size(); }
  std::int64_t num_steps() const;
  std::int64_t num_blocks() const;
  int num_kv_heads() const { return num_kv_heads_; }
  // KV heads that attended to the block. `step` from 1.
  int Heads(std::size_t layer, std::int64_t step, std::int64_t block) const;

  std::string ToJson() const;
  static Result<SelectionLog> FromJson(const std::string& json);

 private:
  // [layer][step - 1][block]
  std::vector<std::vector<std::vector<std::uint8_t>>> layers_;
  int num_kv_heads_ = 0;
};

// A row over a file.
struct CompareCell {
  double score = 0;                 // 0 to 100
  std::vector<double> scores;       // per record, [0, 1]
  std::vector<RequestStats> costs;  // per record
  std::string folder;               // with predictions, under the output folder
  std::size_t resumed = 0;          // records of an earlier run

  // Of CostFields over the records, but missed mass over the audited ones alone; nothing where
  // none was audited, or the name is unknown.
  std::optional<double> Cost(const std::string& name) const;
  std::size_t audited() const;  // records
};

struct Comparison {
  std::vector<std::pair<std::string, std::string>> settings;  // what holds for all rows
  std::vector<double> ratios;
  bool bounded_memory = false;
  std::vector<CompareFile> files;
  std::vector<CompareRow> rows;
  std::vector<CompareCell> cells;  // [rows, files]
  // By row, of the first record of the first file; empty where it was not seen.
  std::vector<SelectionLog> selections;

  const CompareCell& cell(std::size_t row, std::size_t file) const {
    return cells[row * files.size() + file];
  }
};

// What is known of a model before it is opened.
struct ModelFacts {
  SequenceShape shape;  // without tokens and blocks
  std::int64_t max_position = 0;
  std::uint64_t block_bytes = 0;  // of KV
};

// A model that is open.
class CompareModel {
 public:
  virtual ~CompareModel() = default;
  virtual Result<Completion> Answer(const Prompt& prompt, const SamplingParams& params,
                                    const ProgressCallback& progress) = 0;
  virtual void Observe(SelectionObserver observer) = 0;  // as LLM::ObserveSelections
};

// Where models come from: an LLM, or a stand-in.
struct CompareEngine {
  ModelFacts facts;
  TextCodec codec;
  bool has_chat_template = false;
  std::function<Result<std::unique_ptr<CompareModel>>(const EngineConfig&)> open;
  // What answers depend on, by name.
  std::function<std::map<std::string, std::string>(const EngineConfig&)> describe;
};

struct CompareRequest {
  std::vector<CompareRow> rows;
  std::vector<CompareFile> files;
  std::vector<double> ratios;
  EngineConfig config;          // of all rows, but for the algorithm
  bool bounded_memory = false;  // else kv_memory_bytes is chosen so that all KV of a prompt fits
  std::size_t audited_records = 2;  // of each file, where config.audit is on
  std::string longbench_folder;
  std::int64_t max_length = 0;  // of prompts, in tokens; 0: what the model was trained for
  std::string out_dir;
};

// Of all rows and records, `fraction` is done; `row` and `file` are at work.
using CompareProgress = std::function<void(double fraction, const CompareRow& row,
                                           const CompareFile& file, std::size_t record)>;

// Runs the rows one after the other, each with a model of its own, over one store, so that a prompt
// is computed once. Predictions, costs and selections are in out_dir/rows as soon as a record is
// answered; records that an equal row of an earlier run has answered are taken from there.
//
// Errors: those of Evaluate, with row and file; a row that should have been sparse and was not.
Result<Comparison> Compare(CompareRequest request, const CompareEngine& engine,
                           const CompareProgress& progress = {});

// The best score first; equal ones in the plan's order.
std::vector<std::size_t> RowsByScore(const Comparison& comparison, std::size_t file);

// One line for each row and file.
std::string CompareCsv(const Comparison& comparison);

// Settings, files, rows, and for each row and file its cost and the score of every record.
std::string CompareJson(const Comparison& comparison);

// For a terminal: by file, then score.
std::string CompareTable(const Comparison& comparison);

// A page that needs no other file.
std::string CompareHtml(const Comparison& comparison);

}  // namespace esa

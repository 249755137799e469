#include "eval/compare/row_runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <filesystem>

#include "base/status_macros.h"
#include "base/text_file.h"
#include "eval/evaluation.h"

namespace esa {
namespace {

constexpr const char* kSelectionsFile = "selections.json";

// FNV-1a, 64 bits: names folders by what is in them; nobody gains from equal ones.
class Digest {
 public:
  void Add(std::string_view text) {
    for (const char c : text) Mix(static_cast<unsigned char>(c));
    Mix(0x100);  // no byte: ends a part
  }
  std::string Hex() const { return fmt::format("{:016x}", value_); }

 private:
  void Mix(std::uint64_t value) { value_ = (value_ ^ value) * 0x100000001b3; }
  std::uint64_t value_ = 0xcbf29ce484222325;
};

std::string DigestOf(const CompareFile& file, const std::map<std::string, std::string>& settings) {
  Digest digest;
  for (const auto& [name, value] : settings) {
    digest.Add(name);
    digest.Add(value);
  }
  for (const Record& record : file.records) digest.Add(ToJsonLine(record));
  return digest.Hex();
}

// A file name that says what it is.
std::string Slug(const std::string& text) {
  constexpr std::size_t kMost = 60;
  std::string slug;
  for (const char c : text.substr(0, kMost)) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '-';
    slug += plain && !(slug.empty() && c == '.') ? c : '_';
  }
  return slug;
}

std::size_t WholeLines(const std::string& path) {
  const auto text = ReadWholeFile(path);
  return text ? static_cast<std::size_t>(std::count(text->begin(), text->end(), '\n')) : 0;
}

std::string PredictionsFile(const std::string& folder, const CompareFile& file) {
  return folder + "/" + std::string(file.dataset.name) + ".jsonl";
}

}  // namespace

Result<EvaluationRequest> PromptRequest(const CompareRequest& request, const CompareFile& file,
                                        const ModelFacts& facts) {
  EvaluationRequest evaluation;
  evaluation.dataset = file.dataset;
  ESA_ASSIGN_OR_RETURN(evaluation.style, ChoosePromptStyle(file.dataset, request.longbench_folder));
  evaluation.max_prompt_tokens =
      request.max_length > 0
          ? request.max_length
          : LongestPrompt(file.dataset, evaluation.style.max_tokens, facts.max_position);
  return evaluation;
}

EngineConfig RowRunner::Config(bool audit) const {
  EngineConfig config = request_.config;
  config.sparse = {.name = row_.algorithm, .options = row_.options};
  config.audit.action = AuditAction::kReport;
  if (!audit) config.audit.every = 0;
  // A prefix is restored up to a whole chunk: short ones leave little of a prompt to compute again.
  if (row_.kind != RowKind::kDense) config.prefill_chunk_tokens = config.block_tokens;
  return config;
}

std::size_t RowRunner::AuditedOf(const CompareFile& file) const {
  // Dense attention misses nothing.
  if (request_.config.audit.every == 0 || row_.kind == RowKind::kDense) return 0;
  return std::min(request_.audited_records, file.records.size());
}

Result<EvaluationRequest> RowRunner::RequestFor(const CompareFile& file) const {
  ESA_ASSIGN_OR_RETURN(EvaluationRequest evaluation, PromptRequest(request_, file, engine_.facts));
  const std::size_t audited = AuditedOf(file);
  evaluation.settings = engine_.describe(Config(audited > 0));
  evaluation.settings["audited_records"] = fmt::format("{}", audited);
  evaluation.settings["data"] = file.path;
  evaluation.settings["longbench_config"] = request_.longbench_folder;
  evaluation.settings["max_length"] = fmt::format("{}", evaluation.max_prompt_tokens);
  // It follows from all the files, and answers do not depend on it.
  if (!request_.bounded_memory) evaluation.settings["kv_memory_bytes"] = "enough";
  evaluation.out_dir = fmt::format("{}/rows/{}/{}-{}", request_.out_dir, Slug(row_.name()),
                                   Slug(std::filesystem::path(file.path).stem().string()),
                                   DigestOf(file, evaluation.settings));
  return evaluation;
}

Status RowRunner::OpenModel(bool audit) {
  if (model_ != nullptr && model_audits_ == audit) return {};
  model_.reset();  // before the next one takes memory
  ESA_ASSIGN_OR_RETURN(model_, engine_.open(Config(audit)));
  model_audits_ = audit;
  return {};
}

// Opens the model for the first record that needs it: an earlier run may have answered them all.
EvaluationModel RowRunner::Lazily(std::size_t file, bool audit, const std::string& folder) {
  EvaluationModel lazy;
  lazy.codec = engine_.codec;
  lazy.has_chat_template = engine_.has_chat_template;
  lazy.answer = [=, this](const Prompt& prompt, const SamplingParams& params,
                          const ProgressCallback& progress) -> Result<Completion> {
    ESA_RETURN_IF_ERROR(OpenModel(audit));
    // Of every file: in the next run another one may come first, whose selections are shown.
    const bool observe = WholeLines(PredictionsFile(folder, request_.files[file])) == 0;
    SelectionLog log;
    if (observe) model_->Observe([&log](const SelectionEvent& event) { log.Add(event); });
    auto completion = model_->Answer(prompt, params, progress);
    if (!observe) return completion;
    model_->Observe({});
    // Before the answer is written, so that an answer of an earlier run has its selections.
    ESA_RETURN_IF_ERROR(ReplaceFile(folder + "/" + kSelectionsFile, log.ToJson() + "\n"));
    return completion;
  };
  return lazy;
}

Status RowRunner::ReadSelections(const std::string& folder) {
  const std::string path = folder + "/" + kSelectionsFile;
  ESA_ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(path));
  auto log = SelectionLog::FromJson(text);
  if (!log) return DataError(path + ": " + log.error().message);
  selections_ = std::move(*log);
  return {};
}

// The first `records` of the file.
Status RowRunner::RunFile(std::size_t index, std::size_t records, const Report& report) {
  const CompareFile& file = request_.files[index];
  ESA_ASSIGN_OR_RETURN(const EvaluationRequest evaluation, RequestFor(file));
  const std::size_t audited = AuditedOf(file);
  const std::size_t answered = WholeLines(PredictionsFile(evaluation.out_dir, file));
  const bool whole = records == file.records.size();
  CompareCell& cell = cells_[index];
  if (cell.folder.empty()) {
    cell.folder = evaluation.out_dir.substr(request_.out_dir.size() + 1);
    cell.resumed = answered;
  }
  if (!whole && answered >= records) return {};
  auto result = Evaluate(
      evaluation, std::span(file.records).first(records),
      Lazily(index, records <= audited, evaluation.out_dir),
      [&](std::size_t done, std::size_t, double prefill) { report(index, done, prefill); });
  if (!result) {
    Error error = result.error();
    error.message = fmt::format("row \"{}\" on {}: {}", row_.name(), file.name, error.message);
    return error;
  }
  if (!whole) return {};
  cell.score = result->score;
  cell.scores = std::move(result->scores);
  cell.costs = std::move(result->costs);
  return index == 0 ? ReadSelections(evaluation.out_dir) : Status();
}

Result<std::vector<CompareCell>> RowRunner::Run(const Report& report) {
  cells_.assign(request_.files.size(), {});
  for (std::size_t file = 0; file < cells_.size(); ++file) {
    const std::size_t audited = AuditedOf(request_.files[file]);
    if (audited > 0) ESA_RETURN_IF_ERROR(RunFile(file, audited, report));
  }
  for (std::size_t file = 0; file < cells_.size(); ++file) {
    const std::size_t audited = AuditedOf(request_.files[file]);
    const std::size_t all = request_.files[file].records.size();
    if (audited < all || cells_[file].costs.empty())
      ESA_RETURN_IF_ERROR(RunFile(file, all, report));
  }
  model_.reset();
  return std::move(cells_);
}

}  // namespace esa

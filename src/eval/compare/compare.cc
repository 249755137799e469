#include "eval/compare.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>

#include "base/status_macros.h"
#include "eval/compare/activity.h"
#include "eval/compare/row_runner.h"

namespace esa {
namespace {

// The store of a comparison that names none: all rows find the KV that the first has computed. An
// interrupted comparison leaves it, and the next one uses it and removes it.
class SharedStore {
 public:
  explicit SharedStore(CompareRequest* request) {
    StoreConfig& store = request->config.store;
    if (!store.storage_backends.empty() || store.backend != "posix") return;
    folder_ = request->out_dir + "/store";
    store.storage_backends = {folder_};
  }
  ~SharedStore() {
    std::error_code ignored;
    if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
  }
  SharedStore(const SharedStore&) = delete;
  SharedStore& operator=(const SharedStore&) = delete;

 private:
  std::string folder_;
};

// KV of the longest prompt with its answer, so that no row waits for loads.
Result<std::uint64_t> EnoughMemory(const CompareRequest& request, const CompareEngine& engine) {
  constexpr std::int64_t kTemplateTokens = 128;
  EvaluationModel text_only;
  text_only.codec = engine.codec;
  std::int64_t most = 0;
  for (const CompareFile& file : request.files) {
    ESA_ASSIGN_OR_RETURN(const EvaluationRequest evaluation,
                         PromptRequest(request, file, engine.facts));
    for (const Record& record : file.records) {
      ESA_ASSIGN_OR_RETURN(const Prompt prompt, MakePrompt(evaluation, record, text_only));
      ESA_ASSIGN_OR_RETURN(const auto ids, engine.codec.encode(prompt.prompt));
      most = std::max(most, std::ssize(ids) + kTemplateTokens + evaluation.style.max_tokens);
    }
  }
  const std::int64_t blocks = most / engine.facts.shape.block_tokens + 2;
  return static_cast<std::uint64_t>(blocks) * engine.facts.block_bytes;
}

std::vector<std::pair<std::string, std::string>> SettingsOf(const CompareRequest& request,
                                                            const CompareEngine& engine) {
  std::vector<std::pair<std::string, std::string>> settings;
  for (const auto& [name, value] : engine.describe(request.config)) {
    if (name.starts_with("sparse") || name == "audit" || value.empty()) continue;
    settings.emplace_back(name, value);
  }
  settings.emplace_back("ratios", fmt::format("{}", fmt::join(request.ratios, ", ")));
  settings.emplace_back(
      "audit", request.config.audit.every == 0
                   ? "none"
                   : fmt::format("every {} steps of {} records a file", request.config.audit.every,
                                 request.audited_records));
  return settings;
}

Status CheckRequest(const CompareRequest& request) {
  if (request.rows.empty() || request.rows.front().kind != RowKind::kDense) {
    return InvalidArgument("a comparison begins with its dense row");
  }
  if (request.files.empty()) return InvalidArgument("no data files are named");
  std::error_code error;
  std::filesystem::create_directories(request.out_dir, error);
  if (!error) return {};
  return IoError(fmt::format("{}: cannot be made: {}", request.out_dir, error.message()));
}

// Counts records over all rows.
class Steps {
 public:
  Steps(const CompareRequest& request, const CompareProgress& progress)
      : request_(request), progress_(progress) {
    for (const CompareFile& file : request.files) of_row_ += file.records.size();
  }

  RowRunner::Report OfRow(std::size_t row) {
    return [this, row](std::size_t file, std::size_t record, double prefill) {
      if (!progress_) return;
      std::size_t before = row * of_row_;
      for (std::size_t i = 0; i < file; ++i) before += request_.files[i].records.size();
      const double done = static_cast<double>(before + record) + 0.9 * prefill;
      progress_(done / static_cast<double>(of_row_ * request_.rows.size()), request_.rows[row],
                request_.files[file], record);
    };
  }

 private:
  const CompareRequest& request_;
  const CompareProgress& progress_;
  std::size_t of_row_ = 0;
};

}  // namespace

Result<Comparison> Compare(CompareRequest request, const CompareEngine& engine,
                           const CompareProgress& progress) {
  ESA_RETURN_IF_ERROR(CheckRequest(request));
  if (!request.bounded_memory) {
    ESA_ASSIGN_OR_RETURN(request.config.kv_memory_bytes, EnoughMemory(request, engine));
  }
  const SharedStore store(&request);
  Comparison comparison;
  Steps steps(request, progress);
  for (std::size_t row = 0; row < request.rows.size(); ++row) {
    RowRunner runner(request, engine, request.rows[row]);
    ESA_ASSIGN_OR_RETURN(std::vector<CompareCell> cells, runner.Run(steps.OfRow(row)));
    for (CompareCell& cell : cells) comparison.cells.push_back(std::move(cell));
    comparison.selections.push_back(runner.selections());
    for (std::size_t file = 0; file < request.files.size(); ++file) {
      const std::size_t mine = row * request.files.size() + file;
      ESA_RETURN_IF_ERROR(CheckSparse(request.rows[row], request.files[file],
                                      comparison.cells[mine], comparison.cells[file],
                                      engine.facts.shape));
    }
  }
  comparison.settings = SettingsOf(request, engine);
  comparison.ratios = std::move(request.ratios);
  comparison.bounded_memory = request.bounded_memory;
  comparison.files = std::move(request.files);
  comparison.rows = std::move(request.rows);
  return comparison;
}

}  // namespace esa

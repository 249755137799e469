// One row over all files: opens its models, answers the records, keeps what was seen. Private to
// eval.
//
// Threading: one thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "esa/result.h"
#include "eval/compare.h"

namespace esa {

class RowRunner {
 public:
  using Report = std::function<void(std::size_t file, std::size_t record, double prefill)>;

  // References must outlive it.
  RowRunner(const CompareRequest& request, const CompareEngine& engine, const CompareRow& row)
      : request_(request), engine_(engine), row_(row) {}

  // Cells of the request's files. First the records that are audited, by a model that does it, then
  // the rest by one that does not.
  Result<std::vector<CompareCell>> Run(const Report& report);

  const SelectionLog& selections() const { return selections_; }

 private:
  Status RunFile(std::size_t file, std::size_t records, const Report& report);
  Status OpenModel(bool audit);
  Result<EvaluationRequest> RequestFor(const CompareFile& file) const;
  EvaluationModel Lazily(std::size_t file, bool audit, const std::string& folder);
  Status ReadSelections(const std::string& folder);
  std::size_t AuditedOf(const CompareFile& file) const;
  EngineConfig Config(bool audit) const;

  const CompareRequest& request_;
  const CompareEngine& engine_;
  const CompareRow& row_;
  std::unique_ptr<CompareModel> model_;
  bool model_audits_ = false;
  std::vector<CompareCell> cells_;
  SelectionLog selections_;
};

// The data set's prompt style and how long a prompt may be; without output folder and settings.
Result<EvaluationRequest> PromptRequest(const CompareRequest& request, const CompareFile& file,
                                        const ModelFacts& facts);

}  // namespace esa

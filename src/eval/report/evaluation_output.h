// The files of an evaluation, and what an interrupted one left in them. Private to eval.
#pragma once

#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "esa/llm.h"
#include "esa/result.h"
#include "eval/records.h"

namespace esa {

class EvaluationOutput {
 public:
  EvaluationOutput(std::string folder, std::string dataset,
                   std::map<std::string, std::string> settings);

  // Reads what is there, cuts off a torn last line and opens for appending. kInvalidArgument: what
  // is there belongs to other records or settings.
  Status Open(std::span<const Record> records);

  // One line and one cost; both are in the files on return.
  Status Append(const Record& record, const std::string& text, const RequestStats& stats);

  Status Finish(double score);

  const std::vector<Prediction>& predictions() const { return predictions_; }
  const std::vector<RequestStats>& costs() const { return costs_; }

 private:
  struct CloseFile {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };

  Status ReadPredictionLines(std::span<const Record> records);
  Status ReadCosts();
  Status WriteCosts();
  Error Foreign(const std::string& why) const;

  std::string folder_;
  std::string dataset_;
  std::map<std::string, std::string> settings_;
  std::vector<Prediction> predictions_;
  std::vector<RequestStats> costs_;
  nlohmann::ordered_json cost_file_;  // of all data sets
  std::unique_ptr<std::FILE, CloseFile> lines_;
};

}  // namespace esa

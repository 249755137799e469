#include "eval/report/evaluation_output.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "base/json_text.h"
#include "base/status_macros.h"
#include "base/text_file.h"
#include "eval/report/cost_json.h"

namespace esa {
namespace {

using OrderedJson = nlohmann::ordered_json;

// An object, empty where the file is not there.
Result<OrderedJson> ReadObject(const std::string& path) {
  const auto text = ReadWholeFile(path);
  if (!text && text.error().code == ErrorCode::kNotFound) return OrderedJson::object();
  if (!text) return text.error();
  try {
    OrderedJson object = OrderedJson::parse(*text);
    if (object.is_object()) return object;
    return DataError(path + ": expected a JSON object");
  } catch (const nlohmann::json::exception& e) {
    return DataError(path + ": " + JsonErrorText(e.what()));
  }
}

// Leaves whole lines only.
Status CutTornLine(const std::string& path) {
  const auto text = ReadWholeFile(path);
  if (!text && text.error().code == ErrorCode::kNotFound) return {};
  if (!text) return text.error();
  const auto last = text->rfind('\n');
  const std::size_t whole = last == std::string::npos ? 0 : last + 1;
  if (whole == text->size()) return {};
  std::error_code error;
  std::filesystem::resize_file(path, whole, error);
  if (error) return IoError(fmt::format("{}: cannot be written: {}", path, error.message()));
  return {};
}

}  // namespace

EvaluationOutput::EvaluationOutput(std::string folder, std::string dataset,
                                   std::map<std::string, std::string> settings)
    : folder_(std::move(folder)), dataset_(std::move(dataset)), settings_(std::move(settings)) {}

Error EvaluationOutput::Foreign(const std::string& why) const {
  return InvalidArgument(fmt::format(
      "{}/{}.jsonl holds predictions {}; choose another output folder, or remove that file",
      folder_, dataset_, why));
}

Status EvaluationOutput::Open(std::span<const Record> records) {
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  if (error) return IoError(fmt::format("{}: cannot be made: {}", folder_, error.message()));
  ESA_RETURN_IF_ERROR(ReadPredictionLines(records));
  ESA_RETURN_IF_ERROR(ReadCosts());
  const std::string path = folder_ + "/" + dataset_ + ".jsonl";
  lines_.reset(std::fopen(path.c_str(), "ab"));
  if (!lines_) {
    return IoError(fmt::format("{}: cannot be written: {}", path, std::strerror(errno)));
  }
  return WriteCosts();
}

Status EvaluationOutput::ReadPredictionLines(std::span<const Record> records) {
  const std::string path = folder_ + "/" + dataset_ + ".jsonl";
  ESA_RETURN_IF_ERROR(CutTornLine(path));
  if (!std::filesystem::exists(path)) return {};
  ESA_ASSIGN_OR_RETURN(predictions_, ReadPredictions(path));
  if (predictions_.size() > records.size()) {
    return Foreign(
        fmt::format("of {} records, this run has {}", predictions_.size(), records.size()));
  }
  for (std::size_t i = 0; i < predictions_.size(); ++i) {
    if (predictions_[i].answers != records[i].answers) {
      return Foreign(fmt::format("of other records (line {})", i + 1));
    }
  }
  return {};
}

Status EvaluationOutput::ReadCosts() {
  const std::string path = folder_ + "/cost.json";
  ESA_ASSIGN_OR_RETURN(cost_file_, ReadObject(path));
  costs_.clear();
  if (predictions_.empty()) return {};
  const OrderedJson mine = cost_file_.value(dataset_, OrderedJson::object());
  const OrderedJson costs = mine.value("records", OrderedJson::array());
  if (mine.value("settings", OrderedJson::object()) != OrderedJson(settings_)) {
    return Foreign("made with other settings (cost.json has them)");
  }
  for (const OrderedJson& cost : costs) {
    const auto stats = StatsFromJson(cost);
    if (!stats) return DataError(path + ": " + dataset_ + ": " + stats.error().message);
    costs_.push_back(*stats);
  }
  // Costs are written before their line: one more than there are lines is of a record to redo.
  if (costs_.size() > predictions_.size()) costs_.resize(predictions_.size());
  if (costs_.size() < predictions_.size()) return Foreign("whose costs are not in cost.json");
  return {};
}

Status EvaluationOutput::WriteCosts() {
  OrderedJson records = OrderedJson::array();
  for (const RequestStats& stats : costs_) records.push_back(CostToJson({&stats, 1}));
  cost_file_[dataset_] = {
      {"settings", settings_}, {"mean", CostToJson(costs_)}, {"records", std::move(records)}};
  return ReplaceFile(folder_ + "/cost.json", cost_file_.dump(1) + "\n");
}

Status EvaluationOutput::Append(const Record& record, const std::string& text,
                                const RequestStats& stats) {
  costs_.push_back(stats);
  ESA_RETURN_IF_ERROR(WriteCosts());
  predictions_.push_back({.pred = text,
                          .answers = record.answers,
                          .all_classes = record.all_classes,
                          .length = record.length});
  const std::string line = ToJsonLine(predictions_.back()) + "\n";
  if (std::fwrite(line.data(), 1, line.size(), lines_.get()) != line.size() ||
      std::fflush(lines_.get()) != 0) {
    return IoError(
        fmt::format("{}/{}.jsonl: cannot be written: {}", folder_, dataset_, std::strerror(errno)));
  }
  return {};
}

Status EvaluationOutput::Finish(double score) {
  const std::string path = folder_ + "/result.json";
  ESA_ASSIGN_OR_RETURN(OrderedJson scores, ReadObject(path));
  scores[dataset_] = score;
  return ReplaceFile(path, scores.dump(4) + "\n");
}

}  // namespace esa

#include "eval/records.h"

#include <nlohmann/json.hpp>

#include "base/status_macros.h"
#include "eval/jsonl/line_reader.h"

namespace esa {
namespace {

using OrderedJson = nlohmann::ordered_json;

OrderedJson TextsOrNull(const std::optional<std::vector<std::string>>& texts) {
  return texts ? OrderedJson(*texts) : OrderedJson(nullptr);
}

// Bytes that are no UTF-8 become U+FFFD: what a model says must always be writable.
std::string Dump(const OrderedJson& object) {
  return object.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

}  // namespace

Result<std::vector<Record>> ReadRecords(const std::string& path, std::size_t limit) {
  std::vector<Record> records;
  ESA_RETURN_IF_ERROR(ForEachLine(path, "input, context and answers", [&](LineReader& line) {
    Record& record = records.emplace_back();
    record.input = line.Text("input");
    record.context = line.Text("context");
    record.answers = line.Texts("answers");
    record.all_classes = line.OptionalTexts("all_classes");
    record.length = line.OptionalWhole("length");
    record.dataset = line.OptionalText("dataset");
    record.language = line.OptionalText("language");
    record.id = line.OptionalText("_id");
    record.depth = line.OptionalNumber("depth");
    if (line.Has("tokens")) record.tokens = line.OptionalWhole("tokens");
    return limit == 0 || records.size() < limit;
  }));
  if (records.empty()) return DataError(path + ": no records in it");
  return records;
}

Result<std::vector<Prediction>> ReadPredictions(const std::string& path) {
  std::vector<Prediction> predictions;
  ESA_RETURN_IF_ERROR(ForEachLine(path, "pred and answers", [&](LineReader& line) {
    Prediction& prediction = predictions.emplace_back();
    prediction.pred = line.Text("pred");
    prediction.answers = line.Texts("answers");
    prediction.all_classes = line.OptionalTexts("all_classes");
    prediction.length = line.OptionalWhole("length");
    return true;
  }));
  return predictions;
}

std::string ToJsonLine(const Record& record) {
  OrderedJson object = {{"input", record.input},
                        {"context", record.context},
                        {"answers", record.answers},
                        {"length", record.length},
                        {"dataset", record.dataset},
                        {"language", record.language},
                        {"all_classes", TextsOrNull(record.all_classes)},
                        {"_id", record.id}};
  if (record.depth) object["depth"] = *record.depth;
  if (record.tokens) object["tokens"] = *record.tokens;
  return Dump(object);
}

std::string ToJsonLine(const Prediction& prediction) {
  return Dump({{"pred", prediction.pred},
               {"answers", prediction.answers},
               {"all_classes", TextsOrNull(prediction.all_classes)},
               {"length", prediction.length}});
}

}  // namespace esa

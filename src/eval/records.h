// LongBench's two line formats: records in, predictions out.
//
// A file is UTF-8, one JSON object a line. Errors are one line with file, line number, field and
// what was expected. Keys that are not listed are ignored. Pure functions: any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "esa/result.h"

namespace esa {

struct Record {
  std::string input;    // the question
  std::string context;  // the long text
  std::vector<std::string> answers;
  std::optional<std::vector<std::string>> all_classes;
  std::int64_t length = 0;  // of the context, as the data set counts it
  std::string dataset;
  std::string language;
  std::string id;  // "_id"
  // Of generated records, for reports by depth and length.
  std::optional<double> depth = {};         // where the fact asked for stands: 0 first, 1 last
  std::optional<std::int64_t> tokens = {};  // the length that was asked for
};

struct Prediction {
  std::string pred;
  std::vector<std::string> answers;
  std::optional<std::vector<std::string>> all_classes;
  std::int64_t length = 0;
};

// input, context and answers must be there. At most `limit` records; 0: all.
Result<std::vector<Record>> ReadRecords(const std::string& path, std::size_t limit = 0);
Result<std::vector<Prediction>> ReadPredictions(const std::string& path);

// Without a newline at the end.
std::string ToJsonLine(const Record& record);
std::string ToJsonLine(const Prediction& prediction);

}  // namespace esa

// The table and the JSON file of `esa demo`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "eval/evaluation.h"

namespace esa::cli {

// One pass over the records: "dense", "ESA", "ESA, restored".
struct DemoPass {
  std::string name;
  std::string key;  // in the JSON file
  std::string sparse;
  std::uint64_t kv_memory_bytes = 0;
  EvaluationResult result;
  std::vector<std::string> answers;  // of each record
};

struct DemoReport {
  std::string model;
  std::string task;
  std::int64_t tokens = 0;  // asked for
  std::size_t records = 0;
  std::uint64_t prompt_kv_bytes = 0;  // of the longest prompt, dense
  std::uint64_t weight_bytes = 0;
  double seconds = 0;  // of the whole demo
  std::vector<DemoPass> passes;
};

// For a terminal: one column a pass, one row a number, and bars for what matters most.
std::string DemoTable(const DemoReport& report);

std::string DemoJson(const DemoReport& report);

}  // namespace esa::cli

// The data sets that eval knows: how each is asked, cut and scored. One row a data set.
//
// Names and scoring are those of LongBench (https://github.com/THUDM/LongBench) and of RULER
// (https://github.com/NVIDIA/RULER); needle, multikey, kv_recall and the same with _sentence are
// this project's generated tasks.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "esa/result.h"

namespace esa {

struct Dataset {
  std::string_view name;
  std::string_view metric;
  std::string_view prompt_template;  // ours; {context} and {input} stand for the record's fields
  int max_tokens = 0;                // ours
  bool first_line_only = false;      // scored is the first line after leading newlines
  bool raw_prompt = false;           // never put into a chat template
  bool stops_at_newline = false;     // answers are one line
};

std::span<const Dataset> Datasets();

// The 21 of LongBench.
std::span<const Dataset> LongBenchDatasets();

// Error: unknown; the message lists the known ones.
Result<Dataset> FindDataset(std::string_view name);

}  // namespace esa

// Comparisons without a model: for the tests of eval/compare.
#pragma once

#include <string>
#include <vector>

#include "eval/compare.h"

namespace esa {

// Records of data set needle, "q0", "q1", ..., whose answers are "a0", "a1", ...
std::string NeedleLines(int count);

// Answers as told. A context has 64 blocks of 16 tokens; dense attends to all, another algorithm to
// eight. Each model shows one selection of layer 0.
struct FakeEngine {
  int broken_at = -1;                 // the number of a record that cannot be answered
  std::string lazy_algorithm;         // attends to everything, and is not sparse
  int opened = 0;                     // models
  std::vector<std::string> answered;  // "ESA q0", and "ESA q0 audited"

  CompareEngine Engine();
};

// Two files, the rows dense, "a<b>" at two ratios and streaming, with depths and lengths.
Comparison ExampleComparison();

}  // namespace esa

// A hidden Markov model over where a character stands in its word: begin, end, middle or single.
// Private to eval.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "esa/result.h"

namespace esa {

class PositionModel {
 public:
  // Reads prob_start.py, prob_trans.py and prob_emit.py of `folder`: Python dictionaries of log
  // probabilities.
  static Result<PositionModel> Load(const std::string& folder);

  // Splits a run of Chinese characters by its most probable sequence of positions.
  void Cut(std::u32string_view run, std::vector<std::u32string>* words) const;

 private:
  // In the order of their letters: equal probabilities fall to the later letter.
  enum Position { kBegin, kEnd, kMiddle, kSingle, kNumPositions };
  using Row = std::array<double, kNumPositions>;

  std::vector<Position> MostProbablePath(std::u32string_view run) const;
  double Emission(Position position, char32_t c) const;

  Row start_{};
  std::array<Row, kNumPositions> transition_{};  // [from][to]
  std::array<std::unordered_map<char32_t, double>, kNumPositions> emission_;
};

}  // namespace esa

#include "eval/segmenter/position_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/json_text.h"
#include "base/status_macros.h"
#include "base/text_file.h"
#include "eval/unicode_text.h"

namespace esa {
namespace {

constexpr double kImpossible = -3.14e100;
constexpr std::string_view kLetters = "BEMS";

// A dictionary literal of Python with plain strings is JSON but for its quotes.
Result<nlohmann::json> ReadDictionary(const std::string& path) {
  ESA_ASSIGN_OR_RETURN(std::string text, ReadWholeFile(path));
  const auto begin = text.find("P={");
  if (begin == std::string::npos) return DataError(path + ": expected a dictionary named P");
  text.erase(0, begin + 2);
  std::replace(text.begin(), text.end(), '\'', '"');
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::exception& e) {
    return DataError(path + ": " + JsonErrorText(e.what()));
  }
}

double ValueOr(const nlohmann::json& object, char letter) {
  const auto found = object.find(std::string(1, letter));
  return found == object.end() ? kImpossible : found->get<double>();
}

}  // namespace

Result<PositionModel> PositionModel::Load(const std::string& folder) {
  ESA_ASSIGN_OR_RETURN(const nlohmann::json start, ReadDictionary(folder + "/prob_start.py"));
  ESA_ASSIGN_OR_RETURN(const nlohmann::json transition, ReadDictionary(folder + "/prob_trans.py"));
  ESA_ASSIGN_OR_RETURN(const nlohmann::json emission, ReadDictionary(folder + "/prob_emit.py"));
  PositionModel model;
  try {
    for (int from = 0; from < kNumPositions; ++from) {
      const std::string name(1, kLetters[from]);
      model.start_[from] = ValueOr(start, kLetters[from]);
      for (int to = 0; to < kNumPositions; ++to) {
        model.transition_[from][to] = ValueOr(transition.at(name), kLetters[to]);
      }
      for (const auto& [character, value] : emission.at(name).items()) {
        model.emission_[from][DecodeUtf8(character).at(0)] = value.get<double>();
      }
    }
  } catch (const std::exception& e) {
    return DataError(
        fmt::format("{}: prob_*.py are not jieba's tables: {}", folder, JsonErrorText(e.what())));
  }
  return model;
}

double PositionModel::Emission(Position position, char32_t c) const {
  const auto found = emission_[position].find(c);
  return found == emission_[position].end() ? kImpossible : found->second;
}

std::vector<PositionModel::Position> PositionModel::MostProbablePath(
    std::u32string_view run) const {
  // Which two positions may stand before each.
  static constexpr std::pair<Position, Position> kBefore[kNumPositions] = {
      {kEnd, kSingle}, {kBegin, kMiddle}, {kBegin, kMiddle}, {kEnd, kSingle}};
  Row now{};
  for (int p = 0; p < kNumPositions; ++p) {
    now[p] = start_[p] + Emission(static_cast<Position>(p), run[0]);
  }
  std::vector<std::array<Position, kNumPositions>> came_from(run.size());
  for (std::size_t t = 1; t < run.size(); ++t) {
    Row next{};
    for (int p = 0; p < kNumPositions; ++p) {
      const double emission = Emission(static_cast<Position>(p), run[t]);
      const auto [first, second] = kBefore[p];
      const double by_first = now[first] + transition_[first][p] + emission;
      const double by_second = now[second] + transition_[second][p] + emission;
      came_from[t][p] = by_first > by_second ? first : second;
      next[p] = std::max(by_first, by_second);
    }
    now = next;
  }
  std::vector<Position> path(run.size());
  path.back() = now[kEnd] > now[kSingle] ? kEnd : kSingle;
  for (std::size_t t = run.size() - 1; t > 0; --t) path[t - 1] = came_from[t][path[t]];
  return path;
}

void PositionModel::Cut(std::u32string_view run, std::vector<std::u32string>* words) const {
  if (run.empty()) return;
  const std::vector<Position> path = MostProbablePath(run);
  std::size_t begin = 0;
  for (std::size_t i = 0; i < run.size(); ++i) {
    if (path[i] == kBegin) begin = i;
    if (path[i] == kSingle) begin = i;
    if (path[i] == kEnd || path[i] == kSingle) {
      words->emplace_back(run.substr(begin, i + 1 - begin));
      begin = i + 1;
    }
  }
  if (begin < run.size()) words->emplace_back(run.substr(begin));
}

}  // namespace esa

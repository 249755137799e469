#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/json_text.h"
#include "eval/compare.h"

namespace esa {

void SelectionLog::Add(const SelectionEvent& event) {
  if (event.step < 1 || event.step > kMostSteps || event.layer < 0) return;
  const auto layer = static_cast<std::size_t>(event.layer);
  const auto step = static_cast<std::size_t>(event.step - 1);
  if (layers_.size() <= layer) layers_.resize(layer + 1);
  if (layers_[layer].size() <= step) layers_[layer].resize(step + 1);
  std::vector<std::uint8_t>& heads = layers_[layer][step];
  if (std::ssize(heads) < event.sealed_blocks) {
    heads.resize(static_cast<std::size_t>(event.sealed_blocks));
  }
  for (const std::int32_t block : event.blocks) ++heads[static_cast<std::size_t>(block)];
  num_kv_heads_ = std::max(num_kv_heads_, event.kv_head + 1);
}

std::int64_t SelectionLog::num_steps() const {
  std::size_t most = 0;
  for (const auto& steps : layers_) most = std::max(most, steps.size());
  return static_cast<std::int64_t>(most);
}

std::int64_t SelectionLog::num_blocks() const {
  std::size_t most = 0;
  for (const auto& steps : layers_) {
    for (const auto& heads : steps) most = std::max(most, heads.size());
  }
  return static_cast<std::int64_t>(most);
}

int SelectionLog::Heads(std::size_t layer, std::int64_t step, std::int64_t block) const {
  const auto s = static_cast<std::size_t>(step - 1);
  const auto b = static_cast<std::size_t>(block);
  if (layer >= layers_.size() || s >= layers_[layer].size()) return 0;
  return b < layers_[layer][s].size() ? layers_[layer][s][b] : 0;
}

std::string SelectionLog::ToJson() const {
  return nlohmann::ordered_json{{"num_kv_heads", num_kv_heads_}, {"layers", layers_}}.dump();
}

Result<SelectionLog> SelectionLog::FromJson(const std::string& json) {
  SelectionLog log;
  try {
    const auto object = nlohmann::json::parse(json);
    object.at("num_kv_heads").get_to(log.num_kv_heads_);
    object.at("layers").get_to(log.layers_);
  } catch (const nlohmann::json::exception& e) {
    return DataError(JsonErrorText(e.what()));
  }
  return log;
}

}  // namespace esa

// A tiny tokenizer.json for tests, and the way to the shared test data.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "model/byte_level.h"

namespace esa::testing {

inline std::string ByteLevel(const std::string& bytes) {
  std::string text;
  AppendByteLevel(bytes, &text);
  return text;
}

// All 256 bytes have the id of their value; then 256 "lo", 257 "low", 258 " low" and 259 "er" by
// merges, 260 "lower" without; 300 <|start|> and 301 <|end|> special, 302 <tool> not.
inline nlohmann::json TinyTokenizer() {
  nlohmann::json json;
  auto& model = json["model"];
  model = {{"type", "BPE"}, {"ignore_merges", false}, {"byte_fallback", false}};
  for (int byte = 0; byte < 256; ++byte) {
    model["vocab"][ByteLevel(std::string(1, static_cast<char>(byte)))] = byte;
  }
  model["vocab"].update({{"lo", 256}, {"low", 257}, {"Ġlow", 258}, {"er", 259}, {"lower", 260}});
  model["merges"] = {"l o", "lo w", "Ġ low", "e r"};
  json["normalizer"] = {{"type", "NFC"}};
  json["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
  json["post_processor"] = nullptr;
  json["added_tokens"] = {
      {{"id", 300}, {"content", "<|start|>"}, {"special", true}, {"normalized", false}},
      {{"id", 301}, {"content", "<|end|>"}, {"special", true}, {"normalized", false}},
      {{"id", 302}, {"content", "<tool>"}, {"special", false}, {"normalized", false}}};
  return json;
}

// The folder of the shared data; it may be absent.
inline std::filesystem::path SharedData() {
  const char* named = std::getenv("ESA_TEST_DATA");
  return named != nullptr ? std::filesystem::path(named)
                          : std::filesystem::path(ESA_SOURCE_DIR) / "../shared/data";
}

}  // namespace esa::testing

// Skips the test where the shared data has no such file or folder.
#define ESA_SKIP_WITHOUT(path)                                                           \
  if (!std::filesystem::exists(path)) {                                                  \
    GTEST_SKIP() << "no " << (path) << "; set ESA_TEST_DATA to the folder of test data"; \
  }

// Answers the records of a LongBench file with ESA; the KV blocks stay in a folder, so that a
// second run reads the prompts from there instead of computing them.
//
// Usage: offline_inference_esa MODEL_DIR RECORDS.jsonl STORE_DIR
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "esa/llm.h"

namespace {

constexpr double kMiB = 1 << 20;

int Fail(const std::string& message) {
  std::fprintf(stderr, "offline_inference_esa: %s\n", message.c_str());
  return 1;
}

void AppendUtf8(std::string& text, unsigned long code) {
  if (code < 0x80) {
    text += static_cast<char>(code);
  } else if (code < 0x800) {
    text += static_cast<char>(0xc0 | code >> 6);
    text += static_cast<char>(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    text += static_cast<char>(0xe0 | code >> 12);
    text += static_cast<char>(0x80 | (code >> 6 & 0x3f));
    text += static_cast<char>(0x80 | (code & 0x3f));
  } else {
    text += static_cast<char>(0xf0 | code >> 18);
    text += static_cast<char>(0x80 | (code >> 12 & 0x3f));
    text += static_cast<char>(0x80 | (code >> 6 & 0x3f));
    text += static_cast<char>(0x80 | (code & 0x3f));
  }
}

// The four hexadecimal digits at `at`.
unsigned long CodeUnit(const std::string& line, std::size_t at) {
  return at + 4 <= line.size() ? std::strtoul(line.substr(at, 4).c_str(), nullptr, 16) : 0xfffd;
}

// The string that a line's object has under `key`. Enough JSON for well-formed records: a quoted
// name is followed by a colon only where it is a key.
std::optional<std::string> TextField(const std::string& line, const std::string& key) {
  const std::string quoted = '"' + key + '"';
  for (std::size_t at = line.find(quoted); at != std::string::npos;
       at = line.find(quoted, at + 1)) {
    std::size_t i = line.find_first_not_of(" \t", at + quoted.size());
    if (i == std::string::npos || line[i] != ':') continue;
    i = line.find_first_not_of(" \t", i + 1);
    if (i == std::string::npos || line[i] != '"') return std::nullopt;
    std::string text;
    for (++i; i < line.size() && line[i] != '"'; ++i) {
      if (line[i] != '\\') {
        text += line[i];
        continue;
      }
      if (++i == line.size()) return std::nullopt;
      switch (line[i]) {
        case 'n': text += '\n'; break;
        case 't': text += '\t'; break;
        case 'r': text += '\r'; break;
        case 'b': text += '\b'; break;
        case 'f': text += '\f'; break;
        case 'u': {
          unsigned long code = CodeUnit(line, i + 1);
          i += 4;
          if (code >= 0xd800 && code < 0xdc00 && line.compare(i + 1, 2, "\\u") == 0) {
            code = 0x10000 + ((code - 0xd800) << 10) + (CodeUnit(line, i + 3) - 0xdc00);
            i += 6;
          }
          AppendUtf8(text, code);
          break;
        }
        default: text += line[i];
      }
    }
    if (i >= line.size()) return std::nullopt;
    return text;
  }
  return std::nullopt;
}

esa::EngineConfig Configure(const std::string& model_dir, const std::string& store_dir) {
  esa::EngineConfig config;
  config.model_dir = model_dir;
  config.kv_memory_bytes = 1ull << 30;
  // The configuration that ESA was published with.
  config.sparse.name = "ESA";
  config.sparse.options = {{"init_window_sz", std::int64_t{1}},
                           {"local_window_sz", std::int64_t{2}},
                           {"min_blocks", std::int64_t{4}},
                           {"sparse_ratio", 0.2},
                           {"retrieval_stride", std::int64_t{10}}};
  config.store.backend = "posix";
  config.store.storage_backends = {store_dir};
  return config;
}

void PrintCost(const esa::RequestStats& stats) {
  const double step = stats.generated_tokens > 1
                          ? 1000 * stats.decode_seconds /
                                static_cast<double>(stats.generated_tokens - 1)
                          : 0;
  std::printf("  %lld prompt tokens, %lld of them restored; first token after %.2f s, then %.1f ms "
              "a token\n",
              static_cast<long long>(stats.prompt_tokens),
              static_cast<long long>(stats.restored_tokens), stats.prefill_seconds, step);
  std::printf("  KV: %.1f MiB in memory at most, %.1f MiB written, %.1f MiB read in decode; %s%s\n",
              static_cast<double>(stats.peak_resident_bytes) / kMiB,
              static_cast<double>(stats.dumped_bytes) / kMiB,
              static_cast<double>(stats.loaded_bytes) / kMiB, stats.sparse ? "sparse" : "dense",
              stats.degraded ? ", degraded" : "");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: offline_inference_esa MODEL_DIR RECORDS.jsonl STORE_DIR\n");
    return 2;
  }
  const std::string path = argv[2];
  std::ifstream records(path);
  if (!records) return Fail(path + ": cannot be read");

  auto llm = esa::LLM::Open(Configure(argv[1], argv[3]));
  if (!llm) return Fail(llm.error().message);
  esa::SamplingParams params;
  params.max_tokens = 32;
  params.stop = {"\n"};

  std::string line;
  for (int number = 1; std::getline(records, line); ++number) {
    if (line.empty()) continue;
    const auto context = TextField(line, "context");
    const auto input = TextField(line, "input");
    if (!context || !input) {
      return Fail(path + ":" + std::to_string(number) + ": expected the texts input and context");
    }
    const std::vector<esa::Prompt> prompts{
        {.prompt = *context + "\n\nQuestion: " + *input + "\nAnswer:",
         .messages = {},
         .token_ids = {}}};
    auto completions = (*llm)->Generate(prompts, params);
    if (!completions) return Fail(completions.error().message);
    std::printf("%s\n ->%s\n", input->c_str(), completions->front().text.c_str());
    PrintCost(completions->front().stats);
  }
  return 0;
}

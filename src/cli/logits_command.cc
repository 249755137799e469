#include <fmt/format.h>

#include <bit>
#include <charconv>
#include <memory>
#include <string_view>
#include <vector>

#include "base/status_macros.h"
#include "base/text_file.h"
#include "cli/command.h"
#include "cli/engine_flags.h"
#include "esa/llm.h"

namespace esa::cli {
namespace {

static_assert(std::endian::native == std::endian::little, "the output is little-endian");

struct LogitsOptions {
  EngineFlags engine;
  std::string ids;
  std::string out;
};

Result<std::vector<std::int32_t>> ReadIds(const std::string& path, std::int64_t vocab_size) {
  constexpr std::string_view kSpace = " \t\r\n";
  ESA_ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(path));
  std::vector<std::int32_t> ids;
  std::string_view rest = text;
  while (true) {
    rest.remove_prefix(std::min(rest.find_first_not_of(kSpace), rest.size()));
    if (rest.empty()) break;
    const std::string_view word = rest.substr(0, rest.find_first_of(kSpace));
    rest.remove_prefix(word.size());
    std::int32_t id = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    const bool number = error == std::errc() && end == word.data() + word.size();
    if (!number || id < 0 || id >= vocab_size) {
      return DataError(
          fmt::format("{}: token {}: found \"{}\", expected a whole number from 0 to {}", path,
                      ids.size() + 1, word.substr(0, 40), vocab_size - 1));
    }
    ids.push_back(id);
  }
  if (ids.empty()) return DataError(path + ": no token ids in it");
  return ids;
}

Status WriteLogits(const EngineConfig& config, const LogitsOptions& options) {
  ESA_ASSIGN_OR_RETURN(const auto llm, LLM::Open(config));
  ESA_ASSIGN_OR_RETURN(const auto ids, ReadIds(options.ids, llm->vocab_size()));
  ESA_ASSIGN_OR_RETURN(const std::vector<float> logits, llm->Logits(ids));
  const std::string bytes(reinterpret_cast<const char*>(logits.data()),
                          logits.size() * sizeof(float));
  ESA_RETURN_IF_ERROR(ReplaceFile(options.out, bytes));
  fmt::print(stderr, "{}: f32 [{}, {}]\n", options.out, ids.size(), llm->vocab_size());
  return {};
}

int Logits(const LogitsOptions& options) {
  auto config = options.engine.Resolve();
  if (!config) return Fail(config.error(), kUsage);
  config->kv_dtype = KvDtype::kF32;
  config->sparse = {.name = "dense", .options = {}};
  const Status status = WriteLogits(*config, options);
  return status.ok() ? kDone : Fail(status.error());
}

}  // namespace

void AddLogitsCommand(CLI::App* app, Action* action) {
  auto options = std::make_shared<LogitsOptions>();
  CLI::App* command =
      app->add_subcommand("logits", "Write the logits after every token of a sequence");
  command->add_option("--ids", options->ids, "Token ids with space between them")
      ->type_name("FILE")
      ->required();
  command->add_option("--out", options->out, "Raw little-endian f32 [num_tokens, vocab]")
      ->type_name("FILE")
      ->required();
  options->engine.AddTo(command);
  command->footer(
      "Always dense attention with KV in f32, whatever is configured: this is the reference.\n\n"
      "Example:\n  esa logits --model DIR --ids ids.txt --out logits.f32");
  OnCall(command, action, options, &Logits);
}

}  // namespace esa::cli

#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/json_text.h"
#include "base/status_macros.h"
#include "base/text_file.h"
#include "cli/command.h"
#include "model/tokenizer.h"

namespace esa::cli {
namespace {

struct TokenizeOptions {
  std::string model;
  std::string jsonl;
  bool special_tokens = false;
};

Result<std::string> TextOfLine(std::string_view line, const std::string& where) {
  constexpr const char* kExpected = R"(expected an object {"text": "..."})";
  try {
    const nlohmann::json object = nlohmann::json::parse(line);
    if (object.is_object() && object.contains("text") && object["text"].is_string()) {
      return object["text"].get<std::string>();
    }
    return DataError(fmt::format("{}: {}", where, kExpected));
  } catch (const nlohmann::json::exception& e) {
    return DataError(fmt::format("{}: {}: {}", where, kExpected, JsonErrorText(e.what())));
  }
}

Status TokenizeLines(const TokenizeOptions& options) {
  ESA_ASSIGN_OR_RETURN(const auto tokenizer, Tokenizer::Load(options.model));
  ESA_ASSIGN_OR_RETURN(const std::string all, ReadWholeFile(options.jsonl));
  int number = 0;
  for (std::size_t begin = 0; begin < all.size();) {
    const auto end = std::min(all.find('\n', begin), all.size());
    const auto line = std::string_view(all).substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    ESA_ASSIGN_OR_RETURN(const std::string text,
                         TextOfLine(line, fmt::format("{}:{}", options.jsonl, number)));
    const auto ids = tokenizer->Encode(
        text, {.add_special_tokens = options.special_tokens, .parse_special = true});
    fmt::print("{}\n", nlohmann::json{{"ids", ids}}.dump());
  }
  if (std::fflush(stdout) != 0) return IoError("stdout: cannot be written");
  return {};
}

int Tokenize(const TokenizeOptions& options) {
  const Status status = TokenizeLines(options);
  return status.ok() ? kDone : Fail(status.error());
}

}  // namespace

void AddTokenizeCommand(CLI::App* app, Action* action) {
  auto options = std::make_shared<TokenizeOptions>();
  CLI::App* command = app->add_subcommand("tokenize", "Turn lines of text into token ids");
  command
      ->add_option("--model", options->model,
                   "Folder with a tokenizer.json, that file, or a .gguf file")
      ->type_name("DIR")
      ->required();
  command->add_option("--jsonl", options->jsonl, "Lines {\"text\": \"...\"}")
      ->type_name("FILE")
      ->required();
  command->add_flag("--special-tokens", options->special_tokens,
                    "Add the begin and end tokens that the tokenizer asks for");
  command->footer(
      "Writes a line {\"ids\": [...]} for each line.\n\n"
      "Example:\n  esa tokenize --model DIR --jsonl texts.jsonl > ids.jsonl");
  OnCall(command, action, options, &Tokenize);
}

}  // namespace esa::cli

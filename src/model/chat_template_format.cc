#include "model/chat_template_format.h"

#include <array>
#include <cstddef>

namespace esa {
namespace {

bool Contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

template <std::size_t N>
bool ContainsAny(std::string_view text, const std::array<std::string_view, N>& parts) {
  for (const std::string_view part : parts) {
    if (Contains(text, part)) return true;
  }
  return false;
}

// Marks of templates that look like one of ours and render something else. A wrong prompt is worse
// than an error.
constexpr std::array<std::string_view, 8> kForeignToChatMl = {
    "think>", "bos_token", "trim", "strip(", "raise_exception", "strftime", "vision", "<|start_"};
constexpr std::array<std::string_view, 4> kForeignToLlama30 = {"messages[0]", "raise_exception",
                                                               "strftime", "think>"};

// The characters of a string literal of Jinja.
std::string Unescape(std::string_view literal) {
  std::string text;
  for (std::size_t at = 0; at < literal.size(); ++at) {
    if (literal[at] != '\\' || at + 1 == literal.size()) {
      text.push_back(literal[at]);
      continue;
    }
    const char c = literal[++at];
    text.push_back(c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c);
  }
  return text;
}

// The system message that the template writes out itself, inside one literal.
std::optional<std::string> FindDefaultSystem(std::string_view jinja) {
  constexpr std::string_view kHead = "<|im_start|>system";
  constexpr std::string_view kTail = "<|im_end|>";
  for (std::size_t at = jinja.find(kHead); at != std::string_view::npos;
       at = jinja.find(kHead, at + 1)) {
    std::string_view rest = jinja.substr(at + kHead.size());
    if (rest.starts_with("\\n")) {
      rest.remove_prefix(2);
    } else if (rest.starts_with('\n')) {
      rest.remove_prefix(1);
    } else {
      continue;
    }
    const bool literal_ends = rest.starts_with('\'') || rest.starts_with('"');
    const std::size_t end = rest.find(kTail);
    if (!literal_ends && end != std::string_view::npos) return Unescape(rest.substr(0, end));
  }
  return std::nullopt;
}

// The literal of `set date_string = "26 Jul 2024"`.
std::optional<std::string> FindDefaultDate(std::string_view jinja) {
  constexpr std::string_view kHead = "set date_string = \"";
  const std::size_t at = jinja.find(kHead);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view rest = jinja.substr(at + kHead.size());
  const std::size_t end = rest.find('"');
  if (end == std::string_view::npos) return std::nullopt;
  return std::string(rest.substr(0, end));
}

std::optional<ChatFormat> AsLlama3(std::string_view jinja) {
  if (!Contains(jinja, "<|end_header_id|>") || !Contains(jinja, "<|eot_id|>")) return std::nullopt;
  ChatFormat format{.family = ChatFamily::kLlama3};
  format.dated_header = Contains(jinja, "Cutting Knowledge Date: December 2023\\n") &&
                        Contains(jinja, "Today Date: ");
  format.default_date = FindDefaultDate(jinja);
  format.dates_today = Contains(jinja, "strftime_now");
  if (!format.dated_header && ContainsAny(jinja, kForeignToLlama30)) return std::nullopt;
  return format;
}

std::optional<ChatFormat> AsChatMl(std::string_view jinja) {
  if (!Contains(jinja, "<|im_end|>")) return std::nullopt;
  ChatFormat format;
  format.wraps_tool_answers = Contains(jinja, "<tool_response>");
  const bool qwen3 = Contains(jinja, "last_query_index") && Contains(jinja, "enable_thinking") &&
                     Contains(jinja, "reasoning_content");
  if (qwen3) {
    format.family = ChatFamily::kQwen3;
  } else if (ContainsAny(jinja, kForeignToChatMl)) {
    return std::nullopt;
  }
  format.default_system = FindDefaultSystem(jinja);
  return format;
}

}  // namespace

Result<ChatFormat> RecognizeChatFormat(std::string_view jinja) {
  std::optional<ChatFormat> format;
  if (Contains(jinja, "<|start_header_id|>")) {
    format = AsLlama3(jinja);
  } else if (Contains(jinja, "<|im_start|>")) {
    format = AsChatMl(jinja);
  }
  if (!format) {
    return DataError(
        "chat_template: found a template of no known family, expected that of Qwen2.5, Qwen3, "
        "Llama 3, 3.1, 3.2 or 3.3, or plain ChatML");
  }
  format->optional_generation_prompt = Contains(jinja, "add_generation_prompt");
  return *format;
}

}  // namespace esa

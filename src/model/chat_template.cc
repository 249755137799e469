#include "model/chat_template.h"

#include <algorithm>
#include <array>
#include <ctime>
#include <utility>

#include "base/status_macros.h"
#include "model/chat_template_render.h"
#include "model/gguf_model.h"
#include "model/tokenizer_config.h"

namespace esa {
namespace {

constexpr std::string_view kLlama3Bos = "<|begin_of_text|>";

// As strftime's "%d %b %Y" in the C locale, whatever the program's own is.
std::string Today() {
  constexpr std::array<const char*, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  const std::string day = std::to_string(local.tm_mday);
  return (local.tm_mday < 10 ? "0" + day : day) + " " +
         kMonths[static_cast<std::size_t>(local.tm_mon)] + " " +
         std::to_string(local.tm_year + 1900);
}

std::string HeaderDate(const ChatFormat& format, const ChatOptions& options) {
  if (options.date) return *options.date;
  if (format.dates_today || !format.default_date) return Today();
  return *format.default_date;
}

Status CheckRoles(ChatFamily family, std::span<const ChatMessage> messages) {
  constexpr std::array<std::string_view, 4> kRoles = {"system", "user", "assistant", "tool"};
  if (messages.empty()) {
    return InvalidArgument("messages: found none, expected at least one message");
  }
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const std::string& role = messages[i].role;
    const bool known = std::find(kRoles.begin(), kRoles.end(), role) != kRoles.end() ||
                       (family == ChatFamily::kLlama3 && role == "ipython");
    if (!known) {
      return InvalidArgument("messages[" + std::to_string(i) + "].role: found \"" + role +
                             "\", expected system, user, assistant or tool");
    }
  }
  return {};
}

}  // namespace

ChatTemplate::ChatTemplate(ChatFormat format, std::string bos_token)
    : format_(std::move(format)), bos_token_(std::move(bos_token)) {}

Result<ChatTemplate> ChatTemplate::FromText(std::string_view jinja, std::string bos_token) {
  ESA_ASSIGN_OR_RETURN(ChatFormat format, RecognizeChatFormat(jinja));
  return ChatTemplate(std::move(format), std::move(bos_token));
}

Result<ChatTemplate> ChatTemplate::LoadGguf(const std::filesystem::path& path) {
  ESA_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Open(path));
  ESA_ASSIGN_OR_RETURN(const GgufSpecials specials, ReadGgufSpecials(file));
  if (!specials.chat_template) return NotFound(path.string() + ": no tokenizer.chat_template");
  auto format = RecognizeChatFormat(*specials.chat_template);
  if (!format) return Error{format.error().code, path.string() + ": " + format.error().message};
  return ChatTemplate(std::move(*format), specials.bos_token.value_or(""));
}

Result<ChatTemplate> ChatTemplate::Load(const std::filesystem::path& folder) {
  if (IsGguf(folder)) return LoadGguf(folder);
  ESA_ASSIGN_OR_RETURN(TokenizerConfig config, LoadTokenizerConfig(folder));
  auto file = folder / "chat_template.jinja";
  const auto text = ReadTextFile(file);
  if (!text && text.error().code != ErrorCode::kNotFound) return text.error();
  if (text) {
    config.chat_template = *text;
  } else {
    file = folder / "tokenizer_config.json";
  }
  if (!config.chat_template) {
    return NotFound(folder.string() +
                    ": no chat template, expected a chat_template.jinja or a chat_template in "
                    "tokenizer_config.json");
  }
  auto format = RecognizeChatFormat(*config.chat_template);
  if (!format) return Error{format.error().code, file.string() + ": " + format.error().message};
  const bool llama = format->family == ChatFamily::kLlama3;
  return ChatTemplate(std::move(*format),
                      config.bos_token.value_or(std::string(llama ? kLlama3Bos : "")));
}

Result<std::string> ChatTemplate::Render(std::span<const ChatMessage> messages,
                                         const ChatOptions& options) const {
  ESA_RETURN_IF_ERROR(CheckRoles(format_.family, messages));
  ChatOptions effective = options;
  effective.add_generation_prompt |= !format_.optional_generation_prompt;
  if (format_.family != ChatFamily::kLlama3) return RenderChatMl(format_, messages, effective);
  return RenderLlama3(format_, messages, effective, bos_token_, HeaderDate(format_, effective));
}

}  // namespace esa

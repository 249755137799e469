// Recognises the family of a chat template from its Jinja text.
//
// Threading: plain data, pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "esa/result.h"

namespace esa {

enum class ChatFamily { kChatMl, kQwen3, kLlama3 };

// What tells the templates of a family apart.
struct ChatFormat {
  ChatFamily family = ChatFamily::kChatMl;

  // ChatML and Qwen3
  std::optional<std::string> default_system = {};  // for a conversation that begins with none
  bool wraps_tool_answers = false;  // role tool becomes <tool_response> in a user turn (Qwen2.5, 3)

  // Llama 3
  bool dated_header = false;                     // a system header with dates (3.1 and later)
  std::optional<std::string> default_date = {};  // the template's own date
  bool dates_today = false;                      // today's date goes before default_date

  // Every family: the head of the answer comes only when asked for (Llama 3.0: always).
  bool optional_generation_prompt = true;
};

// kDataError names the known families.
Result<ChatFormat> RecognizeChatFormat(std::string_view jinja);

}  // namespace esa

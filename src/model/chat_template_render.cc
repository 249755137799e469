#include "model/chat_template_render.h"

#include <cstddef>
#include <nlohmann/json.hpp>

#include "model/tokenizer_unicode.h"

namespace esa {
namespace {

constexpr std::string_view kThinkBegin = "<think>";
constexpr std::string_view kThinkEnd = "</think>";

std::string_view StripLeft(std::string_view text, char c) {
  const std::size_t begin = text.find_first_not_of(c);
  return begin == std::string_view::npos ? std::string_view() : text.substr(begin);
}

std::string_view StripRight(std::string_view text, char c) {
  return text.substr(0, text.find_last_not_of(c) + 1);
}

// An assistant's message in two parts.
struct Answer {
  std::string_view reasoning;
  std::string_view content;
};

// What stands before the first </think> is reasoning, what stands after the last one is content.
Answer SplitReasoning(std::string_view message) {
  const std::size_t first = message.find(kThinkEnd);
  if (first == std::string_view::npos) return {{}, message};
  std::string_view reasoning = StripRight(message.substr(0, first), '\n');
  const std::size_t begin = reasoning.rfind(kThinkBegin);
  if (begin != std::string_view::npos) reasoning.remove_prefix(begin + kThinkBegin.size());
  const std::string_view content = message.substr(message.rfind(kThinkEnd) + kThinkEnd.size());
  return {StripLeft(reasoning, '\n'), StripLeft(content, '\n')};
}

// The reasoning of turns before the last question is dropped, that after it kept: a model may call
// tools several times before it answers. Without a question, the last message counts as one.
std::size_t LastQuestion(std::span<const ChatMessage> messages) {
  for (std::size_t i = messages.size(); i-- > 0;) {
    const std::string& content = messages[i].content;
    const bool tool_answer =
        content.starts_with("<tool_response>") && content.ends_with("</tool_response>");
    if (messages[i].role == "user" && !tool_answer) return i;
  }
  return messages.size() - 1;
}

class ChatMlWriter {
 public:
  ChatMlWriter(const ChatFormat& format, std::span<const ChatMessage> messages)
      : format_(format), messages_(messages) {}

  std::string Write(const ChatOptions& options) {
    if (format_.default_system && messages_[0].role != "system") {
      Turn("system", *format_.default_system);
    }
    const std::size_t last_question = LastQuestion(messages_);
    for (std::size_t i = 0; i < messages_.size(); ++i) {
      const ChatMessage& message = messages_[i];
      if (format_.family == ChatFamily::kQwen3 && message.role == "assistant") {
        Qwen3Answer(i, i > last_question);
      } else if (format_.wraps_tool_answers && message.role == "tool") {
        ToolAnswer(i);
      } else {
        Turn(message.role, message.content);
      }
    }
    if (options.add_generation_prompt) {
      Append("<|im_start|>assistant\n");
      const bool no_thinking = format_.family == ChatFamily::kQwen3 && !options.enable_thinking;
      if (no_thinking) Append("<think>\n\n</think>\n\n");
    }
    return std::move(text_);
  }

 private:
  void Append(std::string_view part) { text_.append(part); }

  void Turn(std::string_view role, std::string_view content) {
    text_.append("<|im_start|>").append(role).append("\n").append(content);
    Append("<|im_end|>\n");
  }

  void Qwen3Answer(std::size_t index, bool after_last_question) {
    const Answer answer = SplitReasoning(messages_[index].content);
    const bool last = index + 1 == messages_.size();
    if (!after_last_question || (!last && answer.reasoning.empty())) {
      Turn("assistant", answer.content);
      return;
    }
    Append("<|im_start|>assistant\n<think>\n");
    Append(StripRight(StripLeft(answer.reasoning, '\n'), '\n'));
    Append("\n</think>\n\n");
    Append(StripLeft(answer.content, '\n'));
    Append("<|im_end|>\n");
  }

  // The answers of several tools in a row share one user turn.
  void ToolAnswer(std::size_t index) {
    const auto is_tool = [&](std::size_t i) { return messages_[i].role == "tool"; };
    if (index == 0 || !is_tool(index - 1)) Append("<|im_start|>user");
    Append("\n<tool_response>\n");
    Append(messages_[index].content);
    Append("\n</tool_response>");
    if (index + 1 == messages_.size() || !is_tool(index + 1)) Append("<|im_end|>\n");
  }

  const ChatFormat& format_;
  std::span<const ChatMessage> messages_;
  std::string text_;
};

void AppendLlama3Turn(std::string_view role, std::string_view content, std::string* out) {
  out->append("<|start_header_id|>").append(role).append("<|end_header_id|>\n\n");
  out->append(content).append("<|eot_id|>");
}

std::string ToJson(const std::string& text) {
  using Json = nlohmann::json;
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

std::string RenderChatMl(const ChatFormat& format, std::span<const ChatMessage> messages,
                         const ChatOptions& options) {
  return ChatMlWriter(format, messages).Write(options);
}

std::string RenderLlama3(const ChatFormat& format, std::span<const ChatMessage> messages,
                         const ChatOptions& options, std::string_view bos_token,
                         std::string_view date) {
  std::string text(bos_token);
  if (format.dated_header) {
    std::string header = "Cutting Knowledge Date: December 2023\nToday Date: ";
    header.append(date).append("\n\n");
    if (messages[0].role == "system") {
      header.append(StripWhiteSpace(messages[0].content));
      messages = messages.subspan(1);
    }
    AppendLlama3Turn("system", header, &text);
  }
  for (const ChatMessage& message : messages) {
    const bool tool = message.role == "tool" || message.role == "ipython";
    if (format.dated_header && tool) {
      AppendLlama3Turn("ipython", ToJson(message.content), &text);
    } else {
      AppendLlama3Turn(message.role, StripWhiteSpace(message.content), &text);
    }
  }
  if (options.add_generation_prompt) {
    text.append("<|start_header_id|>assistant<|end_header_id|>\n\n");
  }
  return text;
}

}  // namespace esa

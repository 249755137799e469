// Turns a conversation into the text that a model was trained on.
//
// Three families are written out here, no interpreter of Jinja: ChatML (plain, Qwen2, Qwen2.5),
// Qwen3 and Llama 3 (3.0 to 3.3). The family and its particulars (default system message, date)
// are read from the model's own template; for a conversation without tools, Render gives what
// transformers' apply_chat_template gives.
//
// Threading: a ChatTemplate is immutable; Render may be called from any thread.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "esa/result.h"
#include "model/chat_template_format.h"

namespace esa {

struct ChatMessage {
  std::string role;  // system, user, assistant or tool (Llama 3: also ipython)
  std::string content;
};

struct ChatOptions {
  bool add_generation_prompt = true;  // end with the head of the assistant's answer
  bool enable_thinking = true;        // Qwen3: false adds an empty think block to that head
  // Llama 3.1 and later: "Today Date" of the system header, as "26 Jul 2024". Without it the date
  // that the template holds, or today's where the template asks for that.
  std::optional<std::string> date = {};
};

class ChatTemplate {
 public:
  // Reads chat_template.jinja of `folder`, else `chat_template` of its tokenizer_config.json, which
  // also names the bos token; Llama 3 falls back to its own. Or of a GGUF file. Errors: kNotFound
  // where there is no template, kDataError where it is of no known family.
  static Result<ChatTemplate> Load(const std::filesystem::path& folder);

  // The same from a template's text.
  static Result<ChatTemplate> FromText(std::string_view jinja, std::string bos_token);

  // Contents are not escaped: encode the result with EncodeOptions::add_special_tokens false. A
  // message's special tokens speak for the template, as in transformers. kInvalidArgument for no
  // message or an unknown role, naming its index.
  Result<std::string> Render(std::span<const ChatMessage> messages,
                             const ChatOptions& options = {}) const;

  ChatFamily family() const { return format_.family; }

 private:
  ChatTemplate(ChatFormat format, std::string bos_token);
  static Result<ChatTemplate> LoadGguf(const std::filesystem::path& path);

  ChatFormat format_;
  std::string bos_token_;
};

}  // namespace esa

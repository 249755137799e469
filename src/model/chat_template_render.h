// The families of chat templates, written out. Private to the chat templates.
//
// Threading: pure functions.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "model/chat_template.h"

namespace esa {

// Both want at least one message. The head of the answer is written when
// options.add_generation_prompt.

// ChatML and Qwen3.
std::string RenderChatMl(const ChatFormat& format, std::span<const ChatMessage> messages,
                         const ChatOptions& options);

// Llama 3; `date` is that of the header, where there is one.
std::string RenderLlama3(const ChatFormat& format, std::span<const ChatMessage> messages,
                         const ChatOptions& options, std::string_view bos_token,
                         std::string_view date);

}  // namespace esa

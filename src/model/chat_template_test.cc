#include "model/chat_template.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <vector>

#include "model/tokenizer.h"
#include "model/tokenizer_test_fixture.h"

namespace esa {
namespace {

using Json = nlohmann::json;
using Messages = std::vector<ChatMessage>;
using testing::SharedData;

constexpr const char* kChatMl =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] "
    "+ '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ "
    "'<|im_start|>assistant\\n' }}{% endif %}";
constexpr const char* kLlama30 =
    "{% for message in messages %}{% set content = '<|start_header_id|>' + message['role'] + "
    "'<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 "
    "%}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}"
    "{% endif %}";
// The marks by which a template is recognised, without its logic.
constexpr const char* kQwen25Marks =
    "'<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' {{- "
    "'<|im_start|>system\\nYou are Qwen.<|im_end|>\\n' }} <tool_response> add_generation_prompt";
constexpr const char* kQwen3Marks =
    "'<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' <tool_response> "
    "last_query_index reasoning_content '</think>' add_generation_prompt enable_thinking";
constexpr const char* kLlama31Marks =
    "{%- set date_string = \"26 Jul 2024\" %} <|start_header_id|>system<|end_header_id|> "
    "\"Cutting Knowledge Date: December 2023\\n\" \"Today Date: \" <|eot_id|> raise_exception "
    "add_generation_prompt";

std::string Render(const std::string& jinja, const Messages& messages,
                   const ChatOptions& options = {}) {
  const auto chat = ChatTemplate::FromText(jinja, "<bos>");
  if (!chat.ok()) return chat.error().message;
  const auto text = chat->Render(messages, options);
  return text.ok() ? *text : text.error().message;
}

std::string ReadFile(const std::filesystem::path& file) {
  std::ostringstream text;
  text << std::ifstream(file).rdbuf();
  return text.str();
}

TEST(ChatTemplateTest, PlainChatMl) {
  const Messages messages = {{"system", " s "}, {"user", "u"}, {"assistant", "a"}, {"tool", "t"}};
  EXPECT_EQ(Render(kChatMl, messages, {.add_generation_prompt = false}),
            "<|im_start|>system\n s <|im_end|>\n<|im_start|>user\nu<|im_end|>\n"
            "<|im_start|>assistant\na<|im_end|>\n<|im_start|>tool\nt<|im_end|>\n");
  EXPECT_TRUE(Render(kChatMl, messages).ends_with("<|im_end|>\n<|im_start|>assistant\n"));
}

TEST(ChatTemplateTest, Qwen25HasASystemMessageOfItsOwn) {
  EXPECT_EQ(Render(kQwen25Marks, {{"user", "u"}}, {.add_generation_prompt = false}),
            "<|im_start|>system\nYou are Qwen.<|im_end|>\n<|im_start|>user\nu<|im_end|>\n");
  EXPECT_EQ(Render(kQwen25Marks, {{"system", ""}}, {.add_generation_prompt = false}),
            "<|im_start|>system\n<|im_end|>\n");
}

TEST(ChatTemplateTest, ToolAnswersInARowShareAUserTurn) {
  EXPECT_EQ(Render(kQwen3Marks, {{"user", "u"}, {"tool", "1"}, {"tool", "2"}}),
            "<|im_start|>user\nu<|im_end|>\n"
            "<|im_start|>user\n<tool_response>\n1\n</tool_response>"
            "\n<tool_response>\n2\n</tool_response><|im_end|>\n<|im_start|>assistant\n");
}

TEST(ChatTemplateTest, Qwen3DropsTheReasoningOfEarlierTurns) {
  EXPECT_EQ(Render(kQwen3Marks,
                   {{"user", "1"}, {"assistant", "<think>\nwhy\n</think>\n\nso"}, {"user", "2"}},
                   {.add_generation_prompt = false}),
            "<|im_start|>user\n1<|im_end|>\n<|im_start|>assistant\nso<|im_end|>\n"
            "<|im_start|>user\n2<|im_end|>\n");
  EXPECT_EQ(Render(kQwen3Marks, {{"user", "1"}, {"assistant", "<think>\n\nwhy\n</think>\n\nso"}},
                   {.add_generation_prompt = false}),
            "<|im_start|>user\n1<|im_end|>\n"
            "<|im_start|>assistant\n<think>\nwhy\n</think>\n\nso<|im_end|>\n");
}

TEST(ChatTemplateTest, Qwen3WithoutThinkingBeginsWithAnEmptyBlock) {
  EXPECT_EQ(Render(kQwen3Marks, {{"user", "1"}}, {.enable_thinking = false}),
            "<|im_start|>user\n1<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n");
  EXPECT_EQ(Render(kChatMl, {{"user", "1"}}, {.enable_thinking = false}),
            Render(kChatMl, {{"user", "1"}}));
}

TEST(ChatTemplateTest, Llama30TrimsContents) {
  EXPECT_EQ(Render(kLlama30, {{"system", "s"}, {"user", " \n\u3000u\t"}}),
            "<bos><|start_header_id|>system<|end_header_id|>\n\ns<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nu<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n");
}

TEST(ChatTemplateTest, Llama31HasADatedHeader) {
  EXPECT_EQ(
      Render(kLlama31Marks, {{"user", "u"}, {"tool", "\"x\"\n"}}, {.add_generation_prompt = false}),
      "<bos><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December "
      "2023\nToday Date: 26 Jul 2024\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>"
      "\n\nu<|eot_id|><|start_header_id|>ipython<|end_header_id|>\n\n\"\\\"x\\\"\\n\""
      "<|eot_id|>");
  EXPECT_EQ(Render(kLlama31Marks, {{"system", " s "}},
                   {.add_generation_prompt = false, .date = "01 Jan 2030"}),
            "<bos><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December "
            "2023\nToday Date: 01 Jan 2030\n\ns<|eot_id|>");
}

TEST(ChatTemplateTest, ATemplateMayAskForTodaysDate) {
  const std::string jinja = std::string(kLlama31Marks) + "strftime_now(\"%d %b %Y\")";
  EXPECT_EQ(Render(jinja, {{"user", "u"}}).find("26 Jul 2024"), std::string::npos);
}

TEST(ChatTemplateTest, UnknownTemplatesAndRolesAreErrors) {
  const std::string unknown =
      "chat_template: found a template of no known family, expected that of Qwen2.5, Qwen3, "
      "Llama 3, 3.1, 3.2 or 3.3, or plain ChatML";
  EXPECT_EQ(Render("", {{"user", "u"}}), unknown);
  EXPECT_EQ(Render("{{ '[INST]' + message }}", {{"user", "u"}}), unknown);
  EXPECT_EQ(Render(std::string(kChatMl) + "<think>", {{"user", "u"}}), unknown);
  EXPECT_EQ(Render(kChatMl, {}), "messages: found none, expected at least one message");
  EXPECT_EQ(Render(kChatMl, {{"user", "u"}, {"robot", "u"}}),
            "messages[1].role: found \"robot\", expected system, user, assistant or tool");
}

TEST(ChatTemplateTest, LoadsFromTheJinjaFileOrTheConfiguration) {
  const auto folder = std::filesystem::path(::testing::TempDir()) / "esa_chat_template_test";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  EXPECT_EQ(ChatTemplate::Load(folder).error().code, ErrorCode::kNotFound);
  const auto write = [&](const char* name, const std::string& text) {
    std::ofstream(folder / name) << text;
  };
  const Json named = Json::array(
      {{{"name", "tool_use"}, {"template", "x"}}, {{"name", "default"}, {"template", kLlama30}}});
  write("tokenizer_config.json", Json{{"chat_template", named}, {"bos_token", "<s>"}}.dump());
  const auto llama = ChatTemplate::Load(folder);
  ASSERT_TRUE(llama.ok()) << llama.error().message;
  EXPECT_TRUE(llama->Render(Messages{{"user", "u"}})->starts_with("<s><|start_header_id|>user"));
  write("chat_template.jinja", kChatMl);
  EXPECT_EQ(ChatTemplate::Load(folder)->family(), ChatFamily::kChatMl);
  write("chat_template.jinja", "unknown");
  EXPECT_TRUE(ChatTemplate::Load(folder).error().message.starts_with(
      (folder / "chat_template.jinja").string() + ": chat_template: found"));
  std::filesystem::remove(folder / "chat_template.jinja");
  write("tokenizer_config.json", R"({"chat_template": 3})");
  EXPECT_EQ(ChatTemplate::Load(folder).error().message,
            (folder / "tokenizer_config.json").string() +
                ": chat_template: found 3, expected a string, or an array with {\"name\": "
                "\"default\", \"template\": ...}");
  std::filesystem::remove_all(folder);
}

// The template that the name of a shared case speaks of.
std::string TemplateOf(const std::string& name, const std::filesystem::path& folder) {
  if (name.starts_with("Qwen3")) return ReadFile(folder / "Qwen-Qwen3-0.6B.jinja");
  return name.starts_with("Llama-3") ? kLlama30 : kChatMl;
}

TEST(ChatTemplateTest, SharedCases) {
  const auto folder = SharedData() / "chat_templates";
  ESA_SKIP_WITHOUT(folder);
  const auto tokenizer = Tokenizer::Load(SharedData() / "tokenizer/qwen2.5");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  for (const Json& row : Json::parse(ReadFile(folder / "chat_template_cases.json"))) {
    const auto chat = ChatTemplate::FromText(TemplateOf(row["name"], folder), "");
    ASSERT_TRUE(chat.ok()) << chat.error().message;
    Messages messages;
    for (const Json& message : row["messages"]) {
      messages.push_back({message["role"], message["content"]});
    }
    const auto text =
        chat->Render(messages, {.add_generation_prompt = row["add_generation_prompt"]});
    ASSERT_TRUE(text.ok()) << text.error().message;
    EXPECT_EQ(*text, row.value("expected", *text)) << row["name"];
    if (!row.contains("expected_ids")) continue;
    EXPECT_EQ((*tokenizer)->Encode(*text, {.add_special_tokens = false}),
              row["expected_ids"].get<std::vector<std::int32_t>>())
        << row["name"];
  }
}

// What transformers renders for real templates and one conversation.
TEST(ChatTemplateTest, SharedTemplates) {
  const auto folder = SharedData() / "chat_templates";
  ESA_SKIP_WITHOUT(folder);
  const Messages messages = {
      {"user", " Hi "}, {"assistant", "<think>\nx\n</think>\n\nYo"}, {"user", "?"}};
  EXPECT_EQ(Render(ReadFile(folder / "Qwen-Qwen2.5-7B-Instruct.jinja"), messages),
            "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful "
            "assistant.<|im_end|>\n<|im_start|>user\n Hi <|im_end|>\n<|im_start|>assistant\n"
            "<think>\nx\n</think>\n\nYo<|im_end|>\n<|im_start|>user\n?<|im_end|>\n"
            "<|im_start|>assistant\n");
  EXPECT_EQ(Render(ReadFile(folder / "Qwen-Qwen3-0.6B.jinja"), messages),
            "<|im_start|>user\n Hi <|im_end|>\n<|im_start|>assistant\nYo<|im_end|>\n"
            "<|im_start|>user\n?<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(Render(ReadFile(folder / "meta-llama-Llama-3.2-3B-Instruct.jinja"), {{"user", " Hi "}},
                   {.date = "26 Jul 2024"}),
            "<bos><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December "
            "2023\nToday Date: 26 Jul 2024\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>"
            "\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n");
}

}  // namespace
}  // namespace esa

#include "model/tokenizer.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "model/tokenizer_test_fixture.h"

namespace esa {
namespace {

using Ids = std::vector<std::int32_t>;
using Json = nlohmann::json;
using testing::ByteLevel;
using testing::TinyTokenizer;

std::unique_ptr<Tokenizer> Make(const Json& json) {
  auto tokenizer = Tokenizer::FromJson(json.dump(), "tiny.json");
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  return tokenizer.ok() ? std::move(*tokenizer) : nullptr;
}

std::string ErrorOfText(const std::string& json) {
  const auto tokenizer = Tokenizer::FromJson(json, "tiny.json");
  return tokenizer.ok() ? "no error" : tokenizer.error().message;
}
std::string ErrorOf(const Json& json) { return ErrorOfText(json.dump()); }

Ids BytesAsIds(const std::string& text) {
  Ids ids;
  for (const char byte : text) ids.push_back(static_cast<unsigned char>(byte));
  return ids;
}

TEST(TokenizerTest, MergesByRank) {
  const auto tokenizer = Make(TinyTokenizer());
  EXPECT_EQ(tokenizer->Encode("low low lower"), (Ids{257, 258, 258, 259}));
  EXPECT_EQ(tokenizer->Encode(""), Ids{});
  EXPECT_EQ(tokenizer->Encode("xyz"), BytesAsIds("xyz"));
  EXPECT_EQ(tokenizer->vocab_size(), 303);
}

TEST(TokenizerTest, BothLayoutsOfMergesAreTheSame) {
  Json pairs = TinyTokenizer();
  pairs["model"]["merges"] = Json::parse(R"([["l", "o"], ["lo", "w"], ["Ġ", "low"], ["e", "r"]])");
  const std::string text = "lower slow flowers lo lo";
  EXPECT_EQ(Make(pairs)->Encode(text), Make(TinyTokenizer())->Encode(text));
}

TEST(TokenizerTest, IgnoreMergesTakesAPieceThatIsAToken) {
  Json json = TinyTokenizer();
  EXPECT_EQ(Make(json)->Encode("lower"), (Ids{257, 259}));
  json["model"]["ignore_merges"] = true;
  EXPECT_EQ(Make(json)->Encode("lower"), (Ids{260}));
}

TEST(TokenizerTest, LongWordsMergeAsShortOnesDo) {
  const auto tokenizer = Make(TinyTokenizer());
  std::string word;
  Ids expected;
  for (int i = 0; i < 1000; ++i) {
    word += "lowero";
    expected.insert(expected.end(), {257, 259, 'o'});
  }
  EXPECT_EQ(tokenizer->Encode(word), expected);
  EXPECT_EQ(tokenizer->Decode(expected), word);
}

TEST(TokenizerTest, AddedTokensInTextAndBack) {
  const auto tokenizer = Make(TinyTokenizer());
  const Ids ids = tokenizer->Encode("<|start|>low<tool><|end|><|en");
  Ids expected = {300, 257, 302, 301};
  for (const std::int32_t id : BytesAsIds("<|en")) expected.push_back(id);
  EXPECT_EQ(ids, expected);
  EXPECT_EQ(tokenizer->Decode(ids, /*skip_special=*/false), "<|start|>low<tool><|end|><|en");
  EXPECT_EQ(tokenizer->Decode(ids), "low<tool><|en");
  EXPECT_TRUE(tokenizer->is_special(300));
  EXPECT_FALSE(tokenizer->is_special(302));
}

TEST(TokenizerTest, SpecialTokensCanCountAsText) {
  const auto tokenizer = Make(TinyTokenizer());
  const Ids ids = tokenizer->Encode("<|end|><tool>", {.parse_special = false});
  Ids expected = BytesAsIds("<|end|>");
  expected.push_back(302);
  EXPECT_EQ(ids, expected);
}

TEST(TokenizerTest, AddedTokensHonourTheirFlags) {
  Json json = TinyTokenizer();
  json["added_tokens"] = {
      {{"id", 300}, {"content", "<a>"}, {"lstrip", true}, {"rstrip", true}, {"special", true}},
      {{"id", 301}, {"content", "cat"}, {"single_word", true}, {"normalized", false}},
      {{"id", 302}, {"content", "<a><b>"}, {"special", true}},
      {{"id", 303}, {"content", "e\u0301x"}, {"normalized", true}}};
  const auto tokenizer = Make(json);
  EXPECT_EQ(tokenizer->Encode("x \u3000<a> \ty"), (Ids{'x', 300, 'y'}));
  EXPECT_EQ(tokenizer->Encode("<a><b><a>"), (Ids{302, 300})) << "the longest match wins";
  EXPECT_EQ(tokenizer->Encode("cat!cats"), (Ids{301, '!', 'c', 'a', 't', 's'}));
  EXPECT_EQ(tokenizer->Encode("\u00E9x"), (Ids{303})) << "normalised token in normalised text";
}

TEST(TokenizerTest, PostProcessorAddsSpecialTokens) {
  Json json = TinyTokenizer();
  const Json start = {{"SpecialToken", {{"id", "<|start|>"}, {"type_id", 0}}}};
  const Json end = {{"SpecialToken", {{"id", "<|end|>"}, {"type_id", 0}}}};
  const Json text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  json["post_processor"] = {
      {"type", "Sequence"},
      {"processors",
       {{{"type", "ByteLevel"}},
        {{"type", "TemplateProcessing"},
         {"single", {start, text, end}},
         {"special_tokens", {{"<|start|>", {{"ids", {300}}}}, {"<|end|>", {{"ids", {301}}}}}}}}}};
  const auto tokenizer = Make(json);
  EXPECT_EQ(tokenizer->Encode("low"), (Ids{300, 257, 301}));
  EXPECT_EQ(tokenizer->Encode("low", {.add_special_tokens = false}), (Ids{257}));
}

TEST(TokenizerTest, PrefixSpaceAndSplitSteps) {
  Json json = TinyTokenizer();
  json["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"use_regex", false}};
  EXPECT_EQ(Make(json)->Encode("low"), (Ids{258}));
  const auto split = [](const char* kind, const char* pattern) {
    return Json{{"type", "Split"}, {"pattern", {{kind, pattern}}}, {"behavior", "Isolated"}};
  };
  const Json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  json["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers", {split("Regex", "[^\\s]o"), split("String", "w."), bytes}}};
  EXPECT_EQ(Make(json)->Encode("low.er"), (Ids{256, 'w', '.', 259}));
}

TEST(TokenizerTest, NormalizesToNfcOnlyWhenAsked) {
  Json json = TinyTokenizer();
  EXPECT_EQ(Make(json)->Encode("e\u0301"), BytesAsIds("\u00E9"));
  json["normalizer"] = nullptr;
  EXPECT_EQ(Make(json)->Encode("e\u0301"), BytesAsIds("e\u0301"));
  json["normalizer"] = {{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}}}};
  EXPECT_EQ(Make(json)->Encode("e\u0301"), BytesAsIds("\u00E9"));
}

TEST(TokenizerTest, BytesThatAreNotUtf8AreKept) {
  Json json = TinyTokenizer();
  json["normalizer"] = nullptr;  // random bytes can happen to be a letter and its mark
  const auto tokenizer = Make(json);
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    std::string text;
    for (int i = 0; i < 60; ++i) text.push_back(static_cast<char>(random() % 256));
    const Ids ids = tokenizer->Encode("\xFF" + text);
    std::string back;
    for (const std::int32_t id : ids) back += tokenizer->TokenBytes(id);
    EXPECT_EQ(back, "\xFF" + text);
  }
  EXPECT_EQ(tokenizer->Encode("low\xFFlow"), (Ids{257, 0xFF, 257}));
  EXPECT_EQ(tokenizer->Decode(Ids{'a', 0xE4, 0xBD, 'b'}), "a\uFFFDb");
}

TEST(TokenizerTest, BytesWithoutATokenBecomeUnkOrNothing) {
  Json json = TinyTokenizer();
  json["model"]["vocab"] = {{"a", 0}, {"b", 1}, {"<unk>", 2}, {"ab", 3}};
  json["model"]["merges"] = {"a b"};
  EXPECT_EQ(Make(json)->Encode("abxya"), (Ids{3, 0}));
  json["model"]["unk_token"] = "<unk>";
  EXPECT_EQ(Make(json)->Encode("abxya"), (Ids{3, 2, 2, 0}));
  json["model"]["fuse_unk"] = true;
  EXPECT_EQ(Make(json)->Encode("abxya"), (Ids{3, 2, 0}));
}

TEST(TokenizerTest, NamesOfIds) {
  const auto tokenizer = Make(TinyTokenizer());
  EXPECT_EQ(tokenizer->TokenToId("Ġlow"), 258);
  EXPECT_EQ(tokenizer->TokenToId("<|end|>"), 301);
  EXPECT_EQ(tokenizer->TokenToId("nothing"), std::nullopt);
  EXPECT_EQ(tokenizer->IdToToken(258), "Ġlow");
  EXPECT_EQ(tokenizer->IdToToken(301), "<|end|>");
  for (const std::int32_t id : {-1, 299, 303, 1 << 30}) {
    EXPECT_EQ(tokenizer->IdToToken(id), std::nullopt);
    EXPECT_EQ(tokenizer->TokenBytes(id), "");
    EXPECT_FALSE(tokenizer->is_special(id));
  }
  EXPECT_EQ(tokenizer->Decode(Ids{-5, 257, 299, 1 << 30}), "low");
}

TEST(TokenizerTest, ErrorsNameFileFieldAndExpectation) {
  const auto error_with = [](const char* pointer, const Json& value) {
    Json changed = TinyTokenizer();
    changed[Json::json_pointer(pointer)] = value;
    return ErrorOf(changed);
  };
  EXPECT_EQ(error_with("/model/type", "Unigram"),
            "tiny.json: model.type: found \"Unigram\", expected \"BPE\" (byte-level)");
  EXPECT_EQ(error_with("/model/type", "WordPiece"),
            "tiny.json: model.type: found \"WordPiece\", expected \"BPE\" (byte-level)");
  EXPECT_EQ(error_with("/model/byte_fallback", true),
            "tiny.json: model.byte_fallback: found true, expected false (byte-level BPE, not "
            "SentencePiece's)");
  EXPECT_EQ(error_with("/pre_tokenizer", {{"type", "Metaspace"}}),
            "tiny.json: pre_tokenizer.type: found \"Metaspace\", expected \"ByteLevel\", or a "
            "\"Sequence\" of \"Split\" and \"ByteLevel\"");
  EXPECT_EQ(error_with("/pre_tokenizer", nullptr),
            "tiny.json: pre_tokenizer.type: found nothing, expected \"ByteLevel\", or a "
            "\"Sequence\" of \"Split\" and \"ByteLevel\"");
  EXPECT_EQ(error_with("/normalizer", {{"type", "Lowercase"}}),
            "tiny.json: normalizer.type: found \"Lowercase\", expected \"NFC\", a \"Sequence\" of "
            "it, or no normalizer");
  EXPECT_EQ(error_with("/post_processor", {{"type", "BertProcessing"}}),
            "tiny.json: post_processor.type: found \"BertProcessing\", expected "
            "\"TemplateProcessing\", \"ByteLevel\" or a \"Sequence\" of these");
  EXPECT_EQ(error_with("/added_tokens/0/content", ""),
            "tiny.json: added_tokens[0].content: found \"\", expected a string that is not empty");
  EXPECT_EQ(error_with("/added_tokens/1/id", -3),
            "tiny.json: added_tokens[1].id: found -3, expected an id from 0 to 16777215");
}

TEST(TokenizerTest, ErrorsInTheTables) {
  const auto error_with = [](const char* name, const Json& value) {
    Json changed = TinyTokenizer();
    changed["model"][name] = value;
    return ErrorOf(changed);
  };
  EXPECT_EQ(error_with("vocab", Json::array({Json::array({"a", 0.5})})),
            "tiny.json: model.vocab: found an array, expected an object of token: id");
  EXPECT_EQ(error_with("vocab", {{"a", "x"}}),
            "tiny.json: model.vocab[\"a\"]: found \"x\", expected an id");
  EXPECT_EQ(error_with("vocab", {{"a", 5000000000}}),
            "tiny.json: model.vocab[\"a\"]: found 2147483647, expected an id from 0 to 16777215");
  EXPECT_EQ(error_with("vocab", {{"a", 1}, {"b", 1}}),
            "tiny.json: model.vocab[\"b\"]: id 1 is taken by \"a\", expected one token an id");
  EXPECT_EQ(error_with("merges", "none"),
            "tiny.json: model.merges: found \"none\", expected an array of merges");
  EXPECT_EQ(error_with("merges", {"l o", "q"}),
            "tiny.json: model.merges[1]: found \"q\", expected \"left right\" or [\"left\", "
            "\"right\"]");
  EXPECT_EQ(error_with("merges", Json::array({Json::array({"a", "b", "c"})})),
            "tiny.json: model.merges[0]: found an array of 3 strings, expected \"left right\" or "
            "[\"left\", \"right\"]");
  EXPECT_EQ(error_with("merges", {"l o", "o w"}),
            "tiny.json: model.merges[1]: \"ow\" is not in model.vocab");
}

TEST(TokenizerTest, PatternsThatPcre2ReadsOtherwiseAreRefused) {
  for (const char* pattern : {"[a&&b]", "\\h+", "[[:alpha:]]", "(", "\\"}) {
    Json json = TinyTokenizer();
    json["pre_tokenizer"] = {
        {"type", "Sequence"},
        {"pretokenizers",
         {{{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}},
          {{"type", "ByteLevel"}, {"use_regex", false}}}}};
    EXPECT_TRUE(ErrorOf(json).starts_with("tiny.json: pre_tokenizer.pretokenizers[0].pattern"))
        << pattern << ": " << ErrorOf(json);
  }
}

TEST(TokenizerTest, EveryTruncationIsAnError) {
  Json json = TinyTokenizer();
  json["model"]["vocab"] = {{"a", 0}, {"b", 1}, {"ab", 2}};
  json["model"]["merges"] = Json::array({Json::array({"a", "b"})});
  const std::string whole = json.dump();
  EXPECT_TRUE(Tokenizer::FromJson(whole, "tiny.json").ok());
  for (std::size_t bytes = 0; bytes < whole.size(); ++bytes) {
    EXPECT_TRUE(ErrorOfText(whole.substr(0, bytes)).starts_with("tiny.json: malformed JSON"))
        << bytes;
  }
  EXPECT_EQ(ErrorOfText("[1]"), "tiny.json: the document: found an array, expected an object");
  EXPECT_TRUE(ErrorOfText("{\"model\": \"\xFF\"}").starts_with("tiny.json: malformed JSON"));
}

TEST(TokenizerTest, EveryDamagedByteIsAnErrorOrATokenizer) {
  Json json = TinyTokenizer();
  json["model"]["vocab"] = {{"a", 0}, {"b", 1}, {"ab", 2}};
  json["model"]["merges"] = Json::array({Json::array({"a", "b"})});
  const std::string whole = json.dump();
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (const char damage : {'\0', '9', '"', '[', '}', 'x'}) {
      std::string damaged = whole;
      damaged[at] = damage;
      const auto tokenizer = Tokenizer::FromJson(damaged, "tiny.json");
      if (tokenizer.ok()) (*tokenizer)->Encode("abba<|end|>");
    }
  }
}

TEST(TokenizerTest, LoadsAFolderOrAFile) {
  const auto folder = std::filesystem::path(::testing::TempDir()) / "esa_tokenizer_test";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  EXPECT_EQ(Tokenizer::Load(folder).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(Tokenizer::Load(folder / "no.json").error().code, ErrorCode::kNotFound);
  std::ofstream(folder / "tokenizer.json") << TinyTokenizer().dump();
  EXPECT_EQ((*Tokenizer::Load(folder))->eos_id(), std::nullopt);
  const auto write_config = [&](const std::string& text) {
    std::ofstream(folder / "tokenizer_config.json") << text;
  };
  write_config(R"({"bos_token": {"content": "<|start|>"}, "eos_token": "<|end|>"})");
  const auto tokenizer = Tokenizer::Load(folder / "tokenizer.json");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  EXPECT_EQ((*tokenizer)->bos_id(), 300);
  EXPECT_EQ((*tokenizer)->eos_id(), 301);
  write_config(R"({"eos_token": "</s>"})");
  EXPECT_EQ(Tokenizer::Load(folder).error().message,
            (folder / "tokenizer_config.json").string() +
                ": eos_token: found \"</s>\", expected a token of tokenizer.json");
  write_config("{\"eos_token\"");
  EXPECT_EQ(Tokenizer::Load(folder).error().code, ErrorCode::kDataError);
  std::filesystem::remove_all(folder);
}

TEST(StreamDecoderTest, NeverSplitsACharacter) {
  const auto tokenizer = Make(TinyTokenizer());
  StreamDecoder decoder(*tokenizer);
  EXPECT_EQ(decoder.Push(257), "low");
  EXPECT_EQ(decoder.Push(0xE4), "");
  EXPECT_EQ(decoder.Push(0xBD), "");
  EXPECT_EQ(decoder.Push(300), "") << "a special token is skipped inside a character too";
  EXPECT_EQ(decoder.Push(0xA0), "\u4F60");
  EXPECT_EQ(decoder.Push(0xF0), "");
  EXPECT_EQ(decoder.Push('x'), "\uFFFDx");
  EXPECT_EQ(decoder.Push(0xE4), "");
  EXPECT_EQ(decoder.Flush(), "\uFFFD");
  EXPECT_EQ(decoder.Flush(), "");
}

TEST(StreamDecoderTest, MakesUpWhatDecodeGives) {
  const auto tokenizer = Make(TinyTokenizer());
  std::mt19937 random(11);
  for (int round = 0; round < 500; ++round) {
    std::string bytes;
    for (int i = 0; i < 40; ++i)
      bytes.push_back(static_cast<char>("\xE4\xBD\xA0\xF0\x9F\x98\x80 a\xFF"[random() % 10]));
    const Ids ids = BytesAsIds(bytes);
    StreamDecoder decoder(*tokenizer);
    std::string text;
    for (const std::int32_t id : ids) text += decoder.Push(id);
    text += decoder.Flush();
    EXPECT_EQ(text, tokenizer->Decode(ids));
    EXPECT_NO_THROW(Json(text).dump()) << "always UTF-8";
  }
}

}  // namespace
}  // namespace esa

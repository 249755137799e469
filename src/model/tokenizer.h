// Text to token ids and back, as a model's tokenizer.json says (Hugging Face's format). Byte-level
// BPE only, the kind of Qwen and Llama 3: any bytes can be encoded and come back.
//
// Text is bytes and should be UTF-8. Where it is not, nothing is refused or lost: such bytes are
// split off as if each were a control character and encoded through the byte-level alphabet.
//
// Threading: a Tokenizer is immutable; every const member may be called from any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "esa/result.h"

namespace esa {

struct EncodeOptions {
  // Put the tokens that the post-processor asks for around the text (Llama 3: <|begin_of_text|>).
  // False for the output of a chat template, which spells them out.
  bool add_special_tokens = true;
  // Special tokens written out in the text become their ids. False for text that must not speak
  // for the template: "<|im_end|>" is then ordinary characters.
  bool parse_special = true;
};

class Tokenizer {
 public:
  // Opens a folder with a tokenizer.json, or such a file itself. bos and eos come from the
  // tokenizer_config.json beside it, which may be absent. Errors are one line: kNotFound, kIoError,
  // or kDataError with file, field, what was found and what is expected.
  static Result<std::unique_ptr<Tokenizer>> Load(const std::filesystem::path& path);

  // The same from a text; `file` names it in errors. No bos, no eos.
  static Result<std::unique_ptr<Tokenizer>> FromJson(std::string_view json,
                                                     const std::string& file);

  ~Tokenizer();
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  // The ids of `text`. Linear in its length but for a logarithm in that of its longest word.
  std::vector<std::int32_t> Encode(std::string_view text, const EncodeOptions& options = {}) const;

  // The text of `ids`, always UTF-8: bytes that form no character become U+FFFD. Ids outside the
  // vocabulary stand for nothing; special tokens too when `skip_special`.
  std::string Decode(std::span<const std::int32_t> ids, bool skip_special = true) const;

  // The bytes that one id stands for, which need not be whole characters. Empty for an id outside
  // the vocabulary. Lives as long as the tokenizer.
  std::string_view TokenBytes(std::int32_t id) const;

  // One more than the highest id; a model's logits may have more rows.
  std::int32_t vocab_size() const;

  // By the spelling of tokenizer.json: "<|im_end|>", "Ġthe".
  std::optional<std::int32_t> TokenToId(std::string_view token) const;
  std::optional<std::string> IdToToken(std::int32_t id) const;

  bool is_special(std::int32_t id) const;
  std::optional<std::int32_t> bos_id() const;
  std::optional<std::int32_t> eos_id() const;

 private:
  struct Parts;
  explicit Tokenizer(std::unique_ptr<Parts> parts);
  static Result<std::unique_ptr<Tokenizer>> LoadGguf(const std::filesystem::path& path);
  std::unique_ptr<Parts> parts_;
};

// Turns ids that arrive one by one into text, holding back the bytes of an unfinished character.
// What Push and Flush return makes up exactly what Decode gives for all the ids at once.
//
// Threading: one thread at a time. The tokenizer must outlive it.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = true)
      : tokenizer_(&tokenizer), skip_special_(skip_special) {}

  // The text that is complete with `id`; may be empty.
  std::string Push(std::int32_t id);

  // The end: U+FFFD for a character that stayed unfinished. The decoder is as new afterwards.
  std::string Flush();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_;
  std::string pending_;  // fewer than 4 bytes
};

}  // namespace esa

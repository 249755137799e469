// What a GGUF file says of a model, in the terms of a Hugging Face folder: configuration, names of
// tensors, tokenizer, chat template.
//
// Threading: pure functions.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "esa/result.h"
#include "model/gguf.h"
#include "model/model.h"

namespace esa {

// Errors name the file, the key, what was found and what was expected.
Result<ModelConfig> ReadGgufConfig(const GgufFile& file);

// "blk.3.attn_q.weight" -> "model.layers.3.self_attn.q_proj.weight"; nothing for what is no tensor
// of a model's layers or ends.
std::optional<std::string> HuggingFaceName(std::string_view gguf_name);

// Rows of llama's attn_q and attn_k are paired differently in GGUF: value i and i + head_dim / 2 of
// a head lie side by side. The row of the file that is row `row` of the Hugging Face order.
std::int64_t GgufHeadRow(std::int64_t row, std::int64_t head_dim);

// The text of a tokenizer.json that says the same. kNotFound: the file has no vocabulary, or one
// that is not byte-level BPE.
Result<std::string> GgufTokenizerJson(const GgufFile& file);

struct GgufSpecials {
  std::optional<std::string> bos_token;
  std::optional<std::string> eos_token;
  std::optional<std::string> chat_template;
};
Result<GgufSpecials> ReadGgufSpecials(const GgufFile& file);

}  // namespace esa

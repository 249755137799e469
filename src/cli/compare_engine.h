// LLMs as a comparison opens them.
#pragma once

#include "esa/config.h"
#include "esa/result.h"
#include "eval/compare.h"
#include "model/tokenizer.h"

namespace esa::cli {

// Of the model of `config`, in its blocks. `tokenizer` must outlive what is returned.
Result<CompareEngine> CompareEngineOf(EngineConfig config, const Tokenizer* tokenizer);

}  // namespace esa::cli

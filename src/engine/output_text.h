// The text of a generation as it grows: whole characters only, cut before the first stop string.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "model/tokenizer.h"

namespace esa {

class OutputText {
 public:
  // Without a tokenizer there is no text.
  OutputText(const Tokenizer* tokenizer, std::vector<std::string> stop) : stop_(std::move(stop)) {
    if (tokenizer != nullptr) decoder_.emplace(*tokenizer);
  }

  // Takes in a token; returns what may be shown now: what could still turn out to be the begin of
  // a stop string is held back.
  std::string Push(std::int32_t id) {
    return decoder_ ? Show(decoder_->Push(id), false) : std::string();
  }
  std::string Flush() {
    return decoder_ && !stopped_ ? Show(decoder_->Flush(), true) : std::string();
  }

  bool stopped() const { return stopped_; }
  const std::string& text() const { return text_; }  // what has been shown

 private:
  std::string Show(const std::string& piece, bool all);

  std::optional<StreamDecoder> decoder_;
  std::vector<std::string> stop_;
  std::string held_;
  std::string text_;
  bool stopped_ = false;
};

}  // namespace esa

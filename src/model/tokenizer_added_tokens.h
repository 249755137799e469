// Finds the added tokens ("<|im_start|>") that stand literally in a text.
//
// Threading: immutable after construction.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace esa {

// One entry of `added_tokens` in tokenizer.json.
struct AddedToken {
  std::int32_t id = 0;
  std::string content;  // not empty
  bool special = false;
  bool normalized = false;   // looked for in the normalised text, not in the raw one
  bool single_word = false;  // not beside a word character
  bool lstrip = false;       // takes the white space on its left
  bool rstrip = false;       // takes the white space on its right
};

class AddedTokenMatcher {
 public:
  struct Match {
    const AddedToken* token = nullptr;  // null: none until the end of the text
    std::size_t begin = 0;
    std::size_t end = 0;
  };

  explicit AddedTokenMatcher(std::vector<AddedToken> tokens);

  AddedTokenMatcher(AddedTokenMatcher&&) = default;
  AddedTokenMatcher& operator=(AddedTokenMatcher&&) = default;

  // The first token at or after `from`, of those that begin there the longest. What a token's
  // lstrip and rstrip take belongs to the match, but never what stands before `from`. Special
  // tokens count as text unless `match_special`.
  Match FindNext(std::string_view text, std::size_t from, bool match_special) const;

  bool empty() const { return tokens_.empty(); }

 private:
  const AddedToken* LongestAt(std::string_view text) const;

  std::vector<AddedToken> tokens_;  // by content
  std::string first_bytes_;         // every byte that a token begins with, once
};

}  // namespace esa

#include "model/tokenizer_added_tokens.h"

#include <algorithm>
#include <utility>

#include "model/tokenizer_unicode.h"

namespace esa {
namespace {

std::size_t StartOfLastCharacter(std::string_view text) {
  std::size_t last = text.size() - 1;
  while (last > 0 && (static_cast<unsigned char>(text[last]) & 0xC0) == 0x80) --last;
  return last;
}

bool StartsWithWord(std::string_view text) {
  return !text.empty() && IsWordCharacter(ReadUtf8(text).codepoint);
}

bool EndsWithWord(std::string_view text) {
  return !text.empty() && StartsWithWord(text.substr(StartOfLastCharacter(text)));
}

std::size_t SpacesAtStart(std::string_view text) {
  std::size_t bytes = 0;
  while (bytes < text.size()) {
    const Utf8Step step = ReadUtf8(text.substr(bytes));
    if (!IsWhiteSpace(step.codepoint)) break;
    bytes += step.bytes;
  }
  return bytes;
}

std::size_t SpacesAtEnd(std::string_view text) {
  std::size_t end = text.size();
  while (end > 0) {
    const std::size_t last = StartOfLastCharacter(text.substr(0, end));
    if (!IsWhiteSpace(ReadUtf8(text.substr(last, end - last)).codepoint)) break;
    end = last;
  }
  return text.size() - end;
}

AddedTokenMatcher::Match Extent(std::string_view text, std::size_t from, std::size_t at,
                                const AddedToken& token) {
  std::size_t begin = at;
  std::size_t end = at + token.content.size();
  if (token.lstrip) begin -= SpacesAtEnd(text.substr(from, at - from));
  if (token.rstrip) end += SpacesAtStart(text.substr(end));
  return {&token, begin, end};
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::sort(tokens_.begin(), tokens_.end(),
            [](const AddedToken& a, const AddedToken& b) { return a.content < b.content; });
  for (const auto& token : tokens_) {
    const char first = token.content.front();
    if (first_bytes_.empty() || first_bytes_.back() != first) first_bytes_.push_back(first);
  }
}

const AddedToken* AddedTokenMatcher::LongestAt(std::string_view text) const {
  const AddedToken* longest = nullptr;
  auto begin = tokens_.begin();
  auto end = tokens_.end();
  // Narrows to the tokens that begin with text[0, depth]; of those the shortest comes first.
  for (std::size_t depth = 0; depth < text.size() && begin != end; ++depth) {
    const auto byte = static_cast<unsigned char>(text[depth]);
    const auto byte_of = [&](const AddedToken& token) {
      return token.content.size() <= depth ? -1 : static_cast<unsigned char>(token.content[depth]);
    };
    begin = std::partition_point(begin, end, [&](const auto& t) { return byte_of(t) < byte; });
    end = std::partition_point(begin, end, [&](const auto& t) { return byte_of(t) == byte; });
    if (begin != end && begin->content.size() == depth + 1) longest = &*begin;
  }
  return longest;
}

AddedTokenMatcher::Match AddedTokenMatcher::FindNext(std::string_view text, std::size_t from,
                                                     bool match_special) const {
  std::size_t at = text.find_first_of(first_bytes_, from);
  while (at != std::string_view::npos) {
    const AddedToken* token = LongestAt(text.substr(at));
    std::size_t next = at + 1;
    if (token != nullptr) {
      // A match that does not count still hides what overlaps it, as in the tokenizers library.
      next = at + token->content.size();
      const bool beside_word =
          EndsWithWord(text.substr(0, at)) || StartsWithWord(text.substr(next));
      const bool counts =
          (match_special || !token->special) && !(token->single_word && beside_word);
      if (counts) return Extent(text, from, at, *token);
    }
    at = text.find_first_of(first_bytes_, next);
  }
  return {nullptr, text.size(), text.size()};
}

}  // namespace esa

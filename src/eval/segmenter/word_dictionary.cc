#include "eval/segmenter/word_dictionary.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "base/status_macros.h"
#include "base/text_file.h"

namespace esa {
namespace {

struct Entry {
  std::string_view word;
  std::int64_t frequency = 0;
};

bool ParseEntry(std::string_view line, Entry* entry) {
  const auto space = line.find(' ');
  if (space == 0 || space == std::string_view::npos) return false;
  entry->word = line.substr(0, space);
  const std::string_view rest = line.substr(space + 1);
  const auto number = rest.substr(0, rest.find(' '));
  const auto [end, error] =
      std::from_chars(number.data(), number.data() + number.size(), entry->frequency);
  return error == std::errc() && end == number.data() + number.size() && entry->frequency >= 0;
}

bool IsCharacterBoundary(std::string_view text, std::size_t at) {
  return at == text.size() || (static_cast<unsigned char>(text[at]) & 0xC0) != 0x80;
}

}  // namespace

Result<WordDictionary> WordDictionary::Load(const std::string& path) {
  ESA_ASSIGN_OR_RETURN(std::string text, ReadWholeFile(path));
  WordDictionary dictionary;
  dictionary.text_ = std::make_unique<std::string>(std::move(text));
  dictionary.frequency_.reserve(600'000);
  const std::string_view all = *dictionary.text_;
  std::int64_t total = 0;
  int line_number = 0;
  for (std::size_t begin = 0; begin < all.size();) {
    const auto end = std::min(all.find('\n', begin), all.size());
    std::string_view line = all.substr(begin, end - begin);
    if (line.ends_with('\r')) line.remove_suffix(1);
    begin = end + 1;
    ++line_number;
    Entry entry;
    if (!ParseEntry(line, &entry)) {
      return DataError(
          fmt::format("{}:{}: expected a word, its frequency and a tag", path, line_number));
    }
    dictionary.frequency_[entry.word] = entry.frequency;
    total += entry.frequency;
    for (std::size_t length = 1; length < entry.word.size(); ++length) {
      if (!IsCharacterBoundary(entry.word, length)) continue;
      dictionary.frequency_.try_emplace(entry.word.substr(0, length), 0);
    }
  }
  if (total == 0) return DataError(path + ": no words in it");
  dictionary.log_total_ = std::log(static_cast<double>(total));
  return dictionary;
}

std::int64_t WordDictionary::Frequency(std::string_view word) const {
  const auto found = frequency_.find(word);
  return found == frequency_.end() ? -1 : found->second;
}

}  // namespace esa

#include "eval/metrics/rouge.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

#include "eval/chinese_segmenter.h"
#include "eval/unicode_text.h"

namespace esa {
namespace {

using WordId = std::uint32_t;
using Sentence = std::vector<WordId>;

// Numbers the different words of both texts.
class Vocabulary {
 public:
  std::vector<Sentence> Sentences(std::u32string_view text) {
    std::vector<Sentence> sentences;
    for (std::size_t begin = 0; begin < text.size();) {
      const std::size_t end = std::min(text.find(U'.', begin), text.size());
      if (end > begin) sentences.push_back(Words(text.substr(begin, end - begin)));
      begin = end + 1;
    }
    return sentences;
  }
  std::size_t size() const { return ids_.size(); }

 private:
  Sentence Words(std::u32string_view text) {
    std::vector<std::u32string> words = SplitWords(text);
    // A sentence of nothing but space has one word in that package, the empty one.
    if (words.empty()) words.emplace_back();
    Sentence sentence;
    for (std::u32string& word : words) {
      const auto next = static_cast<WordId>(ids_.size());
      sentence.push_back(ids_.try_emplace(std::move(word), next).first->second);
    }
    return sentence;
  }

  std::unordered_map<std::u32string, WordId> ids_;
};

std::size_t CountDifferent(const std::vector<Sentence>& sentences, std::size_t num_words) {
  std::vector<bool> seen(num_words);
  for (const Sentence& sentence : sentences) {
    for (const WordId word : sentence) seen[word] = true;
  }
  return static_cast<std::size_t>(std::count(seen.begin(), seen.end(), true));
}

// Marks the words of a longest common subsequence. Which of several: on the way back from both ends
// equal words are always taken, and of two ways of the same length the one that drops a word of the
// prediction.
void MarkCommon(const Sentence& answer, const Sentence& prediction, std::vector<bool>* common) {
  const std::size_t width = prediction.size();
  std::vector<bool> drop_answer(answer.size() * width);
  std::vector<std::uint32_t> above(width + 1);
  std::vector<std::uint32_t> row(width + 1);
  for (std::size_t i = 0; i < answer.size(); ++i) {
    for (std::size_t j = 0; j < width; ++j) {
      if (above[j + 1] > row[j]) drop_answer[i * width + j] = true;
      row[j + 1] = answer[i] == prediction[j] ? above[j] + 1 : std::max(above[j + 1], row[j]);
    }
    std::swap(above, row);
  }
  std::size_t i = answer.size();
  std::size_t j = width;
  while (i > 0 && j > 0) {
    if (answer[i - 1] == prediction[j - 1]) {
      (*common)[answer[i - 1]] = true;
      --i;
      --j;
    } else if (drop_answer[(i - 1) * width + j - 1]) {
      --i;
    } else {
      --j;
    }
  }
}

std::u32string Spaced(const std::vector<std::u32string>& words) {
  std::u32string text;
  for (const std::u32string& word : words) {
    if (!text.empty()) text += U' ';
    text += word;
  }
  return text;
}

}  // namespace

double RougeL(std::u32string_view prediction, std::u32string_view answer) {
  Vocabulary vocabulary;
  const std::vector<Sentence> predicted = vocabulary.Sentences(prediction);
  const std::vector<Sentence> expected = vocabulary.Sentences(answer);
  if (predicted.empty() || expected.empty()) return 0.0;
  std::vector<bool> common(vocabulary.size());
  for (const Sentence& of_answer : expected) {
    for (const Sentence& of_prediction : predicted) MarkCommon(of_answer, of_prediction, &common);
  }
  const auto same = static_cast<double>(std::count(common.begin(), common.end(), true));
  const auto part_of = [&](const std::vector<Sentence>& sentences) {
    return same / static_cast<double>(CountDifferent(sentences, vocabulary.size()));
  };
  const double recall = part_of(expected);
  const double precision = part_of(predicted);
  return 2.0 * ((precision * recall) / (precision + recall + 1e-8));
}

double Rouge(std::string_view prediction, std::string_view answer) {
  return RougeL(DecodeUtf8(prediction), DecodeUtf8(answer));
}

double RougeChinese(std::string_view prediction, std::string_view answer,
                    const ChineseSegmenter& segmenter) {
  if (prediction.empty() || answer.empty()) return 0.0;
  return RougeL(Spaced(segmenter.Cut(prediction)), Spaced(segmenter.Cut(answer)));
}

}  // namespace esa

#include "eval/ruler/qa_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/json_text.h"
#include "base/status_macros.h"
#include "base/text_file.h"

namespace esa::ruler {
namespace {

class QaReader {
 public:
  explicit QaReader(std::string path) { data_.path = std::move(path); }

  void ReadSquad(const nlohmann::json& articles) {
    data_.format = QaData::Format::kSquad;
    for (const nlohmann::json& article : articles) {
      data_.articles.emplace_back();
      for (const nlohmann::json& paragraph : article.at("paragraphs")) {
        const std::size_t document = Document(paragraph.at("context").get<std::string>());
        data_.articles.back().push_back(document);
        for (const nlohmann::json& qa : paragraph.at("qas")) ReadSquadQuestion(qa, document);
      }
    }
  }

  void ReadHotpotQa(const nlohmann::json& questions) {
    data_.format = QaData::Format::kHotpotQa;
    data_.articles.emplace_back();
    for (const nlohmann::json& item : questions) {
      QaQuestion question{.text = item.at("question").get<std::string>(),
                          .answers = {item.at("answer").get<std::string>()},
                          .documents = {}};
      for (const nlohmann::json& passage : item.at("context")) {
        std::string text = passage.at(0).get<std::string>() + "\n";
        for (const nlohmann::json& sentence : passage.at(1)) text += sentence.get<std::string>();
        const std::size_t document = Document(text);
        const auto& own = question.documents;
        if (std::find(own.begin(), own.end(), document) == own.end()) {
          question.documents.push_back(document);
        }
      }
      data_.questions.push_back(std::move(question));
    }
  }

  QaData Take() { return std::move(data_); }

 private:
  void ReadSquadQuestion(const nlohmann::json& qa, std::size_t document) {
    if (qa.value("is_impossible", false)) return;
    QaQuestion question{.text = qa.at("question").get<std::string>(),
                        .answers = {},
                        .documents = {document},
                        .article = data_.articles.size() - 1};
    for (const nlohmann::json& answer : qa.at("answers")) {
      question.answers.push_back(answer.at("text").get<std::string>());
    }
    if (!question.answers.empty()) data_.questions.push_back(std::move(question));
  }

  std::size_t Document(std::string text) {
    const auto [known, is_new] = numbers_.emplace(std::move(text), data_.documents.size());
    if (is_new) data_.documents.push_back(known->first);
    return known->second;
  }

  QaData data_;
  std::map<std::string, std::size_t> numbers_;
};

}  // namespace

Result<QaData> ReadQaData(const std::string& path) {
  ESA_ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(path));
  constexpr std::string_view kExpected =
      "expected SQuAD's {\"data\": [...]} or HotpotQA's [{\"question\", \"answer\", \"context\"}]";
  QaReader reader(path);
  try {
    const nlohmann::json root = nlohmann::json::parse(text);
    if (root.is_array()) {
      reader.ReadHotpotQa(root);
    } else {
      reader.ReadSquad(root.at("data"));
    }
  } catch (const nlohmann::json::exception& e) {
    return DataError(fmt::format("{}: {}: {}", path, kExpected, JsonErrorText(e.what())));
  }
  QaData data = reader.Take();
  if (data.questions.empty()) return DataError(path + ": no question with an answer in it");
  return data;
}

}  // namespace esa::ruler

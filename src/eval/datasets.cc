#include "eval/datasets.h"

#include <fmt/format.h>

#include <vector>

namespace esa {
namespace {

constexpr std::string_view kQuestion = "{context}\n\nQuestion: {input}\nAnswer:";
constexpr std::string_view kSentence = "{context}\n\nQuestion: {input}\nAnswer in a sentence:";
constexpr std::string_view kQuestionZh = "{context}\n\n问题：{input}\n回答：";
constexpr std::string_view kSummary = "{context}\n\nSummary:";
constexpr std::string_view kSummaryZh = "{context}\n\n总结：";
constexpr std::string_view kExamples = "{context}\n{input}";
constexpr std::string_view kCode = "{context}{input}";
// Records of RULER's tasks hold RULER's template in two parts: up to the text, and from the
// question to the beginning of the answer.
constexpr std::string_view kRuler = "{context}\n{input}";
constexpr std::string_view kRulerQa = "{context}\n\n{input}";

// LongBench's come first.
constexpr Dataset kDatasets[] = {
    {"narrativeqa", "qa_f1", kQuestion, 96},
    {"qasper", "qa_f1", kQuestion, 96},
    {"multifieldqa_en", "qa_f1", kQuestion, 64},
    {"multifieldqa_zh", "qa_f1_zh", kQuestionZh, 64},
    {"hotpotqa", "qa_f1", kQuestion, 32},
    {"2wikimqa", "qa_f1", kQuestion, 32},
    {"musique", "qa_f1", kQuestion, 32},
    {"dureader", "rouge_zh", kQuestionZh, 96},
    {"gov_report", "rouge", kSummary, 384},
    {"qmsum", "rouge", kQuestion, 384},
    {"multi_news", "rouge", kSummary, 384},
    {"vcsum", "rouge_zh", kSummaryZh, 384},
    {"trec", "classification", kExamples, 48, true, true},
    {"triviaqa", "qa_f1", kExamples, 32, true, true},
    {"samsum", "rouge", kExamples, 96, true, true, true},
    {"lsht", "classification", kExamples, 48, true, true},
    {"passage_count", "count", kQuestion, 16},
    {"passage_retrieval_en", "retrieval", kQuestion, 16},
    {"passage_retrieval_zh", "retrieval_zh", kQuestionZh, 16},
    {"lcc", "code_similarity", kCode, 48, false, true},
    {"repobench-p", "code_similarity", kCode, 48, false, true},
    {"needle", "exact", kQuestion, 24, false, true, true},
    {"multikey", "exact", kQuestion, 24, false, true, true},
    {"kv_recall", "exact", kQuestion, 24, false, true, true},
    {"needle_sentence", "exact", kSentence, 24, false, true, true},
    {"multikey_sentence", "exact", kSentence, 24, false, true, true},
    {"kv_recall_sentence", "exact", kSentence, 24, false, true, true},
    {"niah_single_1", "string_match_all", kRuler, 128, false, true},
    {"niah_single_2", "string_match_all", kRuler, 128, false, true},
    {"niah_single_3", "string_match_all", kRuler, 128, false, true},
    {"niah_multikey_1", "string_match_all", kRuler, 128, false, true},
    {"niah_multikey_2", "string_match_all", kRuler, 128, false, true},
    {"niah_multikey_3", "string_match_all", kRuler, 128, false, true},
    {"niah_multivalue", "string_match_all", kRuler, 128, false, true},
    {"niah_multiquery", "string_match_all", kRuler, 128, false, true},
    {"vt", "string_match_all", kRuler, 30, false, true},
    {"cwe", "string_match_all", kRuler, 120, false, true},
    {"fwe", "string_match_all", kRuler, 50, false, true},
    {"qa_1", "string_match_part", kRulerQa, 32, false, true},
    {"qa_2", "string_match_part", kRulerQa, 32, false, true},
};

}  // namespace

std::span<const Dataset> Datasets() { return kDatasets; }

std::span<const Dataset> LongBenchDatasets() { return Datasets().first(21); }

Result<Dataset> FindDataset(std::string_view name) {
  std::string known;
  for (const Dataset& dataset : kDatasets) {
    if (dataset.name == name) return dataset;
    known += known.empty() ? "" : ", ";
    known += dataset.name;
  }
  return InvalidArgument(fmt::format("dataset \"{}\" is not known; known are: {}", name, known));
}

}  // namespace esa

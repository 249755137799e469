#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "base/json_text.h"
#include "base/status_macros.h"
#include "base/text_file.h"
#include "eval/compare.h"
#include "eval/metrics.h"

namespace esa {
namespace {

template <class T>
std::optional<T> NumberOf(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number()) return std::nullopt;
  return found->get<T>();
}

// The lines of a file that ReadRecords has read.
Result<std::vector<CompareFile::Place>> ReadPlaces(const std::string& path, std::size_t count) {
  ESA_ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(path));
  std::vector<CompareFile::Place> places;
  for (std::size_t begin = 0; begin < text.size() && places.size() < count;) {
    const auto end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = std::string_view(text).substr(begin, end - begin);
    begin = end + 1;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const auto object = nlohmann::json::parse(line, nullptr, false);
    if (!object.is_object()) return DataError(path + ": changed while it was read");
    places.push_back({.depth = NumberOf<double>(object, "depth"),
                      .tokens = NumberOf<std::int64_t>(object, "tokens")});
  }
  places.resize(count);
  return places;
}

Result<Dataset> DatasetOf(const std::string& path, const std::vector<Record>& records) {
  const std::string& name = records.front().dataset;
  for (std::size_t i = 0; i < records.size(); ++i) {
    if (records[i].dataset.empty()) {
      return DataError(fmt::format(
          "{}: record {}: field \"dataset\": found nothing, expected the data set's name", path,
          i + 1));
    }
    if (records[i].dataset != name) {
      return DataError(
          fmt::format("{}: record {} is of data set \"{}\", those before of \"{}\": expected one "
                      "data set in a file",
                      path, i + 1, records[i].dataset, name));
    }
  }
  auto dataset = FindDataset(name);
  if (!dataset) return DataError(path + ": " + dataset.error().message);
  const auto scorer = Scorer::Create(*dataset);
  if (!scorer) return DataError(path + ": " + scorer.error().message);
  return *dataset;
}

Result<CompareFile> ReadFile(const std::string& path, std::size_t limit) {
  CompareFile file;
  file.path = path;
  file.name = std::filesystem::path(path).stem().string();
  ESA_ASSIGN_OR_RETURN(file.records, ReadRecords(path, limit));
  ESA_ASSIGN_OR_RETURN(file.dataset, DatasetOf(path, file.records));
  ESA_ASSIGN_OR_RETURN(file.places, ReadPlaces(path, file.records.size()));
  return file;
}

}  // namespace

Result<std::vector<CompareFile>> ReadCompareFiles(std::span<const std::string> paths,
                                                  std::size_t limit) {
  std::vector<CompareFile> files;
  std::set<std::string> seen;
  for (const std::string& path : paths) {
    if (!seen.insert(path).second) return InvalidArgument(path + " is given twice");
    ESA_ASSIGN_OR_RETURN(CompareFile file, ReadFile(path, limit));
    files.push_back(std::move(file));
  }
  for (CompareFile& file : files) {
    const auto same = [&](const CompareFile& other) {
      return std::filesystem::path(other.path).stem() == std::filesystem::path(file.path).stem();
    };
    if (std::count_if(files.begin(), files.end(), same) > 1) file.name = file.path;
  }
  return files;
}

}  // namespace esa

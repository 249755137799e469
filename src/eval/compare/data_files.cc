#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/status_macros.h"
#include "eval/compare.h"
#include "eval/metrics.h"

namespace esa {
namespace {

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

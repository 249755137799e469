#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "eval/compare.h"
#include "eval/compare/table_columns.h"
#include "eval/cost.h"
#include "eval/report/cost_json.h"

namespace esa {
namespace {

using OrderedJson = nlohmann::ordered_json;

// RFC 4180.
std::string CsvField(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

OrderedJson NumberOrNull(const std::optional<double>& value) {
  return value ? OrderedJson(*value) : OrderedJson(nullptr);
}

OrderedJson CellJson(const CompareCell& cell, const CompareFile& file) {
  OrderedJson cost = CostToJson(cell.costs);
  for (const char* name : {"missed_mass", "largest_missed_mass"}) {
    cost[name] = NumberOrNull(cell.Cost(name));
  }
  return {{"file", file.path},     {"score", cell.score},     {"audited_records", cell.audited()},
          {"folder", cell.folder}, {"cost", std::move(cost)}, {"scores", cell.scores}};
}

OrderedJson FileJson(const CompareFile& file) {
  OrderedJson depths = OrderedJson::array();
  OrderedJson tokens = OrderedJson::array();
  for (const Record& record : file.records) {
    depths.push_back(NumberOrNull(record.depth));
    tokens.push_back(record.tokens ? OrderedJson(*record.tokens) : OrderedJson(nullptr));
  }
  return {{"path", file.path},
          {"name", file.name},
          {"dataset", file.dataset.name},
          {"records", file.records.size()},
          {"depth", std::move(depths)},
          {"tokens", std::move(tokens)}};
}

std::string BytesText(const CompareCell& cell, const char* name) {
  return ShortBytes(cell.Cost(name).value_or(0));
}

}  // namespace

std::vector<TableColumn> TableColumns(const Comparison& comparison) {
  std::vector<TableColumn> columns = {
      {"score", [](const CompareCell& cell) { return fmt::format("{:.2f}", cell.score); }},
      {"fetched/token",
       [](const CompareCell& cell) { return BytesText(cell, "fetched_bytes_per_token"); }},
      {"loaded/token",
       [](const CompareCell& cell) { return BytesText(cell, "loaded_bytes_per_token"); }},
      {"attended/token",
       [](const CompareCell& cell) { return BytesText(cell, "attended_bytes_per_token"); }}};
  if (comparison.bounded_memory) {
    columns.push_back({"resident", [](const CompareCell& cell) {
                         return BytesText(cell, "peak_resident_bytes");
                       }});
  }
  columns.push_back({"tokens/s", [](const CompareCell& cell) {
                       return fmt::format("{:.1f}",
                                          cell.Cost("decode_tokens_per_second").value_or(0));
                     }});
  columns.push_back({"missed", [](const CompareCell& cell) {
                       const auto missed = cell.Cost("missed_mass");
                       return missed ? fmt::format("{:.2f} %", 100 * *missed) : std::string("-");
                     }});
  return columns;
}

std::string CompareCsv(const Comparison& comparison) {
  std::string csv = "file,dataset,records,row,series,algorithm,ratio,options,score,audited_records";
  for (const CostField& field : CostFields({})) csv += "," + field.name;
  csv += "\n";
  for (std::size_t r = 0; r < comparison.rows.size(); ++r) {
    const CompareRow& row = comparison.rows[r];
    for (std::size_t f = 0; f < comparison.files.size(); ++f) {
      const CompareFile& file = comparison.files[f];
      const CompareCell& cell = comparison.cell(r, f);
      csv +=
          fmt::format("{},{},{},{},{},{},{},{},{:.2f},{}", CsvField(file.path), file.dataset.name,
                      file.records.size(), CsvField(row.name()), CsvField(row.series),
                      CsvField(row.algorithm), row.ratio ? fmt::format("{}", *row.ratio) : "",
                      CsvField(OptionsText(row.options)), cell.score, cell.audited());
      for (const CostField& field : CostFields({})) {
        const auto value = cell.Cost(field.name);
        csv += value ? fmt::format(",{:.10g}", *value) : ",";
      }
      csv += "\n";
    }
  }
  return csv;
}

std::string CompareJson(const Comparison& comparison) {
  OrderedJson settings = OrderedJson::object();
  for (const auto& [name, value] : comparison.settings) settings[name] = value;
  OrderedJson files = OrderedJson::array();
  for (const CompareFile& file : comparison.files) files.push_back(FileJson(file));
  OrderedJson rows = OrderedJson::array();
  for (std::size_t r = 0; r < comparison.rows.size(); ++r) {
    const CompareRow& row = comparison.rows[r];
    OrderedJson data = OrderedJson::array();
    for (std::size_t f = 0; f < comparison.files.size(); ++f) {
      data.push_back(CellJson(comparison.cell(r, f), comparison.files[f]));
    }
    rows.push_back({{"row", row.name()},
                    {"series", row.series},
                    {"algorithm", row.algorithm},
                    {"ratio", NumberOrNull(row.ratio)},
                    {"options", OrderedJson::parse(OptionsText(row.options))},
                    {"data", std::move(data)}});
  }
  const OrderedJson all = {
      {"settings", std::move(settings)}, {"files", std::move(files)}, {"rows", std::move(rows)}};
  return all.dump(1) + "\n";
}

std::string CompareTable(const Comparison& comparison) {
  const std::vector<TableColumn> columns = TableColumns(comparison);
  std::size_t name_width = 3;
  for (const CompareRow& row : comparison.rows) {
    name_width = std::max(name_width, row.name().size());
  }
  std::string text;
  for (std::size_t f = 0; f < comparison.files.size(); ++f) {
    const CompareFile& file = comparison.files[f];
    text += fmt::format("{}{}, {} records\n{:<{}}", f > 0 ? "\n" : "", file.name,
                        file.records.size(), "row", name_width);
    for (const TableColumn& column : columns) text += fmt::format("{:>15}", column.title);
    text += "\n";
    for (const std::size_t r : RowsByScore(comparison, f)) {
      text += fmt::format("{:<{}}", comparison.rows[r].name(), name_width);
      for (const TableColumn& column : columns) {
        text += fmt::format("{:>15}", column.text(comparison.cell(r, f)));
      }
      text += "\n";
    }
  }
  return text;
}

std::vector<std::size_t> RowsByScore(const Comparison& comparison, std::size_t file) {
  std::vector<std::size_t> order(comparison.rows.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return comparison.cell(a, file).score > comparison.cell(b, file).score;
  });
  return order;
}

}  // namespace esa

// What the table of a terminal and that of the page show of a row. Private to eval.
#pragma once

#include <string>
#include <vector>

#include "eval/compare.h"

namespace esa {

struct TableColumn {
  std::string title;
  std::string (*text)(const CompareCell& cell);
};

std::vector<TableColumn> TableColumns(const Comparison& comparison);

}  // namespace esa

#include "store/posix/extent_format.h"

#include <cstdio>

#include "store/checksum.h"

namespace esa {

template <class Record>
std::uint64_t SumOf(const Record& record) {
  const auto bytes = std::as_bytes(std::span(&record, 1));
  return Checksum(bytes.subspan(sizeof(record.checksum)));
}
template std::uint64_t SumOf(const TableHeader&);
template std::uint64_t SumOf(const ExtentRecord&);
template std::uint64_t SumOf(const CellRecord&);

std::string TablePath(const std::string& folder) { return folder + "/" + kExtentsName + "/table"; }

std::string ExtentPath(const std::string& folder, std::uint64_t serial) {
  char name[32];
  std::snprintf(name, sizeof(name), "/%016llx", static_cast<unsigned long long>(serial));
  return folder + "/" + kExtentsName + name + kExtentEnding;
}

}  // namespace esa

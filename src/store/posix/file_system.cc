#include "store/posix/file_system.h"

namespace esa {

Status ReadFully(File& file, const std::string& path, std::uint64_t offset,
                 std::span<std::byte> to) {
  while (!to.empty()) {
    const Result<std::size_t> moved = file.Read(offset, to);
    if (!moved) return moved.error();
    if (*moved == 0) {
      return DataError(path + ": ends at byte " + std::to_string(offset) + ", expected " +
                       std::to_string(to.size()) + " bytes more");
    }
    offset += *moved;
    to = to.subspan(*moved);
  }
  return {};
}

Status WriteFully(File& file, const std::string& path, std::uint64_t offset,
                  std::span<const std::byte> from) {
  while (!from.empty()) {
    const Result<std::size_t> moved = file.Write(offset, from);
    if (!moved) return moved.error();
    if (*moved == 0) return IoError(path + ": write: no byte was taken");
    offset += *moved;
    from = from.subspan(*moved);
  }
  return {};
}

}  // namespace esa

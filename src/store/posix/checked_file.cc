#include "store/posix/checked_file.h"

#include <cstring>
#include <utility>

#include "store/checksum.h"

namespace esa {
namespace {

struct Front {
  std::uint64_t bytes = 0;
  std::uint64_t checksum = 0;
};

}  // namespace

Result<std::vector<std::byte>> ReadChecked(File& file, const std::string& path) {
  Front front;
  if (Status read = ReadFully(file, path, 0, std::as_writable_bytes(std::span(&front, 1))); !read) {
    return read.error();
  }
  if (front.bytes > kMaxCheckedBytes) {
    return DataError(path + ": says it has " + std::to_string(front.bytes) + " bytes, expected " +
                     std::to_string(kMaxCheckedBytes) + " at most");
  }
  std::vector<std::byte> payload(front.bytes);
  if (Status read = ReadFully(file, path, sizeof(front), payload); !read) return read.error();
  if (Checksum(payload) != front.checksum) return DataError(path + ": checksum does not match");
  return payload;
}

Status WriteChecked(File& file, const std::string& path, std::span<const std::byte> payload) {
  const Front front{payload.size(), Checksum(payload)};
  std::vector<std::byte> bytes(sizeof(front) + payload.size());
  std::memcpy(bytes.data(), &front, sizeof(front));
  if (!payload.empty()) std::memcpy(bytes.data() + sizeof(front), payload.data(), payload.size());
  return WriteFully(file, path, 0, bytes);
}

LockedNumbers::LockedNumbers(std::unique_ptr<File> file, std::string path)
    : file_(std::move(file)), path_(std::move(path)) {}

Result<LockedNumbers> LockedNumbers::Lock(FileSystem& files, const std::string& path) {
  std::unique_ptr<File> file;
  const auto try_lock = [&]() -> Result<bool> {
    auto locked = files.Lock(path, false);
    if (!locked) return locked.error();
    file = *std::move(locked);
    return file != nullptr;
  };
  if (Status locked = LockInTime(path, try_lock); !locked) return locked.error();
  LockedNumbers numbers(std::move(file), path);
  const auto payload = ReadChecked(*numbers.file_, path);
  if (!payload && payload.error().code != ErrorCode::kDataError) return payload.error();
  if (payload.ok() && payload->size() == sizeof(numbers.values)) {
    std::memcpy(numbers.values.data(), payload->data(), payload->size());
    numbers.whole_ = true;
  }
  return numbers;
}

Status LockedNumbers::Write() {
  return WriteChecked(*file_, path_, std::as_bytes(std::span(values)));
}

}  // namespace esa

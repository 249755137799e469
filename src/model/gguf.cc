#include "model/gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "base/status_macros.h"
#include "model/json_text.h"

namespace esa {
namespace {

constexpr std::uint32_t kVersion2 = 2;  // as 3, which only allows for big-endian files
constexpr std::uint32_t kVersion3 = 3;
constexpr std::uint64_t kDefaultAlignment = 32;
constexpr std::uint64_t kMaxAlignment = 1 << 20;
constexpr std::uint32_t kMaxDimensions = 4;
constexpr std::uint64_t kMaxExtent = std::uint64_t{1} << 40;
constexpr std::uint64_t kMaxSplits = 10'000;

enum Type : std::uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};

// Bytes of a scalar; 0: none.
std::uint64_t ScalarBytes(std::uint32_t type) {
  constexpr std::uint64_t kBytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  return type < std::size(kBytes) ? kBytes[type] : 0;
}

template <class T>
T Load(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}

std::optional<std::int64_t> IntegerAt(std::uint32_t type, const std::byte* p) {
  switch (type) {
    case kU8:
      return Load<std::uint8_t>(p);
    case kI8:
      return Load<std::int8_t>(p);
    case kU16:
      return Load<std::uint16_t>(p);
    case kI16:
      return Load<std::int16_t>(p);
    case kU32:
      return Load<std::uint32_t>(p);
    case kI32:
      return Load<std::int32_t>(p);
    case kU64:
    case kI64:
      return Load<std::int64_t>(p);
    default:
      return std::nullopt;
  }
}

// The file's path with another number: "m-00001-of-00003.gguf", 1 -> 2.
std::optional<std::filesystem::path> SplitPath(const std::filesystem::path& path,
                                               std::uint64_t number, std::uint64_t count) {
  const std::string name = path.filename().string();
  const std::string ending = fmt::format("-{:05}-of-{:05}.gguf", 1, count);
  if (!name.ends_with(ending)) return std::nullopt;
  const std::string stem = name.substr(0, name.size() - ending.size());
  return path.parent_path() / fmt::format("{}-{:05}-of-{:05}.gguf", stem, number, count);
}

}  // namespace

// A tensor and where it lies in the data of its file.
struct GgufFile::Placed {
  GgufTensor read = {};          // without its bytes, until it has its place among the others
  GgufTensor* tensor = nullptr;  // there
  std::uint64_t offset = 0;
  std::uint64_t size = 0;  // 0 of a type that is not known: refused where it is used
};

// Reads one file from its beginning on.
class GgufFile::Reader {
 public:
  struct Counts {
    std::uint64_t tensors, values;
  };

  Reader(std::span<const std::byte> bytes, std::string file)
      : bytes_(bytes), file_(std::move(file)) {}

  template <class T>
  Result<T> Scalar() {
    if (bytes_.size() - at_ < sizeof(T)) return Ends();
    const T value = Load<T>(bytes_.data() + at_);
    at_ += sizeof(T);
    return value;
  }

  Result<std::string_view> String() {
    ESA_ASSIGN_OR_RETURN(const auto length, Scalar<std::uint64_t>());
    if (length > bytes_.size() - at_) return Ends();
    const std::string_view text(reinterpret_cast<const char*>(bytes_.data() + at_),
                                static_cast<std::size_t>(length));
    at_ += static_cast<std::size_t>(length);
    return text;
  }

  Result<Value> ReadValue(std::uint32_t type) {
    if (type == kString) {
      ESA_ASSIGN_OR_RETURN(const std::string_view text, String());
      return Value(text);
    }
    if (type == kArray) return ReadArray();
    const std::uint64_t size = ScalarBytes(type);
    if (size == 0) return Bad(fmt::format("a value of type {}", type));
    if (size > bytes_.size() - at_) return Ends();
    const std::byte* p = bytes_.data() + at_;
    at_ += static_cast<std::size_t>(size);
    if (type == kF32) return Value(double{Load<float>(p)});
    if (type == kF64) return Value(Load<double>(p));
    if (type == kBool) return Value(Load<std::uint8_t>(p) != 0);
    const std::int64_t value = *IntegerAt(type, p);
    if (type == kU64 || value >= 0) return Value(static_cast<std::uint64_t>(value));
    return Value(value);
  }

  Result<Counts> ReadHead() {
    if (bytes_.size() < 4 || std::memcmp(bytes_.data(), "GGUF", 4) != 0) {
      return Bad("not a GGUF file: it does not begin with \"GGUF\"");
    }
    at_ = 4;
    ESA_ASSIGN_OR_RETURN(const auto version, Scalar<std::uint32_t>());
    if (version != kVersion2 && version != kVersion3) {
      return Unsupported(
          fmt::format("{}: version: found {}, expected 2 or 3 (little-endian)", file_, version));
    }
    ESA_ASSIGN_OR_RETURN(const auto tensors, Scalar<std::uint64_t>());
    ESA_ASSIGN_OR_RETURN(const auto values, Scalar<std::uint64_t>());
    return Counts{tensors, values};
  }

  Result<Placed> ReadTensor(std::string_view name, std::uint64_t alignment) {
    Placed placed{.read = {.file = file_, .type = {}, .shape = {}, .bytes = {}}};
    std::vector<std::int64_t>& shape = placed.read.shape;
    ESA_ASSIGN_OR_RETURN(const auto dimensions, Scalar<std::uint32_t>());
    if (dimensions > kMaxDimensions) {
      return BadTensor(name, fmt::format("{} dimensions", dimensions));
    }
    std::uint64_t values = 1;
    for (std::uint32_t d = 0; d < dimensions; ++d) {
      ESA_ASSIGN_OR_RETURN(const auto extent, Scalar<std::uint64_t>());
      if (extent > kMaxExtent || (extent > 0 && values > kMaxExtent / extent)) {
        return BadTensor(name, fmt::format("an extent of {}", extent));
      }
      values *= extent;
      shape.insert(shape.begin(), static_cast<std::int64_t>(extent));
    }
    ESA_ASSIGN_OR_RETURN(const auto type, Scalar<std::uint32_t>());
    ESA_ASSIGN_OR_RETURN(placed.offset, Scalar<std::uint64_t>());
    if (placed.offset % alignment != 0) {
      return BadTensor(name, fmt::format("offset {} is not aligned", placed.offset));
    }
    const GgmlFormat* format = FindGgmlFormat(type);
    placed.read.type = format != nullptr ? std::string(format->name) : fmt::format("type {}", type);
    if (format == nullptr) return placed;
    const auto block = static_cast<std::uint64_t>(format->block_values);
    const std::uint64_t row = shape.empty() ? 1 : static_cast<std::uint64_t>(shape.back());
    if (row % block != 0) {
      return BadTensor(name, fmt::format("rows of {}, no multiple of {}", row, block));
    }
    placed.size = values / block * static_cast<std::uint64_t>(format->block_bytes);
    return placed;
  }

  Error BadTensor(std::string_view name, const std::string& what) const {
    return Bad(fmt::format("tensor {}: {}", Quoted(name), what));
  }
  Error Ends() const { return DataError(file_ + ": it ends in the middle of its header"); }
  Error Bad(const std::string& what) const { return DataError(file_ + ": " + what); }
  std::size_t at() const { return at_; }

 private:
  Result<Value> ReadArray() {
    ESA_ASSIGN_OR_RETURN(const auto type, Scalar<std::uint32_t>());
    ESA_ASSIGN_OR_RETURN(const auto count, Scalar<std::uint64_t>());
    const Array array{.type = type, .count = count, .bytes = bytes_.subspan(at_)};
    if (type == kString) {
      // Every string has a length of eight bytes, so a wrong count soon meets the end.
      for (std::uint64_t i = 0; i < count; ++i) {
        if (const auto text = String(); !text) return text.error();
      }
      return Value(array);
    }
    const std::uint64_t size = ScalarBytes(type);
    if (size == 0) return Bad(fmt::format("an array of type {}", type));
    if (count > (bytes_.size() - at_) / size) return Ends();
    at_ += static_cast<std::size_t>(count * size);
    return Value(array);
  }

  std::span<const std::byte> bytes_;
  std::string file_;
  std::size_t at_ = 0;
};

bool IsGguf(const std::filesystem::path& path) {
  std::error_code error;
  return path.extension() == ".gguf" && !std::filesystem::is_directory(path, error);
}

Result<GgufFile> GgufFile::Open(const std::filesystem::path& path) {
  GgufFile file;
  file.path_ = path.string();
  ESA_RETURN_IF_ERROR(file.AddFile(path, true));
  ESA_RETURN_IF_ERROR(file.AddSplits(path));
  return file;
}

Status GgufFile::AddSplits(const std::filesystem::path& path) {
  ESA_ASSIGN_OR_RETURN(const std::uint64_t count, Integer("split.count", 1));
  if (count <= 1) return {};
  if (count > kMaxSplits || !SplitPath(path, 1, count)) {
    return DataError(
        fmt::format("{}: split.count: found {}, expected the name of the first file to end in "
                    "-00001-of-{:05}.gguf",
                    path_, count, count));
  }
  for (std::uint64_t i = 2; i <= count; ++i) {
    ESA_RETURN_IF_ERROR(AddFile(*SplitPath(path, i, count), false));
  }
  return {};
}

Status GgufFile::AddFile(const std::filesystem::path& path, bool first) {
  ESA_ASSIGN_OR_RETURN(MappedFile mapped, MappedFile::Open(path));
  const std::span<const std::byte> bytes = mapped.bytes();
  files_.push_back(std::move(mapped));
  Reader reader(bytes, path.string());
  ESA_ASSIGN_OR_RETURN(const Reader::Counts counts, reader.ReadHead());
  std::uint64_t alignment = kDefaultAlignment;
  for (std::uint64_t i = 0; i < counts.values; ++i) {
    ESA_ASSIGN_OR_RETURN(const std::string_view key, reader.String());
    ESA_ASSIGN_OR_RETURN(const auto type, reader.Scalar<std::uint32_t>());
    ESA_ASSIGN_OR_RETURN(Value value, reader.ReadValue(type));
    if (key == "general.alignment") {
      const auto* number = std::get_if<std::uint64_t>(&value);
      alignment = number == nullptr ? 0 : *number;
      if (alignment == 0 || alignment % 8 != 0 || alignment > kMaxAlignment) {
        return reader.Bad("general.alignment: expected a multiple of 8");
      }
    }
    if (first) values_.emplace(key, std::move(value));
  }
  std::vector<Placed> placed;
  for (std::uint64_t i = 0; i < counts.tensors; ++i) {
    ESA_ASSIGN_OR_RETURN(const std::string_view name, reader.String());
    ESA_ASSIGN_OR_RETURN(Placed one, reader.ReadTensor(name, alignment));
    const auto [it, added] = tensors_.emplace(name, std::move(one.read));
    if (!added) return reader.BadTensor(name, "it is there twice");
    one.tensor = &it->second;
    placed.push_back(std::move(one));
  }
  const std::uint64_t data = (reader.at() + alignment - 1) / alignment * alignment;
  const std::uint64_t room = bytes.size() > data ? bytes.size() - data : 0;
  for (const Placed& one : placed) {
    if (one.offset > room || one.size > room - one.offset) {
      return reader.Bad("a tensor lies beyond the end of the file");
    }
    one.tensor->bytes = bytes.subspan(static_cast<std::size_t>(data + one.offset),
                                      static_cast<std::size_t>(one.size));
  }
  return {};
}

const GgufFile::Value* GgufFile::Find(std::string_view key) const {
  const auto it = values_.find(key);
  return it == values_.end() ? nullptr : &it->second;
}

Error GgufFile::Wrong(std::string_view key, std::string_view expected) const {
  return DataError(fmt::format("{}: {}: found {}, expected {}", path_, key,
                               Find(key) == nullptr ? "nothing" : "another kind of value",
                               expected));
}

Result<std::uint64_t> GgufFile::Integer(std::string_view key,
                                        std::optional<std::uint64_t> fallback) const {
  const Value* value = Find(key);
  if (value == nullptr && fallback) return *fallback;
  const auto* number = value == nullptr ? nullptr : std::get_if<std::uint64_t>(value);
  if (number == nullptr) return Wrong(key, "a whole number");
  return *number;
}

Result<double> GgufFile::Real(std::string_view key, std::optional<double> fallback) const {
  const Value* value = Find(key);
  if (value == nullptr && fallback) return *fallback;
  const auto* number = value == nullptr ? nullptr : std::get_if<double>(value);
  if (number == nullptr) return Wrong(key, "a number");
  return *number;
}

Result<bool> GgufFile::Bool(std::string_view key, bool fallback) const {
  const Value* value = Find(key);
  if (value == nullptr) return fallback;
  const auto* flag = std::get_if<bool>(value);
  if (flag == nullptr) return Wrong(key, "true or false");
  return *flag;
}

Result<std::string> GgufFile::Text(std::string_view key,
                                   std::optional<std::string> fallback) const {
  const Value* value = Find(key);
  if (value == nullptr && fallback) return *fallback;
  const auto* text = value == nullptr ? nullptr : std::get_if<std::string_view>(value);
  if (text == nullptr) return Wrong(key, "a text");
  return std::string(*text);
}

Result<std::vector<std::string_view>> GgufFile::Texts(std::string_view key) const {
  const Value* value = Find(key);
  const auto* array = value == nullptr ? nullptr : std::get_if<Array>(value);
  if (array == nullptr || array->type != kString) return Wrong(key, "a list of texts");
  Reader reader(array->bytes, path_);
  std::vector<std::string_view> texts;
  for (std::uint64_t i = 0; i < array->count; ++i) {
    ESA_ASSIGN_OR_RETURN(const std::string_view text, reader.String());
    texts.push_back(text);
  }
  return texts;
}

Result<std::vector<std::int64_t>> GgufFile::Integers(std::string_view key) const {
  const Value* value = Find(key);
  const auto* array = value == nullptr ? nullptr : std::get_if<Array>(value);
  std::vector<std::int64_t> numbers;
  for (std::uint64_t i = 0; array != nullptr && i < array->count; ++i) {
    const auto number = IntegerAt(array->type, array->bytes.data() + i * ScalarBytes(array->type));
    if (!number) return Wrong(key, "a list of whole numbers");
    numbers.push_back(*number);
  }
  if (array == nullptr) return Wrong(key, "a list of whole numbers");
  return numbers;
}

void GgufFile::AdviseHotRead() const {
  for (const MappedFile& file : files_) file.AdviseHotRead();
}

}  // namespace esa

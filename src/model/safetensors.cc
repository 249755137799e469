#include "model/safetensors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "base/status_macros.h"
#include "model/json_text.h"

namespace esa {
namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little,
              "tensors are used as they lie in the file");

struct DTypeRow {
  std::string_view name;
  std::uint64_t bits;
};

constexpr DTypeRow kDTypes[] = {
    {"F64", 64},    {"I64", 64},    {"U64", 64},        {"C64", 64},        {"F32", 32},
    {"I32", 32},    {"U32", 32},    {"F16", 16},        {"BF16", 16},       {"I16", 16},
    {"U16", 16},    {"BOOL", 8},    {"U8", 8},          {"I8", 8},          {"F8_E4M3", 8},
    {"F8_E5M2", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"F6_E2M3", 6},
    {"F6_E3M2", 6}, {"F4", 4},
};

std::optional<std::uint64_t> BitsOf(std::string_view dtype) {
  for (const DTypeRow& row : kDTypes) {
    if (row.name == dtype) return row.bits;
  }
  return std::nullopt;
}

// What a message says of a JSON value. Structures are named, not written out: writing recurses, and
// a header may nest as deep as it is long.
std::string Found(const json& object, const char* field) {
  const auto it = object.find(field);
  if (it == object.end()) return "nothing";
  if (it->is_structured()) return it->is_array() ? "another list" : "an object";
  return it->is_string() ? Quoted(it->get_ref<const std::string&>()) : it->dump();
}

std::optional<std::int64_t> NonNegative(const json& value) {
  if (!value.is_number_unsigned()) return std::nullopt;
  const auto number = value.get<std::uint64_t>();
  if (number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    return std::nullopt;
  }
  return static_cast<std::int64_t>(number);
}

std::optional<std::vector<std::int64_t>> NonNegatives(const json& object, const char* field) {
  const auto it = object.find(field);
  if (it == object.end() || !it->is_array()) return std::nullopt;
  std::vector<std::int64_t> numbers;
  for (const json& element : *it) {
    const auto number = NonNegative(element);
    if (!number) return std::nullopt;
    numbers.push_back(*number);
  }
  return numbers;
}

// Reads one file's header. Messages begin with the file's path.
class HeaderReader {
 public:
  HeaderReader(std::string path, std::span<const std::byte> file)
      : path_(std::move(path)), file_(file) {}

  Result<TensorMap> Read() {
    ESA_ASSIGN_OR_RETURN(const std::string_view text, HeaderText());
    ESA_ASSIGN_OR_RETURN(const json header, Parse(text));
    data_ = file_.subspan(sizeof(std::uint64_t) + text.size());
    TensorMap tensors;
    for (const auto& [name, description] : header.items()) {
      if (name == "__metadata__") continue;
      ESA_ASSIGN_OR_RETURN(TensorView tensor, ReadTensor(name, description));
      tensors.emplace(name, std::move(tensor));
    }
    ESA_RETURN_IF_ERROR(CheckCoverage(tensors));
    return tensors;
  }

 private:
  Error Wrong(std::string what) const { return DataError(path_ + ": " + std::move(what)); }
  Error WrongTensor(std::string_view name, std::string what) const {
    return Wrong(fmt::format("tensor {}: {}", Quoted(name), what));
  }

  Result<std::string_view> HeaderText() const {
    std::uint64_t bytes = 0;
    if (file_.size() < sizeof(bytes)) {
      return Wrong(fmt::format("found {} bytes, expected a safetensors file", file_.size()));
    }
    std::memcpy(&bytes, file_.data(), sizeof(bytes));
    if (bytes > SafetensorsFile::kMaxHeaderBytes) {
      return Wrong(fmt::format("found a header of {} bytes, expected at most {}", bytes,
                               SafetensorsFile::kMaxHeaderBytes));
    }
    if (bytes > file_.size() - sizeof(bytes)) {
      return Wrong(fmt::format("the header needs {} bytes, the file has {} (truncated?)",
                               bytes + sizeof(bytes), file_.size()));
    }
    return std::string_view(reinterpret_cast<const char*>(file_.data()) + sizeof(bytes), bytes);
  }

  Result<json> Parse(std::string_view text) const {
    if (!text.starts_with('{')) return Wrong("the header does not begin with '{'");
    // The parser keeps the last of two equal keys, which would hide a tensor.
    std::set<std::string, std::less<>> names;
    std::optional<std::string> duplicate;
    auto note_key = [&](int depth, json::parse_event_t event, const json& parsed) {
      if (depth == 1 && event == json::parse_event_t::key) {
        const auto& name = parsed.get_ref<const std::string&>();
        if (!names.insert(name).second) duplicate = name;
      }
      return true;
    };
    json header = json::parse(text, note_key, /*allow_exceptions=*/false);
    if (header.is_discarded()) return Wrong("the header is not valid JSON");
    if (duplicate) return WrongTensor(*duplicate, "described twice");
    return header;
  }

  Result<TensorView> ReadTensor(std::string_view name, const json& description) const {
    if (!description.is_object()) return WrongTensor(name, "expected an object");
    TensorView tensor;
    const auto dtype = description.find("dtype");
    if (dtype == description.end() || !dtype->is_string() ||
        !BitsOf(dtype->get_ref<const std::string&>())) {
      return WrongTensor(name, fmt::format("dtype: found {}, expected one of the format's types",
                                           Found(description, "dtype")));
    }
    tensor.dtype = dtype->get<std::string>();
    auto shape = NonNegatives(description, "shape");
    if (!shape) {
      return WrongTensor(name, fmt::format("shape: found {}, expected a list of whole numbers",
                                           Found(description, "shape")));
    }
    tensor.shape = std::move(*shape);
    ESA_ASSIGN_OR_RETURN(tensor.bytes, ReadBytes(name, description));
    ESA_RETURN_IF_ERROR(CheckSize(name, tensor));
    return tensor;
  }

  Result<std::span<const std::byte>> ReadBytes(std::string_view name,
                                               const json& description) const {
    const auto offsets = NonNegatives(description, "data_offsets");
    if (!offsets || offsets->size() != 2 || (*offsets)[0] > (*offsets)[1]) {
      return WrongTensor(name, fmt::format("data_offsets: found {}, expected [begin, end]",
                                           Found(description, "data_offsets")));
    }
    const auto begin = static_cast<std::uint64_t>((*offsets)[0]);
    const auto end = static_cast<std::uint64_t>((*offsets)[1]);
    if (end > data_.size()) {
      return WrongTensor(name, fmt::format("ends at byte {} of the data, the file has {} "
                                           "(truncated?)",
                                           end, data_.size()));
    }
    return data_.subspan(begin, end - begin);
  }

  Status CheckSize(std::string_view name, const TensorView& tensor) const {
    std::uint64_t bits = *BitsOf(tensor.dtype);
    bool overflow = false;
    for (const std::int64_t extent : tensor.shape) {
      overflow |= __builtin_mul_overflow(bits, static_cast<std::uint64_t>(extent), &bits);
    }
    if (overflow || bits % 8 != 0 || bits / 8 != tensor.bytes.size()) {
      return WrongTensor(name,
                         fmt::format("found {} bytes, expected those of {} {}", tensor.bytes.size(),
                                     tensor.dtype, ShapeText(tensor.shape)));
    }
    return {};
  }

  Status CheckCoverage(const TensorMap& tensors) const {
    std::vector<std::pair<std::span<const std::byte>, std::string_view>> extents;
    for (const auto& [name, tensor] : tensors) extents.emplace_back(tensor.bytes, name);
    // By begin, then size: empty tensors come before the one that starts where they lie.
    std::ranges::sort(extents, {}, [](const auto& extent) {
      return std::pair(extent.first.data(), extent.first.size());
    });
    const std::byte* covered = data_.data();
    for (const auto& [bytes, name] : extents) {
      if (bytes.data() != covered) {
        return WrongTensor(name, fmt::format("begins at byte {} of the data, expected {}: {}",
                                             bytes.data() - data_.data(), covered - data_.data(),
                                             bytes.data() < covered ? "overlap" : "hole"));
      }
      covered += bytes.size();
    }
    if (covered != data_.data() + data_.size()) {
      return Wrong(
          fmt::format("found {} bytes of data, expected {}", data_.size(), covered - data_.data()));
    }
    return {};
  }

  const std::string path_;
  const std::span<const std::byte> file_;
  std::span<const std::byte> data_;
};

}  // namespace

Result<SafetensorsFile> SafetensorsFile::Open(const std::filesystem::path& path) {
  ESA_ASSIGN_OR_RETURN(MappedFile file, MappedFile::Open(path));
  ESA_ASSIGN_OR_RETURN(TensorMap tensors, HeaderReader(path.string(), file.bytes()).Read());
  return SafetensorsFile(std::move(file), std::move(tensors));
}

std::string ShapeText(std::span<const std::int64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

}  // namespace esa

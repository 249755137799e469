#include "model/weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "base/status_macros.h"
#include "model/json_text.h"
#include "model/mapped_file.h"
#include "ops/quantize.h"

namespace esa {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxIndexBytes = 100'000'000;

// What a thread copies at a time: a huge page.
constexpr std::int64_t kCopyBytes = 2 << 20;

std::optional<DType> FloatType(std::string_view name) {
  if (name == "F32") return DType::kF32;
  if (name == "F16") return DType::kF16;
  if (name == "BF16") return DType::kBf16;
  return std::nullopt;
}

Error TensorError(const std::string& file, std::string_view name, std::string_view what) {
  return DataError(fmt::format("{}: tensor {}: {}", file, Quoted(name), what));
}

// Tensor name -> shard, as model.safetensors.index.json says.
using WeightMap = std::map<std::string, std::string>;

Result<WeightMap> ReadIndex(const std::filesystem::path& path) {
  ESA_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path, kMaxIndexBytes));
  const json index = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!index.is_object()) return DataError(path.string() + ": not a JSON object");
  const auto map = index.find("weight_map");
  if (map == index.end() || !map->is_object() || map->empty()) {
    return DataError(path.string() + ": weight_map: expected an object, tensor name to file name");
  }
  WeightMap shards;
  for (const auto& [name, value] : map->items()) {
    const std::string shard = value.is_string() ? value.get<std::string>() : "";
    // A shard lies beside its index: a path would let a downloaded index open any file.
    const bool plain = !shard.empty() && shard.find('/') == shard.npos &&
                       shard.find('\0') == shard.npos && shard != "." && shard != "..";
    if (!plain) {
      return TensorError(path.string(), name,
                         fmt::format("weight_map: found {}, expected the name of a file beside it",
                                     value.is_string() ? Quoted(shard) : value.type_name()));
    }
    shards.emplace(name, shard);
  }
  return shards;
}

bool Aligned(const std::byte* data, DType dtype) {
  return reinterpret_cast<std::uintptr_t>(data) % DTypeBytes(dtype) == 0;
}

}  // namespace

Result<Weights> Weights::Open(const std::filesystem::path& folder, const WeightConfig& config) {
  Weights weights(folder, config);
  const auto single = folder / "model.safetensors";
  const auto index = folder / "model.safetensors.index.json";
  std::error_code error;
  if (std::filesystem::exists(single, error)) {
    ESA_RETURN_IF_ERROR(weights.AddFile(single));
    for (const auto& [name, view] : weights.files_.front().tensors()) {
      weights.tensors_.emplace(name, Tensor{single.string(), view});
    }
  } else if (std::filesystem::exists(index, error)) {
    ESA_RETURN_IF_ERROR(weights.AddShards(index));
  } else {
    return NotFound(fmt::format(
        "{}: found no weights, expected model.safetensors or model.safetensors.index.json",
        folder.string()));
  }
  for (const SafetensorsFile& file : weights.files_) file.AdviseHotRead();
  std::uint64_t bytes = 0;
  for (const auto& [name, tensor] : weights.tensors_) bytes += tensor.view.bytes.size();
  weights.config_.map |= bytes > AvailableMemory() / 2;
  return weights;
}

Status Weights::AddFile(const std::filesystem::path& path) {
  ESA_ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::Open(path));
  files_.push_back(std::move(file));
  return {};
}

Status Weights::AddShards(const std::filesystem::path& index) {
  ESA_ASSIGN_OR_RETURN(const WeightMap shards, ReadIndex(index));
  std::set<std::string> names;
  for (const auto& [name, shard] : shards) names.insert(shard);
  for (const std::string& shard : names) {
    const auto path = folder_ / shard;
    ESA_RETURN_IF_ERROR(AddFile(path));
    for (const auto& [name, view] : files_.back().tensors()) {
      const auto it = shards.find(name);
      if (it != shards.end() && it->second == shard) {
        tensors_.emplace(name, Tensor{path.string(), view});
      }
    }
  }
  for (const auto& [name, shard] : shards) {
    if (!tensors_.contains(name)) {
      return TensorError((folder_ / shard).string(), name,
                         "missing, but the index says it is here");
    }
  }
  return {};
}

Result<const Weights::Tensor*> Weights::Find(std::string_view name,
                                             const std::vector<std::int64_t>& shape) const {
  const auto it = tensors_.find(name);
  if (it == tensors_.end()) {
    return TensorError(folder_.string(), name,
                       fmt::format("missing, expected one of shape {}", ShapeText(shape)));
  }
  const Tensor& tensor = it->second;
  if (tensor.view.shape != shape) {
    return TensorError(tensor.file, name,
                       fmt::format("shape: found {}, expected {}", ShapeText(tensor.view.shape),
                                   ShapeText(shape)));
  }
  if (!FloatType(tensor.view.dtype)) {
    return TensorError(
        tensor.file, name,
        fmt::format("dtype: found {}, expected F32, F16 or BF16", tensor.view.dtype));
  }
  return &tensor;
}

Result<WeightView> Weights::Matrix(std::string_view name, std::int64_t rows, std::int64_t cols) {
  return Keep(name, rows, cols, config_.type);
}

Result<WeightView> Weights::EndMatrix(std::string_view name, std::int64_t rows, std::int64_t cols) {
  const bool int4 = config_.type == WeightType::kInt4;
  return Keep(name, rows, cols, int4 ? WeightType::kInt8 : config_.type);
}

Result<WeightView> Weights::Keep(std::string_view name, std::int64_t rows, std::int64_t cols,
                                 WeightType type) {
  ESA_ASSIGN_OR_RETURN(const Tensor* tensor, Find(name, {rows, cols}));
  const DType dtype = *FloatType(tensor->view.dtype);
  const auto bytes = tensor->view.bytes;
  WeightView view = {.data = bytes.data(), .dtype = dtype, .rows = rows, .cols = cols};
  if (type != WeightType::kStored) {
    view = Quantize(view, type == WeightType::kInt8 ? DType::kInt8 : DType::kInt4);
  } else if (!config_.map || !Aligned(bytes.data(), dtype)) {
    view = Copy(view);
  }
  if (view.data != bytes.data()) ReleasePages(bytes);
  memory_bytes_ += static_cast<std::uint64_t>(WeightBytes(view));
  return view;
}

WeightView Weights::Copy(const WeightView& stored) {
  WeightView copy = stored;
  const std::int64_t bytes = WeightBytes(stored);
  std::byte* data = memory_.Take(bytes);
  copy.data = data;
  const auto* from = static_cast<const std::byte*>(stored.data);
#pragma omp parallel for schedule(static)
  for (std::int64_t at = 0; at < bytes; at += kCopyBytes) {
    std::memcpy(data + at, from + at, static_cast<std::size_t>(std::min(kCopyBytes, bytes - at)));
  }
  return copy;
}

WeightView Weights::Quantize(const WeightView& stored, DType dtype) {
  const std::int64_t cols = stored.cols;
  const std::int64_t panel_bytes = QuantizedPanelBytes(dtype, cols);
  std::byte* panels = memory_.Take(QuantizedBytes(dtype, stored.rows, cols));
  const std::int64_t row_bytes = cols * DTypeBytes(stored.dtype);
#pragma omp parallel
  {
    std::vector<float> aligned(static_cast<std::size_t>(cols));  // a row as it is stored
    std::vector<float> rows(static_cast<std::size_t>(kQuantizedRows * cols));
#pragma omp for schedule(static)
    for (std::int64_t first = 0; first < stored.rows; first += kQuantizedRows) {
      const std::int64_t count = std::min(kQuantizedRows, stored.rows - first);
      for (std::int64_t r = 0; r < count; ++r) {
        const std::byte* row = static_cast<const std::byte*>(stored.data) + (first + r) * row_bytes;
        std::memcpy(aligned.data(), row, static_cast<std::size_t>(row_bytes));
        CopyRow({.data = aligned.data(), .dtype = stored.dtype, .rows = 1, .cols = cols}, 0,
                rows.data() + r * cols);
      }
      QuantizePanel(dtype, rows.data(), count, cols, panels + first / kQuantizedRows * panel_bytes);
    }
  }
  return {.data = panels, .dtype = dtype, .rows = stored.rows, .cols = cols};
}

Result<std::vector<float>> Weights::Vector(std::string_view name, std::int64_t size) {
  ESA_ASSIGN_OR_RETURN(const Tensor* tensor, Find(name, {size}));
  const std::vector<std::byte> aligned(tensor->view.bytes.begin(), tensor->view.bytes.end());
  std::vector<float> values(static_cast<std::size_t>(size));
  CopyRow(
      {.data = aligned.data(), .dtype = *FloatType(tensor->view.dtype), .rows = 1, .cols = size}, 0,
      values.data());
  memory_bytes_ += static_cast<std::uint64_t>(size) * sizeof(float);
  return values;
}

}  // namespace esa

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
#include "model/gguf_model.h"
#include "model/json_text.h"
#include "model/mapped_file.h"
#include "ops/quantize.h"

namespace esa {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxIndexBytes = 100'000'000;

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
  if (IsGguf(folder)) {
    ESA_RETURN_IF_ERROR(weights.AddGguf(folder));
    return weights;
  }
  const auto single = folder / "model.safetensors";
  const auto index = folder / "model.safetensors.index.json";
  std::error_code error;
  if (std::filesystem::exists(single, error)) {
    ESA_RETURN_IF_ERROR(weights.AddFile(single));
    for (const auto& [name, view] : weights.files_.front().tensors()) {
      weights.tensors_.emplace(name, Tensor{.file = single.string(), .view = view});
    }
  } else if (std::filesystem::exists(index, error)) {
    ESA_RETURN_IF_ERROR(weights.AddShards(index));
  } else {
    return NotFound(fmt::format(
        "{}: found no weights, expected model.safetensors or model.safetensors.index.json",
        folder.string()));
  }
  for (const SafetensorsFile& file : weights.files_) file.AdviseHotRead();
  weights.MapIfTooLarge();
  return weights;
}

void Weights::MapIfTooLarge() {
  std::uint64_t bytes = 0;
  for (const auto& [name, tensor] : tensors_) bytes += tensor.view.bytes.size();
  config_.map |= bytes > AvailableMemory() / 2;
}

Status Weights::AddGguf(const std::filesystem::path& path) {
  ESA_ASSIGN_OR_RETURN(gguf_, GgufFile::Open(path));
  ESA_ASSIGN_OR_RETURN(const ModelConfig model, ReadGgufConfig(*gguf_));
  for (const auto& [name, tensor] : gguf_->tensors()) {
    const auto known = HuggingFaceName(name);
    if (!known) continue;
    const bool paired = model.architecture == "llama" && (known->find(".q_proj.") != known->npos ||
                                                          known->find(".k_proj.") != known->npos);
    tensors_.emplace(
        *known, Tensor{.file = tensor.file,
                       .view = {.dtype = tensor.type, .shape = tensor.shape, .bytes = tensor.bytes},
                       .paired_head_dim = paired ? model.head_dim : 0});
  }
  gguf_->AdviseHotRead();
  MapIfTooLarge();
  return {};
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
        tensors_.emplace(name, Tensor{.file = path.string(), .view = view});
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
  if (FindGgmlFormat(tensor.view.dtype) == nullptr) {
    return TensorError(tensor.file, name,
                       fmt::format("dtype: found {}, expected F32, F16 or BF16, or of GGUF also "
                                   "Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K or Q6_K",
                                   tensor.view.dtype));
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
  const auto bytes = tensor->view.bytes;
  const std::optional<DType> dtype = FloatType(tensor->view.dtype);
  WeightView view;
  if (dtype && type == WeightType::kStored) {
    view = {.data = bytes.data(), .dtype = *dtype, .rows = rows, .cols = cols};
    const bool as_it_lies = Aligned(bytes.data(), *dtype) && tensor->paired_head_dim == 0;
    if (!config_.map || !as_it_lies) view = Copy(*tensor, view);
  } else {
    const bool int4 =
        type == WeightType::kInt4 || (type == WeightType::kStored && tensor->view.dtype == "Q4_0");
    view = Quantize(*tensor, int4 ? DType::kInt4 : DType::kInt8);
  }
  if (view.data != bytes.data()) ReleasePages(bytes);
  memory_bytes_ += static_cast<std::uint64_t>(WeightBytes(view));
  return view;
}

// Where row `row` lies among the tensor's rows.
std::int64_t RowInFile(const Weights::Tensor& tensor, std::int64_t row) {
  return tensor.paired_head_dim == 0 ? row : GgufHeadRow(row, tensor.paired_head_dim);
}

WeightView Weights::Copy(const Tensor& tensor, const WeightView& stored) {
  WeightView copy = stored;
  const std::int64_t row_bytes = stored.cols * DTypeBytes(stored.dtype);
  std::byte* data = memory_.Take(WeightBytes(stored));
  copy.data = data;
  const auto* from = static_cast<const std::byte*>(stored.data);
#pragma omp parallel for schedule(static)
  for (std::int64_t r = 0; r < stored.rows; ++r) {
    std::memcpy(data + r * row_bytes, from + RowInFile(tensor, r) * row_bytes,
                static_cast<std::size_t>(row_bytes));
  }
  return copy;
}

WeightView Weights::Quantize(const Tensor& tensor, DType dtype) {
  const GgmlFormat& format = *FindGgmlFormat(tensor.view.dtype);
  const std::int64_t num_rows = tensor.view.shape[0];
  const std::int64_t cols = tensor.view.shape[1];
  const std::int64_t row_bytes = cols / format.block_values * format.block_bytes;
  const std::int64_t panel_bytes = QuantizedPanelBytes(dtype, cols);
  std::byte* panels = memory_.Take(QuantizedBytes(dtype, num_rows, cols));
#pragma omp parallel
  {
    std::vector<float> rows(static_cast<std::size_t>(kQuantizedRows * cols));
#pragma omp for schedule(static)
    for (std::int64_t first = 0; first < num_rows; first += kQuantizedRows) {
      const std::int64_t count = std::min(kQuantizedRows, num_rows - first);
      for (std::int64_t r = 0; r < count; ++r) {
        format.widen(tensor.view.bytes.data() + RowInFile(tensor, first + r) * row_bytes, cols,
                     rows.data() + r * cols);
      }
      QuantizePanel(dtype, rows.data(), count, cols, panels + first / kQuantizedRows * panel_bytes);
    }
  }
  return {.data = panels, .dtype = dtype, .rows = num_rows, .cols = cols};
}

Result<std::vector<float>> Weights::Vector(std::string_view name, std::int64_t size) {
  ESA_ASSIGN_OR_RETURN(const Tensor* tensor, Find(name, {size}));
  std::vector<float> values(static_cast<std::size_t>(size));
  FindGgmlFormat(tensor->view.dtype)->widen(tensor->view.bytes.data(), size, values.data());
  if (tensor->paired_head_dim != 0) {
    const std::vector<float> paired = values;
    for (std::int64_t i = 0; i < size; ++i) {
      values[static_cast<std::size_t>(i)] = paired[static_cast<std::size_t>(RowInFile(*tensor, i))];
    }
  }
  memory_bytes_ += static_cast<std::uint64_t>(size) * sizeof(float);
  return values;
}

}  // namespace esa

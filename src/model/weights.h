// The weights of a model folder, model.safetensors or the shards that model.safetensors.index.json
// names; or of a GGUF file, under the names that they have in a Hugging Face folder.
//
// Threading: Matrix and Vector may copy into the object, so one thread loads; after that it is
// immutable. Ownership: the views that Matrix hands out live as long as the Weights (moving it
// keeps them).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "esa/config.h"
#include "esa/result.h"
#include "model/gguf.h"
#include "model/safetensors.h"
#include "model/weight_memory.h"
#include "ops/linear.h"

namespace esa {

class Weights {
 public:
  struct Tensor {
    std::string file;  // its path, for messages
    TensorView view;
    // Not 0: rows lie as in GgufHeadRow, for heads of so many.
    std::int64_t paired_head_dim = 0;
  };
  using Map = std::map<std::string, Tensor, std::less<>>;  // by rising name

  // Errors name the file, and the tensor or field where there is one.
  static Result<Weights> Open(const std::filesystem::path& folder, const WeightConfig& config = {});

  Weights(Weights&&) = default;
  Weights& operator=(Weights&&) = default;

  // The tensor `name` of shape [rows, cols], kept as the configuration says. F32, F16 and BF16 may
  // stay as they are; of GGUF's other formats kStored makes int8, and of Q4_0 int4.
  Result<WeightView> Matrix(std::string_view name, std::int64_t rows, std::int64_t cols);
  // The same of an embedding or a head, which int4 would cost too much: int8 then.
  Result<WeightView> EndMatrix(std::string_view name, std::int64_t rows, std::int64_t cols);

  // The tensor `name` of shape [size], as f32.
  Result<std::vector<float>> Vector(std::string_view name, std::int64_t size);

  const Map& tensors() const { return tensors_; }
  std::uint64_t memory_bytes() const { return memory_bytes_; }  // of what was handed out
  WeightType type() const { return config_.type; }
  bool mapped() const { return config_.type == WeightType::kStored && config_.map; }

 private:
  Weights(std::filesystem::path folder, const WeightConfig& config)
      : folder_(std::move(folder)), config_(config) {}
  Status AddFile(const std::filesystem::path& path);
  Status AddShards(const std::filesystem::path& index);
  void MapIfTooLarge();
  Status AddGguf(const std::filesystem::path& path);
  Result<const Tensor*> Find(std::string_view name, const std::vector<std::int64_t>& shape) const;

  Result<WeightView> Keep(std::string_view name, std::int64_t rows, std::int64_t cols,
                          WeightType type);
  WeightView Copy(const Tensor& tensor, const WeightView& stored);
  WeightView Quantize(const Tensor& tensor, DType dtype);

  std::filesystem::path folder_;
  WeightConfig config_;
  std::vector<SafetensorsFile> files_;
  std::optional<GgufFile> gguf_;
  Map tensors_;
  WeightMemory memory_;
  std::uint64_t memory_bytes_ = 0;
};

}  // namespace esa

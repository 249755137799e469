// The weights of a model folder: model.safetensors, or the shards that
// model.safetensors.index.json names.
//
// Threading: Matrix and Vector may copy into the object, so one thread loads; after that it is
// immutable. Ownership: the views that Matrix hands out live as long as the Weights (moving it
// keeps them).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "esa/result.h"
#include "model/safetensors.h"
#include "ops/linear.h"

namespace esa {

class Weights {
 public:
  struct Tensor {
    std::string file;  // its path, for messages
    TensorView view;
  };
  using Map = std::map<std::string, Tensor, std::less<>>;  // by rising name

  // Errors name the file, and the tensor or field where there is one.
  static Result<Weights> Open(const std::filesystem::path& folder);

  Weights(Weights&&) = default;
  Weights& operator=(Weights&&) = default;

  // The tensor `name`, which must be F32, F16 or BF16 of shape [rows, cols]. It stays in the
  // mapping; one that is not aligned to its values is copied.
  Result<WeightView> Matrix(std::string_view name, std::int64_t rows, std::int64_t cols);

  // The tensor `name` of shape [size], as f32.
  Result<std::vector<float>> Vector(std::string_view name, std::int64_t size) const;

  const Map& tensors() const { return tensors_; }
  std::uint64_t bytes() const;  // of all tensors

 private:
  explicit Weights(std::filesystem::path folder) : folder_(std::move(folder)) {}
  Status AddFile(const std::filesystem::path& path);
  Status AddShards(const std::filesystem::path& index);
  Result<const Tensor*> Find(std::string_view name, const std::vector<std::int64_t>& shape) const;

  std::filesystem::path folder_;
  std::vector<SafetensorsFile> files_;
  Map tensors_;
  std::vector<std::unique_ptr<std::byte[]>> copies_;
};

}  // namespace esa

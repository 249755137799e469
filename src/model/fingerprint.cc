#include "model/fingerprint.h"

#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ops/linear.h"

namespace esa {
namespace {

constexpr std::size_t kRunBytes = 16u << 20;

// What is hashed at last; every part is of a fixed size or carries its own, so that no two
// different models write the same bytes.
class Record {
 public:
  void Integer(std::int64_t value) { Bytes(&value, sizeof(value)); }
  void Real(double value) { Integer(std::bit_cast<std::int64_t>(value)); }
  void Text(std::string_view text) {
    Integer(static_cast<std::int64_t>(text.size()));
    Bytes(text.data(), text.size());
  }
  void Digest(const XXH128_canonical_t& digest) { Bytes(digest.digest, sizeof(digest.digest)); }

  XXH128_canonical_t Hash() const {
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes_.data(), bytes_.size()));
    return canonical;
  }

 private:
  void Bytes(const void* data, std::size_t size) {
    bytes_.append(static_cast<const char*>(data), size);
  }
  std::string bytes_;
};

void AddConfig(const ModelConfig& config, Record& record) {
  record.Text("esa model 1");
  record.Text(config.architecture);
  record.Integer(config.vocab_size);
  record.Integer(config.hidden_size);
  record.Integer(config.intermediate_size);
  record.Integer(config.num_layers);
  record.Integer(config.num_heads);
  record.Integer(config.num_kv_heads);
  record.Integer(config.head_dim);
  record.Real(config.rope_theta);
  record.Real(config.rope_scaling.factor);
  record.Real(config.rope_scaling.low_freq_factor);
  record.Real(config.rope_scaling.high_freq_factor);
  record.Real(config.rope_scaling.original_max_position);
  for (const float divisor : config.rope_divisors) record.Real(divisor);
  record.Real(config.rms_norm_eps);
  record.Integer(config.tie_word_embeddings);
  record.Integer(config.attention_bias);
}

std::vector<std::span<const std::byte>> Runs(const Weights& weights) {
  std::vector<std::span<const std::byte>> runs;
  for (const auto& [name, tensor] : weights.tensors()) {
    const auto bytes = tensor.view.bytes;
    for (std::size_t at = 0; at < bytes.size(); at += kRunBytes) {
      runs.push_back(bytes.subspan(at, std::min(kRunBytes, bytes.size() - at)));
    }
  }
  return runs;
}

std::vector<XXH128_canonical_t> HashRuns(const std::vector<std::span<const std::byte>>& runs,
                                         bool release) {
  std::vector<XXH128_canonical_t> digests(runs.size());
  const auto count = static_cast<std::int64_t>(runs.size());
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t i = 0; i < count; ++i) {
    const auto run = runs[static_cast<std::size_t>(i)];
    XXH128_canonicalFromHash(&digests[static_cast<std::size_t>(i)],
                             XXH3_128bits(run.data(), run.size()));
    if (release) ReleasePages(run);
  }
  return digests;
}

// Of the file, or made on load.
bool HasIntegers(const Weights& weights) {
  return weights.type() != WeightType::kStored ||
         std::ranges::any_of(weights.tensors(), [](const auto& named) {
           const std::string_view dtype = named.second.view.dtype;
           return dtype != "F32" && dtype != "F16" && dtype != "BF16";
         });
}

}  // namespace

std::array<std::uint8_t, 16> FingerprintOf(const ModelConfig& config, const Weights& weights) {
  Record record;
  AddConfig(config, record);
  if (weights.type() != WeightType::kStored) {
    record.Text(weights.type() == WeightType::kInt8 ? "int8" : "int4");
  }
  if (HasIntegers(weights) && IntegersMeetIntegers()) record.Text("rounded activations");
  for (const auto& [name, tensor] : weights.tensors()) {
    record.Text(name);
    record.Text(tensor.view.dtype);
    record.Integer(static_cast<std::int64_t>(tensor.view.shape.size()));
    for (const std::int64_t extent : tensor.view.shape) record.Integer(extent);
  }
  for (const XXH128_canonical_t& digest : HashRuns(Runs(weights), !weights.mapped()))
    record.Digest(digest);
  const XXH128_canonical_t hash = record.Hash();
  std::array<std::uint8_t, 16> out;
  std::memcpy(out.data(), hash.digest, out.size());
  return out;
}

}  // namespace esa

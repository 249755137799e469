// What one sequence keeps of its sealed blocks for retrieval, as a RepresentationSpec asks.
//
// Memory is in proportion to max_blocks: for each layer, KV head, block and part head_dim values of
// each statistic. The mean of whole blocks in f32 is what the store keeps with a block (see
// StoredMean); everything else is made from keys.
//
// Threading: one thread writes; workers read what was written before their retrieval was started.
// Memory never moves.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "esa/sparse_attention.h"
#include "kv/geometry.h"
#include "base/zeroed_pages.h"

namespace esa {

class RepresentationTable {
 public:
  RepresentationTable(const KvGeometry& geometry, const RepresentationSpec& spec,
                      std::int64_t max_blocks);

  // Describes a full slice.
  void Seal(int layer, std::int64_t block, int kv_head, const std::byte* slice);

  // Whether the mean keys that a store keeps are all there is: then SetMean takes the place of
  // Seal for a block whose slice is not at hand.
  bool MeansAreAll() const;
  void SetMean(int layer, std::int64_t block, int kv_head, const float* mean);  // [head_dim]

  // The first num_blocks blocks of a layer.
  RepresentationView View(int layer, std::int64_t num_blocks) const;

  std::uint64_t bytes() const;

 private:
  // [num_layers, num_kv_heads, max_blocks, parts, head_dim]
  struct Statistic {
    ZeroedPages values;
    std::vector<float> scales;
  };

  std::int64_t RowOf(int layer, int kv_head, std::int64_t block, int part) const {
    return ((std::int64_t{layer} * num_kv_heads_ + kv_head) * max_blocks_ + block) * parts_ + part;
  }
  void Allocate(Statistic* statistic) const;
  void Write(Statistic* statistic, std::int64_t row, const float* values) const;
  RepresentationRows Rows(const Statistic& statistic, int layer) const;
  std::uint64_t* CodesOf(int layer, std::int64_t block, int kv_head) const;
  void SealCodes(int layer, std::int64_t block, int kv_head, const std::byte* slice);

  const SliceLayout layout_;
  const RepresentationSpec spec_;
  const int num_layers_;
  const int num_kv_heads_;
  const std::int64_t max_blocks_;
  const int part_tokens_;
  const int parts_;
  Statistic mean_;
  Statistic variance_;
  Statistic lower_;
  Statistic upper_;
  Statistic value_mean_;
  std::vector<float> projections_;
  ZeroedPages codes_;  // std::uint64_t [num_layers, num_kv_heads, max_blocks, block_tokens, words]
};

}  // namespace esa

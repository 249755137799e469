// The chains that stored blocks make: which block continues which.
//
// Several blocks may continue one: sequences that share a beginning. A block whose parent is not
// stored starts a chain: it is a sequence's first, or nothing finds it any more.
// Threading: none of its own. Refers to blocks by their index in the list it was made of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "store/store_inspect.h"

namespace esa {

class BlockChains {
 public:
  explicit BlockChains(std::span<const BlockInfo> blocks);

  struct Place {
    std::size_t block = 0;
    std::uint64_t depth = 0;  // stored blocks before it in its chain
    std::uint64_t forks = 0;  // of these, those that several blocks continue
  };

  // Every block once, each after its parent, what continues a block right behind it; else in the
  // order of the list.
  std::vector<Place> InOrder() const;

  // The blocks of `first` and all that continue them, each after its parent, none twice.
  std::vector<std::size_t> WithDescendants(std::span<const std::size_t> first) const;

  std::uint64_t starts() const { return starts_.size(); }
  std::uint64_t ends() const;     // blocks that nothing continues: the chains
  std::uint64_t longest() const;  // blocks of the longest chain

 private:
  void CutCycles(std::span<const std::size_t> later);

  std::vector<std::vector<std::size_t>> children_;  // [blocks]
  std::vector<std::size_t> starts_;
};

}  // namespace esa

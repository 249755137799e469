#include "store/block_chains.h"

#include <algorithm>
#include <ranges>
#include <unordered_map>

#include "store/block_id_hash.h"

namespace esa {

BlockChains::BlockChains(std::span<const BlockInfo> blocks) : children_(blocks.size()) {
  std::unordered_map<BlockId, std::size_t, BlockIdHash> places;
  for (std::size_t i = 0; i < blocks.size(); ++i) places.try_emplace(blocks[i].id, i);
  std::vector<std::size_t> later;  // blocks that continue another
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const auto parent = blocks[i].unreadable.empty() ? places.find(blocks[i].parent) : places.end();
    if (parent == places.end() || parent->second == i) {
      starts_.push_back(i);
    } else {
      children_[parent->second].push_back(i);
      later.push_back(i);
    }
  }
  CutCycles(later);
}

// Ids are digests, so only headers that are damaged can name each other as parents.
void BlockChains::CutCycles(std::span<const std::size_t> later) {
  std::vector<bool> reached(children_.size());
  for (const Place& place : InOrder()) reached[place.block] = true;
  for (const std::size_t block : later) {
    if (reached[block]) continue;
    for (auto& children : children_) std::erase(children, block);
    starts_.push_back(block);
    reached[block] = true;
  }
}

// Without recursion: a long context is a chain of thousands of blocks.
std::vector<BlockChains::Place> BlockChains::InOrder() const {
  std::vector<Place> order;
  std::vector<Place> waiting;
  for (const std::size_t start : starts_) {
    waiting.push_back({.block = start});
    while (!waiting.empty()) {
      const Place place = waiting.back();
      waiting.pop_back();
      order.push_back(place);
      const std::vector<std::size_t>& children = children_[place.block];
      const std::uint64_t forks = place.forks + (children.size() > 1 ? 1 : 0);
      for (auto child = children.rbegin(); child != children.rend(); ++child) {
        waiting.push_back({.block = *child, .depth = place.depth + 1, .forks = forks});
      }
    }
  }
  return order;
}

std::vector<std::size_t> BlockChains::WithDescendants(std::span<const std::size_t> first) const {
  std::vector<bool> wanted(children_.size());
  for (const std::size_t block : first) wanted[block] = true;
  std::vector<std::size_t> found;
  for (const Place& place : InOrder()) {
    if (!wanted[place.block]) continue;
    found.push_back(place.block);
    for (const std::size_t child : children_[place.block]) wanted[child] = true;
  }
  return found;
}

std::uint64_t BlockChains::ends() const {
  return static_cast<std::uint64_t>(
      std::ranges::count_if(children_, [](const auto& children) { return children.empty(); }));
}

std::uint64_t BlockChains::longest() const {
  std::uint64_t longest = 0;
  for (const Place& place : InOrder()) longest = std::max(longest, place.depth + 1);
  return longest;
}

}  // namespace esa

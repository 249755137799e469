#include "model/byte_level_bpe.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "base/status_macros.h"
#include "model/byte_level.h"

namespace esa {
namespace {

using Scratch = ByteLevelBpe::Scratch;

constexpr std::uint32_t kNoRank = std::numeric_limits<std::uint32_t>::max();
constexpr std::uint32_t kEnd = std::numeric_limits<std::uint32_t>::max();

// Up to here a scan for the best pair beats the heap; a word of running text has about five bytes.
constexpr std::size_t kMaxScanSymbols = 32;

std::uint64_t PairOf(std::int32_t left, std::int32_t right) {
  return (static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32) |
         static_cast<std::uint32_t>(right);
}

// Fibonacci hashing: the high bits of the product depend on both ids.
std::size_t SlotOf(std::uint64_t pair, std::size_t num_slots) {
  const std::uint64_t mixed = (pair ^ (pair >> 29)) * 0x9E3779B97F4A7C15u;
  return static_cast<std::size_t>(mixed >> 20) & (num_slots - 1);
}

// A heap of std keeps its greatest on top: lower rank first, of equal ranks the leftmost.
bool ComesLater(const Scratch::Candidate& a, const Scratch::Candidate& b) {
  return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
}

}  // namespace

Result<ByteLevelBpe> ByteLevelBpe::Build(const BpeModel& model) {
  ByteLevelBpe bpe;
  bpe.ignore_merges_ = model.ignore_merges;
  bpe.fuse_unk_ = model.fuse_unk;
  ESA_RETURN_IF_ERROR(bpe.AddVocab(model));
  if (model.unk_token) {
    const auto unk = bpe.FindText(*model.unk_token);
    if (!unk) {
      return DataError("model.unk_token: found \"" + *model.unk_token +
                       "\", expected a token of model.vocab");
    }
    bpe.unk_id_ = *unk;
  }
  for (int byte = 0; byte < 256; ++byte) {
    const char spelled = static_cast<char>(byte);
    bpe.byte_ids_[static_cast<std::size_t>(byte)] =
        bpe.Find(std::string_view(&spelled, 1)).value_or(bpe.unk_id_);
  }
  ESA_RETURN_IF_ERROR(bpe.AddMerges(model));
  return bpe;
}

Status ByteLevelBpe::AddVocab(const BpeModel& model) {
  std::size_t arena_bytes = 0;
  std::int32_t max_id = -1;
  for (const auto& token : model.vocab) {
    if (token.id < 0 || token.id >= kMaxIds) {
      return DataError("model.vocab[\"" + token.text + "\"]: found " + std::to_string(token.id) +
                       ", expected an id from 0 to " + std::to_string(kMaxIds - 1));
    }
    arena_bytes += token.text.size();
    max_id = std::max(max_id, token.id);
  }
  // The keys of ids_ point into the arena: it must not grow beyond this.
  arena_.reserve(arena_bytes);
  rows_.resize(static_cast<std::size_t>(max_id + 1));
  ids_.reserve(model.vocab.size());
  for (const auto& token : model.vocab) ESA_RETURN_IF_ERROR(AddToken(token));
  return {};
}

Status ByteLevelBpe::AddToken(const BpeModel::Token& token) {
  Row& row = rows_[static_cast<std::size_t>(token.id)];
  if (row.present) {
    return DataError("model.vocab[\"" + token.text + "\"]: id " + std::to_string(token.id) +
                     " is taken by \"" + TextOf(token.id) + "\", expected one token an id");
  }
  std::string bytes;
  row.present = true;
  row.literal = !AppendBytesOfByteLevel(token.text, &bytes);
  if (row.literal) bytes = token.text;
  row.offset = static_cast<std::uint32_t>(arena_.size());
  row.bytes = static_cast<std::uint32_t>(bytes.size());
  arena_.insert(arena_.end(), bytes.begin(), bytes.end());
  if (row.literal) {
    literal_ids_.emplace(token.text, token.id);
  } else {
    ids_.emplace(BytesOf(token.id), token.id);
  }
  return {};
}

Status ByteLevelBpe::AddMerges(const BpeModel& model) {
  // At most two thirds full: a look-up touches one or two cache lines.
  merges_.resize(std::bit_ceil(model.merges.size() + model.merges.size() / 2 + 2));
  std::string both;
  for (std::size_t rank = 0; rank < model.merges.size(); ++rank) {
    const auto& [left, right] = model.merges[rank];
    both.assign(left).append(right);
    const auto left_id = FindText(left);
    const auto right_id = FindText(right);
    const auto merged = FindText(both);
    if (!left_id || !right_id || !merged) {
      const std::string& missing = !left_id ? left : !right_id ? right : both;
      return DataError("model.merges[" + std::to_string(rank) + "]: \"" + missing +
                       "\" is not in model.vocab");
    }
    InsertMerge(*left_id, *right_id, static_cast<std::uint32_t>(rank), *merged);
  }
  return {};
}

void ByteLevelBpe::InsertMerge(std::int32_t left, std::int32_t right, std::uint32_t rank,
                               std::int32_t merged) {
  const std::uint64_t pair = PairOf(left, right);
  std::size_t slot = SlotOf(pair, merges_.size());
  while (merges_[slot].pair != kNoPair && merges_[slot].pair != pair) {
    slot = (slot + 1) & (merges_.size() - 1);
  }
  merges_[slot] = {pair, rank, merged};
}

const ByteLevelBpe::MergeSlot* ByteLevelBpe::FindMerge(std::int32_t left,
                                                       std::int32_t right) const {
  const std::uint64_t pair = PairOf(left, right);
  for (std::size_t slot = SlotOf(pair, merges_.size());; slot = (slot + 1) & (merges_.size() - 1)) {
    if (merges_[slot].pair == pair) return &merges_[slot];
    if (merges_[slot].pair == kNoPair) return nullptr;
  }
}

void ByteLevelBpe::Encode(std::string_view piece, Scratch* scratch,
                          std::vector<std::int32_t>* ids) const {
  if (piece.size() == 1 && byte_ids_[static_cast<unsigned char>(piece[0])] >= 0) {
    ids->push_back(byte_ids_[static_cast<unsigned char>(piece[0])]);
    return;
  }
  if (ignore_merges_) {
    if (const auto whole = Find(piece)) {
      ids->push_back(*whole);
      return;
    }
  }
  StartSymbols(piece, scratch);
  const auto& symbols = scratch->symbols;
  if (symbols.empty()) return;
  if (symbols.size() <= kMaxScanSymbols) {
    MergeByScan(scratch);
  } else {
    MergeByHeap(scratch);
  }
  for (std::uint32_t at = 0; at != kEnd; at = symbols[at].next) ids->push_back(symbols[at].id);
}

void ByteLevelBpe::StartSymbols(std::string_view piece, Scratch* scratch) const {
  auto& symbols = scratch->symbols;
  symbols.clear();
  bool after_unknown = false;
  for (const char byte : piece) {
    const std::int32_t id = byte_ids_[static_cast<unsigned char>(byte)];
    const bool unknown = id == unk_id_;
    const bool fused = unknown && after_unknown && fuse_unk_;
    after_unknown = unknown;
    if (id < 0 || fused) continue;
    const auto at = static_cast<std::uint32_t>(symbols.size());
    symbols.push_back({.id = id, .next = at + 1, .previous = at == 0 ? kEnd : at - 1});
  }
  if (symbols.empty()) return;
  symbols.back().next = kEnd;
  for (std::uint32_t at = 0; at < symbols.size(); ++at) RankPair(at, scratch);
}

void ByteLevelBpe::RankPair(std::uint32_t left, Scratch* scratch) const {
  Scratch::Symbol& symbol = scratch->symbols[left];
  const MergeSlot* merge =
      symbol.next == kEnd ? nullptr : FindMerge(symbol.id, scratch->symbols[symbol.next].id);
  symbol.rank = merge ? merge->rank : kNoRank;
  symbol.merged = merge ? merge->merged : -1;
}

void ByteLevelBpe::MergePair(std::uint32_t left, Scratch* scratch) const {
  auto& symbols = scratch->symbols;
  const std::uint32_t right = symbols[left].next;
  const std::uint32_t after = symbols[right].next;
  symbols[left].id = symbols[left].merged;
  symbols[left].next = after;
  symbols[right].rank = kNoRank;
  if (after != kEnd) symbols[after].previous = left;
  RankPair(left, scratch);
  if (symbols[left].previous != kEnd) RankPair(symbols[left].previous, scratch);
}

void ByteLevelBpe::MergeByScan(Scratch* scratch) const {
  const auto& symbols = scratch->symbols;
  while (true) {
    std::uint32_t best = 0;
    for (std::uint32_t at = symbols[0].next; at != kEnd; at = symbols[at].next) {
      if (symbols[at].rank < symbols[best].rank) best = at;
    }
    if (symbols[best].rank == kNoRank) return;
    MergePair(best, scratch);
  }
}

void ByteLevelBpe::MergeByHeap(Scratch* scratch) const {
  const auto& symbols = scratch->symbols;
  auto& heap = scratch->heap;
  heap.clear();
  for (std::uint32_t at = 0; at < symbols.size(); ++at) {
    if (symbols[at].rank != kNoRank) heap.push_back({symbols[at].rank, at});
  }
  std::make_heap(heap.begin(), heap.end(), ComesLater);
  const auto offer = [&](std::uint32_t at) {
    if (at == kEnd || symbols[at].rank == kNoRank) return;
    heap.push_back({symbols[at].rank, at});
    std::push_heap(heap.begin(), heap.end(), ComesLater);
  };
  while (!heap.empty()) {
    const Scratch::Candidate best = heap.front();
    std::pop_heap(heap.begin(), heap.end(), ComesLater);
    heap.pop_back();
    // A candidate whose symbols have changed since carries a rank that is no longer theirs.
    if (symbols[best.position].rank != best.rank) continue;
    MergePair(best.position, scratch);
    offer(best.position);
    offer(symbols[best.position].previous);
  }
}

std::optional<std::int32_t> ByteLevelBpe::Find(std::string_view bytes) const {
  const auto found = ids_.find(bytes);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

std::optional<std::int32_t> ByteLevelBpe::FindText(std::string_view text) const {
  std::string bytes;
  if (AppendBytesOfByteLevel(text, &bytes)) return Find(bytes);
  const auto found = literal_ids_.find(std::string(text));
  if (found == literal_ids_.end()) return std::nullopt;
  return found->second;
}

bool ByteLevelBpe::Has(std::int32_t id) const {
  return id >= 0 && id < id_end() && rows_[static_cast<std::size_t>(id)].present;
}

std::string_view ByteLevelBpe::BytesOf(std::int32_t id) const {
  if (!Has(id)) return {};
  const Row& row = rows_[static_cast<std::size_t>(id)];
  return {arena_.data() + row.offset, row.bytes};
}

std::string ByteLevelBpe::TextOf(std::int32_t id) const {
  std::string text;
  if (!Has(id)) return text;
  if (rows_[static_cast<std::size_t>(id)].literal) return std::string(BytesOf(id));
  AppendByteLevel(BytesOf(id), &text);
  return text;
}

}  // namespace esa

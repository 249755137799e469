// A byte-level BPE model: the bytes of a token for every id, and the merges that turn the bytes of
// one piece of text into ids.
//
// Threading: immutable after Build; Encode may run on any number of threads, each with a scratch of
// its own.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "esa/result.h"

namespace esa {

// What a tokenizer.json says of its model, in the file's own (byte-level) spelling.
struct BpeModel {
  struct Token {
    std::string text;
    std::int32_t id = 0;
  };
  std::vector<Token> vocab;
  std::vector<std::pair<std::string, std::string>> merges;  // rising rank
  bool ignore_merges = false;  // a piece that is a token is that token, whatever the merges say
  std::optional<std::string> unk_token;  // for bytes that have no token
  bool fuse_unk = false;                 // one unk_token for a run of them
};

class ByteLevelBpe {
 public:
  // Working memory of Encode; reuse it from piece to piece.
  struct Scratch {
    struct Symbol {
      std::int32_t id = 0;
      std::uint32_t rank = 0;   // of the pair with the next symbol
      std::int32_t merged = 0;  // the id of that pair
      std::uint32_t next = 0;
      std::uint32_t previous = 0;
    };
    struct Candidate {
      std::uint32_t rank;
      std::uint32_t position;
    };
    std::vector<Symbol> symbols;
    std::vector<Candidate> heap;
  };

  // Ids at or above this are refused: a table is made with one row an id.
  static constexpr std::int32_t kMaxIds = 1 << 24;

  // Errors (kDataError) name the field of tokenizer.json: an id out of range or given twice, a
  // merge of tokens that do not exist.
  static Result<ByteLevelBpe> Build(const BpeModel& model);

  ByteLevelBpe(ByteLevelBpe&&) = default;
  ByteLevelBpe& operator=(ByteLevelBpe&&) = default;

  // Appends the ids of `piece`, any bytes of less than 4 GiB. A byte without a token becomes
  // unk_token, or nothing where there is none, as in the tokenizers library.
  void Encode(std::string_view piece, Scratch* scratch, std::vector<std::int32_t>* ids) const;

  // The id whose bytes are exactly `bytes`.
  std::optional<std::int32_t> Find(std::string_view bytes) const;
  // The same by the file's spelling.
  std::optional<std::int32_t> FindText(std::string_view text) const;

  bool Has(std::int32_t id) const;
  // The bytes that `id` stands for; empty where the model has no such id.
  std::string_view BytesOf(std::int32_t id) const;
  // The file's spelling of `id`; empty where the model has no such id.
  std::string TextOf(std::int32_t id) const;

  // One more than the highest id.
  std::int32_t id_end() const { return static_cast<std::int32_t>(rows_.size()); }

 private:
  struct Row {
    std::uint32_t offset = 0;
    std::uint32_t bytes = 0;
    bool present = false;
    bool literal = false;  // spelt with characters outside the alphabet: it matches no text
  };
  struct MergeSlot {
    std::uint64_t pair = kNoPair;
    std::uint32_t rank = 0;
    std::int32_t merged = 0;
  };
  static constexpr std::uint64_t kNoPair = ~std::uint64_t{0};

  ByteLevelBpe() = default;

  Status AddVocab(const BpeModel& model);
  Status AddToken(const BpeModel::Token& token);
  Status AddMerges(const BpeModel& model);
  void InsertMerge(std::int32_t left, std::int32_t right, std::uint32_t rank, std::int32_t merged);
  const MergeSlot* FindMerge(std::int32_t left, std::int32_t right) const;
  void StartSymbols(std::string_view piece, Scratch* scratch) const;
  void RankPair(std::uint32_t left, Scratch* scratch) const;
  void MergePair(std::uint32_t left, Scratch* scratch) const;
  void MergeByScan(Scratch* scratch) const;
  void MergeByHeap(Scratch* scratch) const;

  std::vector<char> arena_;  // the bytes of all tokens
  std::vector<Row> rows_;
  std::unordered_map<std::string_view, std::int32_t> ids_;  // keys lie in arena_
  std::unordered_map<std::string, std::int32_t> literal_ids_;
  std::vector<MergeSlot> merges_;  // open addressing, a power of two
  std::array<std::int32_t, 256> byte_ids_{};
  std::int32_t unk_id_ = -1;
  bool fuse_unk_ = false;
  bool ignore_merges_ = false;
};

}  // namespace esa

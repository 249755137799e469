// Arbitrary bytes as the file of a block: never a crash, never a part served whose checksum in the
// file does not match, or from a file whose head does not.
//
// The first byte of an input says what the others are: bit 0 set: edits of a valid file, of three
// bytes each, a position (u16) and what to flip there, or 0 to cut the file off there; else the
// file itself. Bit 1 set: the checksums of fields and head are made to hold, so that what lies
// behind them is reached.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "store/checksum.h"
#include "store/posix/block_format.h"
#include "store/posix/file_names.h"
#include "store/posix/posix_store.h"
#include "store/testing/store_fixture.h"
#include "store/testing/volatile_files.h"

namespace esa::testing {
namespace {

constexpr char kPath[] = "/store";
constexpr BlockLayout kLayout{
    .block_tokens = 5, .num_slices = 2, .slice_bytes = 4096, .representation_bytes = 24};

using Bytes = std::vector<std::byte>;

struct Part {
  std::uint32_t name;
  std::uint64_t begin;  // in the file
  std::uint64_t bytes;
};

// One store and one disk for all inputs, which makes an input cost microseconds.
class Target {
 public:
  Target() : files_(disk_.Files()) {
    StoreConfig config;
    config.storage_backends = {kPath};
    config.io_threads = 1;
    config.pack_below_bytes = 0;
    auto store = CreatePosixStoreOn(disk_.Files(), config, kLayout);
    ESA_CHECK(store.ok());
    store_ = *std::move(store);
    ESA_CHECK(DumpAll(*store_, block_).failures.empty());
    valid_ = disk_.Content(path_);
    ESA_CHECK(valid_.size() == areas_.file_bytes && LoadAll(*store_, block_).ok());
    ESA_CHECK(store_->Remove(block_.id()).ok());
  }

  void Run(std::span<const std::byte> input) {
    const Bytes content = MakeContent(input);
    (void)DecodeFields(content);
    const bool sound = content.size() == areas_.file_bytes &&
                       DecodeHead(content, kLayout, block_.id(), nullptr).ok();
    if (sound) {
      ESA_CHECK(Sum(content, 0, areas_.head_sum) == Get(content, areas_.head_sum));
      // Magic, version, layout and id are those of the valid file.
      ESA_CHECK(std::memcmp(content.data(), valid_.data(), kParentAt) == 0);
    }
    disk_.Put(path_, content);
    const bool hit = Hit(*store_, block_);
    ESA_CHECK(!hit || sound);
    CheckServed(content, sound);
    (void)store_->Remove(block_.id());
    // Else the disk would remember every name that came and went.
    for (const std::string& folder : {FanOutPath(kPath, block_.id()), kPath + quarantine_}) {
      ESA_CHECK(files_->SyncFolder(folder).ok());
    }
  }

 private:
  static std::uint64_t Get(const Bytes& content, std::uint64_t at) {
    std::uint64_t value;
    std::memcpy(&value, content.data() + at, sizeof(value));
    return value;
  }

  static std::uint64_t Sum(const Bytes& content, std::uint64_t begin, std::uint64_t bytes) {
    return Checksum(std::span(content).subspan(begin, bytes));
  }

  Bytes MakeContent(std::span<const std::byte> input) const {
    if (input.empty()) return {};
    const auto mode = std::to_integer<unsigned>(input[0]);
    input = input.subspan(1);
    Bytes content = (mode & 1) == 0 ? Bytes(input.begin(), input.end()) : Edited(input);
    if ((mode & 2) != 0 && content.size() >= areas_.head_bytes()) {
      for (const std::uint64_t at : {std::uint64_t{kFieldsSumAt}, areas_.head_sum}) {
        const std::uint64_t sum = Sum(content, 0, at);
        std::memcpy(content.data() + at, &sum, sizeof(sum));
      }
    }
    return content;
  }

  Bytes Edited(std::span<const std::byte> edits) const {
    Bytes content = valid_;
    for (; edits.size() >= 3 && !content.empty(); edits = edits.subspan(3)) {
      const std::size_t at =
          (std::to_integer<std::size_t>(edits[0]) + 256 * std::to_integer<std::size_t>(edits[1])) %
          content.size();
      if (edits[2] == std::byte{0}) {
        content.resize(at);
      } else {
        content[at] ^= edits[2];
      }
    }
    return content;
  }

  // The checksum that the file gives for a part; tokens are covered by the head's.
  std::uint64_t ExpectedSum(const Bytes& content, const Part& part) const {
    if (part.name == kTokens) return Sum(content, part.begin, part.bytes);
    if (part.name == kRepresentations) return Get(content, kRepresentationsSumAt);
    return Get(content, areas_.sums + sizeof(std::uint64_t) * part.name);
  }

  void CheckServed(const Bytes& content, bool sound) {
    std::vector<SliceRead> reads;
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      reads.push_back({block_.id(), parts_[i].name, buffer_.get() + i * kLayout.slice_bytes});
    }
    std::array<bool, 4> served{true, true, true, true};
    for (const PartFailure& failure : Finish(*store_, store_->Load(reads)).failures) {
      served[failure.index] = false;
    }
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      if (!served[i]) continue;
      ESA_CHECK(sound);
      const Part& part = parts_[i];
      const std::span<const std::byte> bytes{reads[i].destination, part.bytes};
      ESA_CHECK(std::memcmp(bytes.data(), content.data() + part.begin, part.bytes) == 0);
      ESA_CHECK(Checksum(bytes) == ExpectedSum(content, part));
    }
  }

  const BlockAreas areas_{kLayout};
  const SampleBlock block_{1, kLayout};
  const std::string path_ = BlockPath(kPath, block_.id());
  const std::string quarantine_ = std::string("/") + kQuarantineName;
  const std::array<Part, 4> parts_{
      {{0, areas_.slices, kLayout.slice_bytes},
       {1, areas_.slices + kLayout.slice_bytes, kLayout.slice_bytes},
       {kRepresentations, areas_.representations, areas_.representations_bytes},
       {kTokens, kTokensAt, kLayout.block_tokens * 4}}};
  const AlignedBuffer buffer_ = MakeAligned(parts_.size() * kLayout.slice_bytes);
  VolatileDisk disk_;
  const std::unique_ptr<FileSystem> files_;
  std::unique_ptr<BlockStore> store_;
  Bytes valid_;
};

}  // namespace
}  // namespace esa::testing

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static esa::testing::Target target;
  target.Run(std::as_bytes(std::span(data, size)));
  return 0;
}

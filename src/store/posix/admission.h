// Which of the blocks that a folder is offered it takes: spares an SSD writes that would not pay.
//
// Second touch: a block is taken when it was offered before. Ids that were offered are remembered
// as 32-bit fingerprints, the last 65,536 or so, across restarts in `FOLDER/ghosts` (256 KiB,
// written when the folder closes; of several processes the last wins).
// Writes of a day: bytes taken since midnight UTC, of all processes together, in `FOLDER/writes`.
// Clocks that differ by a day at most do not give a day twice. What is begun is counted, written or
// not.
// Both are best effort: a file that is damaged or cannot be locked starts from nothing.
// Threading: all methods from any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "esa/block_store.h"
#include "store/posix/file_system.h"

namespace esa {

inline constexpr char kGhostsName[] = "ghosts";
inline constexpr char kWritesName[] = "writes";

class AdmissionPolicy {
 public:
  struct Options {
    std::string path;  // of the folder
    bool second_touch = false;
    std::uint64_t write_bytes_per_day = 0;          // 0: not bounded
    std::function<std::int64_t()> day_of_now = {};  // days since 1970; empty: the system's clock
  };

  // `files` must outlive this; the folder exists.
  AdmissionPolicy(FileSystem& files, Options options);
  ~AdmissionPolicy() { Save(); }
  AdmissionPolicy(const AdmissionPolicy&) = delete;
  AdmissionPolicy& operator=(const AdmissionPolicy&) = delete;

  // Is a block of so many bytes to be written? kRequired: always, and counted all the same.
  bool Admit(const BlockId& id, std::uint64_t bytes, Admission admission);

  void Save();  // what is remembered, if it has changed

 private:
  static constexpr std::size_t kWays = 4;
  static constexpr std::size_t kSets = 16384;

  void Load();
  bool OfferedBefore(const BlockId& id);  // remembers it
  bool TakeFromDay(std::uint64_t bytes, bool required);

  FileSystem& files_;
  const Options options_;
  std::mutex mutex_;
  // [kSets, kWays], the most recent of a set first; 0: none. Empty without second touch.
  std::vector<std::uint32_t> ghosts_;  // guarded by mutex_
  bool changed_ = false;               // guarded by mutex_
};

}  // namespace esa

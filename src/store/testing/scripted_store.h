// A store for tests of stacks: another store, with calls counted, held up, and failed on demand.
//
// The test keeps the Script, the stack owns the ScriptedStore. Thread-safe.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "esa/block_store.h"

namespace esa::testing {

// What goes wrong from now on, and what was asked. Shared by the test and the store it made.
class Script {
 public:
  // While it hangs, tasks are taken and get nowhere, not even by Cancel, and the store's
  // destructor does not return.
  void Hang();
  void LetGo();

  void FailDumps(std::optional<Error> error);  // of parts; nullopt: none
  void FailLoads(std::optional<Error> error);
  void RefuseOptional();  // blocks of Admission::kOptional, from now on

  std::uint64_t reads(const BlockId& id, std::uint32_t part) const;  // of Load
  std::uint64_t writes(const BlockId& id) const;                     // parts of Dump
  std::uint64_t loads() const;                                       // tasks

  // Returns when the store has been asked for this many Loads or Dumps since the last Hang.
  // False: not within two minutes.
  bool WaitForTasks(std::uint64_t tasks) const;
  bool WaitForEnd() const;  // of the store

 private:
  friend class ScriptedStore;

  mutable std::mutex mutex_;  // guards all below
  mutable std::condition_variable changed_;
  bool hangs_ = false;
  bool ended_ = false;
  bool refuses_ = false;
  std::optional<Error> dump_error_;
  std::optional<Error> load_error_;
  std::map<std::pair<BlockId, std::uint32_t>, std::uint64_t> reads_;
  std::map<BlockId, std::uint64_t> writes_;
  std::uint64_t loads_ = 0;
  std::uint64_t tasks_ = 0;
};

std::unique_ptr<BlockStore> MakeScriptedStore(std::shared_ptr<Script> script,
                                              std::unique_ptr<BlockStore> inner);

}  // namespace esa::testing

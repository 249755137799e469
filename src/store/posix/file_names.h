// Names of files in a store's folder.
//
//   FOLDER/<2 hex>/<32 hex>.block            a committed block, below its id's first byte
//   FOLDER/<2 hex>/<32 hex>.<owner>.<n>.tmp  a block being written by <owner>
//   FOLDER/<owner>.owner                     locked for as long as <owner> lives
//   FOLDER/<owner>.probe                     whether O_DIRECT works, while <owner> opens
//   FOLDER/<owner>.pins                      the blocks that <owner> has pinned
//   FOLDER/lock                              locked while a store opens
//   FOLDER/ledger                            bytes held by all stores; locked while one evicts
//   FOLDER/ghosts, FOLDER/writes             admission.h
//   FOLDER/quarantine/<32 hex>.block         blocks found corrupt
//
// <owner> is PID-RANDOM: one open store of one process.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "esa/block_store.h"

namespace esa {

inline constexpr char kLockName[] = "lock";
inline constexpr char kQuarantineName[] = "quarantine";

std::string MakeOwner();

std::string FanOutPath(const std::string& folder, const BlockId& id);
std::string BlockPath(const std::string& folder, const BlockId& id);
std::string QuarantinePath(const std::string& folder, const BlockId& id);
std::string TemporaryPath(const std::string& folder, const BlockId& id, const std::string& owner,
                          std::uint64_t number);
std::string OwnerPath(const std::string& folder, const std::string& owner);
std::string ProbePath(const std::string& folder, const std::string& owner);
std::string PinsPath(const std::string& folder, const std::string& owner);
std::string LedgerPath(const std::string& folder);

// What a name in a folder is; nullopt: not that.
bool IsFanOutName(const std::string& name);
std::optional<BlockId> ParseBlockName(const std::string& name);
std::optional<std::string> OwnerOfTemporary(const std::string& name);
std::optional<std::string> OwnerOfOwnerName(const std::string& name);
std::optional<std::string> OwnerOfProbeName(const std::string& name);
std::optional<std::string> OwnerOfPinsName(const std::string& name);

}  // namespace esa

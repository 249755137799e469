// The subcommands of `esa store`, and what they share: the folders they look at, how they print.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/command.h"
#include "esa/block_store.h"
#include "store/store_inspect.h"

namespace esa::cli {

using OrderedJson = nlohmann::ordered_json;

void AddStoreListCommand(CLI::App* store, Action* action);
void AddStoreStatCommand(CLI::App* store, Action* action);
void AddStoreVerifyCommand(CLI::App* store, Action* action);
void AddStoreCollectCommand(CLI::App* store, Action* action);
void AddStoreRemoveCommand(CLI::App* store, Action* action);

struct StoreFlags {
  std::vector<std::string> folders;
  bool json = false;
  bool allow_shared_folder = false;

  void AddTo(CLI::App* command);        // --store, --json
  void AddSharedTo(CLI::App* command);  // --allow-shared-folder, of what changes a folder
};

OrderedJson ToJson(const BlockLayout& layout);
void PrintJson(const OrderedJson& json);

// "12 blocks (3.00 GiB)", of whatever `what` names.
std::string Amount(const StoreSummary::Files& files, const std::string& what);

std::int64_t NowUs();                                     // since 1970
std::string LocalTime(std::int64_t us);                   // "2025-01-31 23:59:59"
std::string Age(std::int64_t used_us, std::int64_t now);  // "42s", "3h05m", "12d"

// "90s", "30m", "12h", "7d", "2w": seconds. Error: says what was expected.
Result<std::int64_t> ParseDuration(const std::string& text);
CLI::Validator Duration();

}  // namespace esa::cli

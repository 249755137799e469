#include <fmt/chrono.h>
#include <fmt/format.h>

#include <charconv>
#include <chrono>

#include "base/progress.h"
#include "cli/store_commands.h"
#include "eval/cost.h"

namespace esa::cli {

void StoreFlags::AddTo(CLI::App* command) {
  command->add_option("--store", folders, "Folder of the posix store; may be repeated")
      ->type_name("DIR")
      ->allow_extra_args(false)
      ->envname("DATA_DIR")
      ->required();
  command->add_flag("--json", json, "One JSON object on stdout");
}

void StoreFlags::AddSharedTo(CLI::App* command) {
  command->add_flag("--allow-shared-folder", allow_shared_folder,
                    "Take a folder that others may write to or own");
}

OrderedJson ToJson(const BlockLayout& layout) {
  return {{"block_tokens", layout.block_tokens},
          {"num_slices", layout.num_slices},
          {"slice_bytes", layout.slice_bytes},
          {"representation_bytes", layout.representation_bytes}};
}

// Names of folders may be any bytes.
void PrintJson(const OrderedJson& json) {
  fmt::print("{}\n", json.dump(1, ' ', false, OrderedJson::error_handler_t::replace));
}

std::string Amount(const StoreSummary::Files& files, const std::string& what) {
  return fmt::format("{} {}{} ({})", files.count, what, files.count == 1 ? "" : "s",
                     ShortBytes(static_cast<double>(files.bytes)));
}

std::int64_t NowUs() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(now).count();
}

std::string LocalTime(std::int64_t us) {
  return fmt::format("{:%Y-%m-%d %H:%M:%S}",
                     fmt::localtime(static_cast<std::time_t>(us / 1'000'000)));
}

std::string Age(std::int64_t used_us, std::int64_t now) {
  constexpr double kDay = 86400;
  const double seconds = static_cast<double>(now - used_us) / 1e6;
  return seconds < 2 * kDay ? ShortDuration(seconds) : fmt::format("{:.0f}d", seconds / kDay);
}

Result<std::int64_t> ParseDuration(const std::string& text) {
  constexpr std::int64_t kMost = 1'000'000;
  std::int64_t count = 0;
  const char* const end = text.data() + text.size();
  const auto [unit, error] = std::from_chars(text.data(), end, count);
  if (error == std::errc() && count >= 0 && count <= kMost && end - unit == 1) {
    switch (*unit) {
      case 's':
        return count;
      case 'm':
        return count * 60;
      case 'h':
        return count * 3600;
      case 'd':
        return count * 86400;
      case 'w':
        return count * 7 * 86400;
      default:
        break;
    }
  }
  return InvalidArgument(fmt::format(
      "\"{}\" is no duration: expected a whole number and s, m, h, d or w, such as 12h", text));
}

CLI::Validator Duration() {
  return CLI::Validator(
      [](std::string& text) {
        const auto seconds = ParseDuration(text);
        return seconds ? std::string() : seconds.error().message;
      },
      "DURATION");
}

void AddStoreCommand(CLI::App* app, Action* action) {
  CLI::App* store = app->add_subcommand("store", "Look after folders with stored KV blocks");
  store->require_subcommand(1);
  AddStoreListCommand(store, action);
  AddStoreStatCommand(store, action);
  AddStoreVerifyCommand(store, action);
  AddStoreCollectCommand(store, action);
  AddStoreRemoveCommand(store, action);
  AddStoreBenchCommand(store, action);
  store->footer(
      "All of them may run while the folders are in use.\n\n"
      "Examples:\n"
      "  esa store stat --store /ssd/kv\n"
      "  esa store ls --store /ssd/kv --limit 20\n"
      "  esa store verify --store /ssd/kv\n"
      "  esa store gc --store /ssd/kv --older-than 7d --capacity 200GB\n"
      "  esa store rm --store /ssd/kv 1f3a --chain");
}

}  // namespace esa::cli

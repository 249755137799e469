#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/progress.h"
#include "base/status_macros.h"
#include "cli/bench/engine_bench.h"
#include "cli/command.h"
#include "cli/engine_flags.h"
#include "esa/sparse_attention.h"
#include "eval/cost.h"

namespace esa::cli {
namespace {

using OrderedJson = nlohmann::ordered_json;

struct BenchOptions {
  std::string model;
  std::vector<std::int64_t> depths = {0};
  std::vector<std::string> sparse = {"dense", "ESA"};
  std::string sparse_config;
  std::vector<std::string> weights = {"stored"};
  std::string kv_dtype = "bf16";
  std::string kv_memory;
  std::string folder;
  std::int64_t prompt = 512;
  std::int64_t decode = 32;
  int batch = 1;
  int block_tokens = 128;
  int rounds = 5;
  int threads = 0;
  int retrieval_threads = 1;
  std::string prefill = "dense";
  double prefill_ratio = PrefillConfig().ratio;
  bool pin_threads = false;
  bool fake_kv = false;
  bool io_direct = false;
  bool json = false;
};

Result<EngineBenchConfig> ToConfig(const BenchOptions& options) {
  EngineBenchConfig config{.engine = {},
                           .depths = options.depths,
                           .algorithms = {},
                           .weights = {},
                           .prefill_tokens = options.prompt,
                           .decode_tokens = options.decode,
                           .batch = options.batch,
                           .rounds = options.rounds,
                           .fake_kv = options.fake_kv,
                           .given_memory = !options.kv_memory.empty()};
  EngineConfig& engine = config.engine;
  ESA_RETURN_IF_ERROR(ReadEnvironment(&engine));
  if (!options.model.empty()) engine.model_dir = options.model;
  if (engine.model_dir.empty()) return InvalidArgument("no model: give --model DIR or MODEL_PATH");
  engine.store = {};
  engine.store.io_direct = options.io_direct;
  engine.block_tokens = options.block_tokens;
  engine.prefill_chunk_tokens =
      std::max(engine.prefill_chunk_tokens / options.block_tokens, 1) * options.block_tokens;
  engine.kv_dtype = *KvDtypeOf(options.kv_dtype);
  engine.prefill = {.attention = *PrefillAttentionOf(options.prefill),
                    .ratio = options.prefill_ratio};
  engine.threads = options.threads;
  engine.pin_threads = options.pin_threads;
  engine.retrieval_threads = options.retrieval_threads;
  if (config.given_memory) {
    ESA_ASSIGN_OR_RETURN(engine.kv_memory_bytes, ParseBytes(options.kv_memory));
  }
  for (const std::string& name : options.weights) {
    config.weights.push_back(*WeightTypeOf(name));
  }
  for (const std::int64_t depth : options.depths) {
    if (depth % options.block_tokens == 0) continue;
    return InvalidArgument(fmt::format("--depths: {} is not a multiple of --block-tokens ({})",
                                       depth, options.block_tokens));
  }
  Options given;
  if (!options.sparse_config.empty()) {
    ESA_ASSIGN_OR_RETURN(given, ParseOptions(options.sparse_config));
  }
  for (const std::string& name : options.sparse) {
    const SparseConfig sparse = {.name = name, .options = name == "dense" ? Options() : given};
    if (auto made = CreateSparseAttention(sparse.name, sparse.options); !made) return made.error();
    config.algorithms.push_back(sparse);
  }
  return config;
}

const std::string& WeightName(const EngineBenchRow& row) {
  return WeightTypeNames()[static_cast<std::size_t>(row.weights)];
}

double PrefillPart(const EngineBenchResult& result, const EngineBenchRow& row) {
  const double tokens = row.prefill_tokens_per_second;
  const double peak = std::max(result.ceilings.f32_operations, result.ceilings.bf16_operations);
  if (row.prefill_tokens == 0 || peak == 0) return 0;
  return row.prefill_operations / static_cast<double>(row.prefill_tokens) * tokens / peak;
}

double DecodePart(const EngineBenchConfig& config, const EngineBenchResult& result,
                  const EngineBenchRow& row) {
  const double steps = row.decode_tokens_per_second / config.batch;
  return row.decode_bytes * steps / result.ceilings.read_bytes;
}

OrderedJson ToJson(const EngineBenchConfig& config, const EngineBenchResult& result) {
  const MachineCeilings& c = result.ceilings;
  OrderedJson json = {
      {"model", config.engine.model_dir},
      {"threads", c.threads},
      {"rounds", config.rounds},
      {"batch", config.batch},
      {"fake_kv", config.fake_kv},
      {"block_tokens", config.engine.block_tokens},
      {"kv_dtype", KvDtypeNames()[static_cast<std::size_t>(config.engine.kv_dtype)]},
      {"prefill",
       PrefillAttentionNames()[static_cast<std::size_t>(config.engine.prefill.attention)]},
      {"prefill_ratio", config.engine.prefill.ratio},
      {"kv_bytes_per_token", result.kv_bytes_per_token},
      {"ceilings",
       {{"read_bytes_per_second", c.read_bytes},
        {"read_bytes_per_second_one_thread", c.read_bytes_one_thread},
        {"f32_operations_per_second", c.f32_operations},
        {"f32_operations_per_second_one_thread", c.f32_operations_one_thread},
        {"bf16_operations_per_second", c.bf16_operations}}},
      {"rows", OrderedJson::array()}};
  for (const EngineBenchRow& row : result.rows) {
    json["rows"].push_back({{"depth", row.depth},
                            {"weights", WeightName(row)},
                            {"weight_bytes", row.weight_bytes},
                            {"sparse", row.algorithm},
                            {"kv_memory_bytes", row.kv_memory_bytes},
                            {"prefill_tokens_per_second", row.prefill_tokens_per_second},
                            {"prefill_tokens", row.prefill_tokens},
                            {"prefill_operations", row.prefill_operations},
                            {"prefill_of_ceiling", PrefillPart(result, row)},
                            {"decode_tokens_per_second", row.decode_tokens_per_second},
                            {"decode_bytes_per_step", row.decode_bytes},
                            {"attended_bytes_per_step", row.attended_bytes},
                            {"decode_of_ceiling", DecodePart(config, result, row)},
                            {"loaded_bytes_per_step", row.loaded_bytes},
                            {"stall", row.stall},
                            {"load_copy", row.load_copy}});
  }
  return json;
}

void PrintTable(const EngineBenchConfig& config, const EngineBenchResult& result) {
  fmt::print("{}: {} of KV a token; medians of {} rounds\n{}\n", config.engine.model_dir,
             ShortBytes(static_cast<double>(result.kv_bytes_per_token)), config.rounds,
             CeilingsText(result.ceilings));
  fmt::print("{:>8} {:<7} {:<10}{:>12}{:>11}{:>12}{:>10}{:>12}{:>12}{:>12}{:>8}{:>8}\n", "depth",
             "weights", "attention", "prefill t/s", "of peak", "decode t/s", "of read",
             "step reads", "of it KV", "loaded", "stall", "copy");
  for (const EngineBenchRow& row : result.rows) {
    fmt::print(
        "{:>8} {:<7} "
        "{:<10}{:>12.1f}{:>10.0f}%{:>12.2f}{:>9.0f}%{:>12}{:>12}{:>12}{:>7.1f}%{:>7.1f}%\n",
        row.depth, WeightName(row), row.algorithm, row.prefill_tokens_per_second,
        100 * PrefillPart(result, row), row.decode_tokens_per_second,
        100 * DecodePart(config, result, row), ShortBytes(row.decode_bytes),
        ShortBytes(row.attended_bytes), ShortBytes(row.loaded_bytes), 100 * row.stall,
        100 * row.load_copy);
  }
}

int RunBench(const BenchOptions& options) {
  if (!options.folder.empty()) setenv("TMPDIR", options.folder.c_str(), 1);
  const auto config = ToConfig(options);
  if (!config) return Fail(config.error(), kUsage);
  Progress bar("bench", !options.json);
  const auto result = RunEngineBench(
      *config, [&](double fraction, const std::string& what) { bar.Update(fraction, what); });
  bar.Clear();
  if (!result) return Fail(result.error());
  if (options.json) {
    fmt::print("{}\n", ToJson(*config, *result).dump(1));
  } else {
    PrintTable(*config, *result);
  }
  return kDone;
}

}  // namespace

void AddBenchCommand(CLI::App* app, Action* action) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App* command = app->add_subcommand(
      "bench", "Prefill and decode speed at given depths, beside the machine's");
  command->add_option("--model", options->model, "Folder of the model; weights may be random")
      ->type_name("DIR");
  command->add_option("--depths", options->depths, "Tokens of context before what is measured")
      ->delimiter(',')
      ->type_name("N,...")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 30))
      ->capture_default_str();
  command->add_option("--sparse", options->sparse, "Attention algorithms, measured in turn")
      ->delimiter(',')
      ->type_name("NAME,...")
      ->capture_default_str();
  command->add_option("--sparse-config", options->sparse_config, "Options of all but dense")
      ->type_name("JSON");
  const auto number = [&](const char* flag, auto* value, const char* what, auto least, auto most) {
    command->add_option(flag, *value, what)
        ->type_name("N")
        ->check(CLI::Range(least, most))
        ->capture_default_str();
  };
  constexpr std::int64_t kMostTokens = 1 << 24;
  number("--prompt", &options->prompt, "Tokens to prefill; 0: none", std::int64_t{0}, kMostTokens);
  number("--decode", &options->decode, "Tokens to decode; 0: none", std::int64_t{0}, kMostTokens);
  number("--batch", &options->batch, "Sequences that are decoded together, each with the context",
         1, 256);
  number("--rounds", &options->rounds, "Of which medians are taken", 1, 1000);
  number("--block-tokens", &options->block_tokens, "Tokens of a block", 2, 4096);
  number("--threads", &options->threads, "Threads for compute; 0: all cores", 0, 4096);
  command->add_flag("--pin-threads", options->pin_threads,
                    "Each compute thread on a core of its own");
  number("--retrieval-threads", &options->retrieval_threads, "Threads for retrieval", 1, 256);
  command->add_option("--weights", options->weights, "Kept as: stored, int8, int4")
      ->delimiter(',')
      ->type_name("TYPE,...")
      ->check(CLI::IsMember(WeightTypeNames()))
      ->capture_default_str();
  command->add_option("--kv-dtype", options->kv_dtype, "Number format of KV: bf16, f32 or int8")
      ->check(CLI::IsMember(KvDtypeNames()))
      ->capture_default_str();
  command->add_option("--prefill", options->prefill, "What a prompt attends to: dense or sparse")
      ->check(CLI::IsMember(PrefillAttentionNames()))
      ->capture_default_str();
  command
      ->add_option("--prefill-ratio", options->prefill_ratio,
                   "Of sparse prefill: share of the distant blocks that is attended")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command
      ->add_option("--kv-memory", options->kv_memory,
                   "Budget of KV in memory; default: what an algorithm says it needs")
      ->check(Size());
  command->add_flag("--fake-kv", options->fake_kv,
                    "Make up the context's KV; default: compute it, which takes long");
  command->add_option("--dir", options->folder, "On the disk to load from; default: TMPDIR")
      ->type_name("DIR");
  command->add_flag("--io-direct", options->io_direct, "Go around the page cache");
  command->add_flag("--json", options->json, "JSON on stdout");
  command->footer(
      "\"of peak\" and \"of read\" are parts of the arithmetic and of the reading of memory that\n"
      "were measured at the start. A step has to read the weights and the KV it attends to.\n\n"
      "Example:\n"
      "  esa bench --model DIR --depths 0,4096,32768 --sparse dense,ESA --fake-kv");
  OnCall(command, action, options, &RunBench);
}

}  // namespace esa::cli

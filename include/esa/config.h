// Everything a user may set, and how it is read from JSON, YAML and the environment.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "esa/options.h"
#include "esa/result.h"

namespace esa {

// Of keys and values, in memory and on disk. kInt8: with a scale for each token and KV head.
enum class KvDtype { kBf16, kF32, kInt8 };

// kStored: as the checkpoint has them. kInt8, kInt4: made of them on load, in groups of 32 with a
// scale each; with kInt4 the embedding and the head are int8.
enum class WeightType { kStored, kInt8, kInt4 };

struct WeightConfig {
  WeightType type = WeightType::kStored;
  // Leave stored weights in their file, shared with other processes, where the memory's pages are
  // small; else they are copied to huge ones. Always so where they would fill more than half of the
  // memory that is free.
  bool map = false;
};

// What a committed block survives: a kill of the process always, a loss of power only with kCommit.
enum class Durability { kNone, kCommit };

// kUring: io_uring, or threads where the kernel refuses it. kThreads: pread and pwrite.
enum class IoEngine { kUring, kThreads };

// Where KV blocks are kept beyond fast memory.
struct StoreConfig {
  // A name of BlockStoreNames(), or several with | between them, the nearest first: a stack.
  std::string backend = "posix";
  std::vector<std::string> storage_backends = {};  // folders; blocks are spread over them by id
  std::uint64_t capacity_bytes = 0;       // of each folder, or of memory alone; 0: not bounded
  std::uint64_t memory_bytes = 1u << 30;  // of `memory` as the nearer tier of a stack
  // redis://[[user]:password@]host[:port][/database], or redis+unix://[[user]:password@]/path
  std::string redis_url = {};

  Durability durability = Durability::kNone;
  bool second_touch = false;              // admit a block only when it is offered again
  std::uint64_t write_bytes_per_day = 0;  // of each folder; 0: not bounded
  bool allow_shared_folder = false;       // a folder that others may write to
  std::string encryption_key_file = {};   // 32 bytes, or 64 hexadecimal digits; else ESA_STORE_KEY

  // Blocks whose file would be shorter share files, which saves its making; 0: never. Ignored in
  // folders on other machines.
  std::uint64_t pack_below_bytes = 4u << 20;

  IoEngine io_engine = IoEngine::kUring;
  bool io_direct = false;  // O_DIRECT where the filesystem can
  int io_threads = 2;
  int io_depth = 32;                       // requests to the disk under way, of each thread
  std::uint64_t queue_bytes = 256u << 20;  // of dumps under way, before Dump blocks
  bool verify_checksums = true;            // of loads; off only to measure what they cost
  int timeout_ms = 30000;                  // of one task, as the engine waits for it
};

struct SparseConfig {
  std::string name = "ESA";  // a name of SparseAttentionNames()
  Options options = {};
};

// What a prompt's queries attend to.
enum class PrefillAttention {
  kDense,   // all tokens before them
  kSparse,  // the first block, those near them, and a share of the others: docs/algorithms.md
};

struct PrefillConfig {
  PrefillAttention attention = PrefillAttention::kDense;
  double ratio = 0.25;  // of those others, 0 to 1; of kSparse
};

// What follows when an audit finds that a layer missed more than the threshold.
enum class AuditAction {
  kReport,  // nothing
  kWiden,   // the algorithm spends more for this sequence; dense where it cannot
  kDense,   // the sequence is decoded densely from then on
};

// Measures while decoding what selections miss.
struct AuditConfig {
  int every = 0;         // steps between audits; 0: none
  double threshold = 0;  // share of softmax weight, mean over a layer's heads; 0: none
  AuditAction action = AuditAction::kReport;
};

struct EngineConfig {
  std::string model_dir = {};
  WeightConfig weights = {};
  std::uint64_t kv_memory_bytes = 4ull << 30;  // budget of the working set
  int block_tokens = 128;
  KvDtype kv_dtype = KvDtype::kBf16;
  PrefillConfig prefill = {};
  int prefill_chunk_tokens = 512;  // a multiple of block_tokens
  int threads = 0;                 // 0: all cores
  bool pin_threads = false;        // each compute thread on a core of its own
  int retrieval_threads = 1;
  SparseConfig sparse = {};
  std::vector<std::string> plugins = {};  // files that LLM::Open loads: esa/plugin.h
  AuditConfig audit = {};
  // Without storage_backends a folder of its own under the temporary directory takes what does
  // not fit in memory, and is removed at the end: nothing survives a restart.
  StoreConfig store = {};
  std::string tenant = {};  // salt of the block ids: one tenant cannot find another's blocks
};

// Reads a configuration file, JSON or YAML by its ending (.json, .yaml, .yml), over `config`. The
// names are those that users of UCM know: ucm_connector_name, ucm_connector_config,
// ucm_sparse_config, also inside kv_connector_extra_config, and the fields of EngineConfig. An
// unknown key is an error that names it.
Status ReadConfigFile(const std::string& path, EngineConfig* config);

// ENABLE_SPARSE, MODEL_PATH, DATA_DIR.
Status ReadEnvironment(EngineConfig* config);

// "512MiB", "2 GB", "1.5GiB", "4096". Units: B, KB/MB/GB/TB (powers of 1000), KiB/... (of 1024).
Result<std::uint64_t> ParseBytes(const std::string& text);

}  // namespace esa

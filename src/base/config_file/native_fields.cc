#include <fmt/format.h>

#include <initializer_list>
#include <string>
#include <utility>

#include "base/config_file/fields.h"

namespace esa {
namespace {

// One of a few names.
template <class Value>
void ReadChoice(ObjectReader* reader, const char* key,
                std::initializer_list<std::pair<const char*, Value>> choices, Value* out) {
  std::string name;
  std::string expected;
  reader->Text(key, &name);
  for (const auto& [known, value] : choices) {
    expected += (expected.empty() ? "" : " or ") + std::string(known);
    if (name != known) continue;
    *out = value;
    return;
  }
  if (reader->Has(key)) {
    reader->Fail(fmt::format("{}: found \"{}\", expected {}", key, name, expected));
  }
}

Status ReadSparse(const std::string& where, const nlohmann::json& object, SparseConfig* sparse) {
  ObjectReader reader(where, object);
  const std::string former = sparse->name;
  reader.Text("name", &sparse->name);
  if (sparse->name != former) sparse->options.clear();
  reader.Values("options", &sparse->options);
  return reader.Finish();
}

Status ReadStore(const std::string& where, const nlohmann::json& object, StoreConfig* store) {
  ObjectReader reader(where, object);
  reader.Text("backend", &store->backend);
  reader.Folders("storage_backends", &store->storage_backends);
  reader.Bytes("capacity", &store->capacity_bytes);
  reader.Bytes("memory", &store->memory_bytes);
  reader.Text("redis_url", &store->redis_url);
  ReadChoice<Durability>(&reader, "durability",
                         {{"none", Durability::kNone}, {"commit", Durability::kCommit}},
                         &store->durability);
  reader.Bool("second_touch", &store->second_touch);
  reader.Bytes("write_bytes_per_day", &store->write_bytes_per_day);
  reader.Bool("allow_shared_folder", &store->allow_shared_folder);
  reader.Text("encryption_key_file", &store->encryption_key_file);
  reader.Bytes("pack_below", &store->pack_below_bytes);
  ReadChoice<IoEngine>(&reader, "io_engine",
                       {{"uring", IoEngine::kUring}, {"threads", IoEngine::kThreads}},
                       &store->io_engine);
  reader.Bool("io_direct", &store->io_direct);
  reader.Int("io_threads", 1, 256, &store->io_threads);
  reader.Int("io_depth", 1, 4096, &store->io_depth);
  reader.Bytes("queue", &store->queue_bytes);
  reader.Int("timeout_ms", 1, 86'400'000, &store->timeout_ms);
  return reader.Finish();
}

Status ReadAudit(const std::string& where, const nlohmann::json& object, AuditConfig* audit) {
  ObjectReader reader(where, object);
  reader.Int("every", 0, 1 << 30, &audit->every);
  reader.Share("threshold", &audit->threshold);
  ReadChoice<AuditAction>(&reader, "action",
                          {{"report", AuditAction::kReport},
                           {"widen", AuditAction::kWiden},
                           {"dense", AuditAction::kDense}},
                          &audit->action);
  return reader.Finish();
}

Status ReadPrefill(const std::string& where, const nlohmann::json& object, PrefillConfig* prefill) {
  ObjectReader reader(where, object);
  ReadChoice<PrefillAttention>(
      &reader, "attention",
      {{"dense", PrefillAttention::kDense}, {"sparse", PrefillAttention::kSparse}},
      &prefill->attention);
  reader.Share("ratio", &prefill->ratio);
  return reader.Finish();
}

}  // namespace

void ReadNativeFields(ObjectReader* reader, EngineConfig* config) {
  reader->Text("model", &config->model_dir);
  ReadChoice<WeightType>(
      reader, "weights",
      {{"stored", WeightType::kStored}, {"int8", WeightType::kInt8}, {"int4", WeightType::kInt4}},
      &config->weights.type);
  reader->Bool("map_weights", &config->weights.map);
  reader->Bytes("kv_memory", &config->kv_memory_bytes);
  reader->Int("block_tokens", 2, 4096, &config->block_tokens);
  ReadChoice<KvDtype>(reader, "kv_dtype",
                      {{"bf16", KvDtype::kBf16}, {"f32", KvDtype::kF32}, {"int8", KvDtype::kInt8}},
                      &config->kv_dtype);
  if (const nlohmann::json* prefill = reader->Object("prefill")) {
    const Status status = ReadPrefill(reader->Below("prefill"), *prefill, &config->prefill);
    if (!status) reader->Adopt(status.error());
  }
  reader->Int("prefill_chunk_tokens", 1, 1 << 20, &config->prefill_chunk_tokens);
  reader->Int("threads", 0, 4096, &config->threads);
  reader->Bool("pin_threads", &config->pin_threads);
  reader->Int("retrieval_threads", 1, 256, &config->retrieval_threads);
  reader->Text("tenant", &config->tenant);
  if (const nlohmann::json* sparse = reader->Object("sparse")) {
    const Status status = ReadSparse(reader->Below("sparse"), *sparse, &config->sparse);
    if (!status) reader->Adopt(status.error());
  }
  reader->Texts("plugins", &config->plugins);
  if (const nlohmann::json* audit = reader->Object("audit")) {
    const Status status = ReadAudit(reader->Below("audit"), *audit, &config->audit);
    if (!status) reader->Adopt(status.error());
  }
  if (const nlohmann::json* store = reader->Object("store")) {
    const Status status = ReadStore(reader->Below("store"), *store, &config->store);
    if (!status) reader->Adopt(status.error());
  }
}

}  // namespace esa

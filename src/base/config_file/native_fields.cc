#include <fmt/format.h>

#include "base/config_file/fields.h"

namespace esa {
namespace {

void ReadKvDtype(ObjectReader* reader, KvDtype* out) {
  std::string name;
  reader->Text("kv_dtype", &name);
  if (name == "bf16") {
    *out = KvDtype::kBf16;
  } else if (name == "f32") {
    *out = KvDtype::kF32;
  } else if (reader->Has("kv_dtype")) {
    reader->Fail(fmt::format("kv_dtype: found \"{}\", expected bf16 or f32", name));
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
  reader.Bool("io_direct", &store->io_direct);
  reader.Int("io_threads", 1, 256, &store->io_threads);
  reader.Int("timeout_ms", 1, 86'400'000, &store->timeout_ms);
  return reader.Finish();
}

}  // namespace

void ReadNativeFields(ObjectReader* reader, EngineConfig* config) {
  reader->Text("model", &config->model_dir);
  reader->Bytes("kv_memory", &config->kv_memory_bytes);
  reader->Int("block_tokens", 1, 65536, &config->block_tokens);
  ReadKvDtype(reader, &config->kv_dtype);
  reader->Int("prefill_chunk_tokens", 1, 1 << 20, &config->prefill_chunk_tokens);
  reader->Int("threads", 0, 4096, &config->threads);
  reader->Int("retrieval_threads", 1, 256, &config->retrieval_threads);
  reader->Text("tenant", &config->tenant);
  if (const nlohmann::json* sparse = reader->Object("sparse")) {
    const Status status = ReadSparse(reader->Below("sparse"), *sparse, &config->sparse);
    if (!status) reader->Adopt(status.error());
  }
  if (const nlohmann::json* store = reader->Object("store")) {
    const Status status = ReadStore(reader->Below("store"), *store, &config->store);
    if (!status) reader->Adopt(status.error());
  }
}

}  // namespace esa

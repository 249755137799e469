#include <fmt/format.h>

#include "base/config_file/fields.h"
#include "base/status_macros.h"

namespace esa {
namespace {

// UcmPipelineStore names its stages from the nearest on; its cache stage is our memory tier.
struct Pipeline {
  const char* name;
  const char* backend;
};
constexpr Pipeline kPipelines[] = {{"Posix", "posix"},
                                   {"Cache|Posix", "memory|posix"},
                                   {"Memory|Posix", "memory|posix"},
                                   {"Memory", "memory"},
                                   {"Cache|Empty", "memory"},
                                   {"Redis", "redis"},
                                   {"Memory|Redis", "memory|redis"}};

void ReadPipeline(ObjectReader* reader, StoreConfig* store) {
  std::string found;
  reader->Text("store_pipeline", &found);
  for (const Pipeline& pipeline : kPipelines) {
    if (found != pipeline.name) continue;
    store->backend = pipeline.backend;
    return;
  }
  std::string expected;
  for (const Pipeline& pipeline : kPipelines) {
    expected += fmt::format("{}{}", expected.empty() ? "" : ", ", pipeline.name);
  }
  reader->Fail(fmt::format("store_pipeline: found \"{}\", expected one of {}", found, expected));
}

Status ReadConnectorConfig(const std::string& where, const nlohmann::json& object, bool pipeline,
                           StoreConfig* store) {
  ObjectReader reader(where, object);
  store->backend = "posix";
  if (pipeline || reader.Has("store_pipeline")) ReadPipeline(&reader, store);
  reader.Folders("storage_backends", &store->storage_backends);
  reader.Bool("io_direct", &store->io_direct);
  reader.Bool("use_direct", &store->io_direct);  // UCM's earlier name
  reader.Int("timeout_ms", 1, 86'400'000, &store->timeout_ms);
  std::uint64_t block_bytes = 0;
  reader.Bytes("kv_block_size", &block_bytes);
  std::uint64_t cache_bytes = 0;
  reader.Gibibytes("cache_buffer_capacity_gb", &cache_bytes);
  std::uint64_t disk_bytes = 0;
  reader.Gibibytes("posix_capacity_gb", &disk_bytes);
  store->capacity_bytes = store->backend == "memory" ? cache_bytes : disk_bytes;
  if (cache_bytes > 0) store->memory_bytes = cache_bytes;
  return reader.Finish();
}

// One connector: its name and its settings, either of them optional.
Status ReadConnector(ObjectReader* reader, StoreConfig* store) {
  std::string name = "UcmNfsStore";
  reader->Text("ucm_connector_name", &name);
  if (name != "UcmNfsStore" && name != "UcmPipelineStore") {
    reader->Fail(fmt::format(
        "ucm_connector_name: found \"{}\", expected UcmNfsStore or UcmPipelineStore", name));
  }
  if (const nlohmann::json* settings = reader->Object("ucm_connector_config")) {
    ESA_RETURN_IF_ERROR(ReadConnectorConfig(reader->Below("ucm_connector_config"), *settings,
                                            name == "UcmPipelineStore", store));
  } else if (name == "UcmPipelineStore") {
    reader->Fail("ucm_connector_config is missing; UcmPipelineStore needs its store_pipeline");
  }
  return {};
}

Status ReadConnectors(ObjectReader* reader, StoreConfig* store) {
  const nlohmann::json* list = reader->List("ucm_connectors");
  if (list == nullptr) return {};
  if (list->size() != 1) {
    reader->Fail(fmt::format("ucm_connectors: found {} entries, expected one", list->size()));
    return {};
  }
  ObjectReader entry(reader->Below("ucm_connectors[0]"), list->front());
  ESA_RETURN_IF_ERROR(ReadConnector(&entry, store));
  return entry.Finish();
}

void ReadSparseConfig(ObjectReader* reader, SparseConfig* sparse) {
  const nlohmann::json* object = reader->Object("ucm_sparse_config");
  if (object == nullptr) return;
  if (object->size() != 1) {
    reader->Fail(
        fmt::format("ucm_sparse_config: found {} algorithms, expected one, as in "
                    "{{\"ESA\": {{\"sparse_ratio\": 0.2}}}}",
                    object->size()));
    return;
  }
  sparse->name = object->begin().key();
  ObjectReader settings(reader->Below("ucm_sparse_config"), *object);
  settings.Values(sparse->name, &sparse->options);
  const Status status = settings.Finish();
  if (!status) reader->Adopt(status.error());
}

// Everything at one level; the levels below it are the wrappers that vLLM puts around it.
Status ReadLevel(ObjectReader* reader, EngineConfig* config) {
  ESA_RETURN_IF_ERROR(ReadConnector(reader, &config->store));
  ESA_RETURN_IF_ERROR(ReadConnectors(reader, &config->store));
  ReadSparseConfig(reader, &config->sparse);
  bool first_rank_only = false;
  reader->Bool("load_only_first_rank", &first_rank_only);
  const nlohmann::json* extra = reader->Object("kv_connector_extra_config");
  if (extra == nullptr) return {};
  ObjectReader below(reader->Below("kv_connector_extra_config"), *extra);
  ESA_RETURN_IF_ERROR(ReadLevel(&below, config));
  return below.Finish();
}

Status ReadTransferConfig(const std::string& where, const nlohmann::json& object,
                          EngineConfig* config) {
  ObjectReader reader(where, object);
  std::string ignored;
  for (const char* key : {"kv_connector", "kv_connector_module_path", "kv_role"}) {
    reader.Text(key, &ignored);
  }
  ESA_RETURN_IF_ERROR(ReadLevel(&reader, config));
  return reader.Finish();
}

}  // namespace

void ReadUcmFields(ObjectReader* reader, EngineConfig* config) {
  Status status = ReadLevel(reader, config);
  if (!status) reader->Adopt(status.error());
  if (const nlohmann::json* transfer = reader->Object("kv_transfer_config")) {
    status = ReadTransferConfig(reader->Below("kv_transfer_config"), *transfer, config);
    if (!status) reader->Adopt(status.error());
  }
}

}  // namespace esa

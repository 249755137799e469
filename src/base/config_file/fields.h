// The two vocabularies of a configuration file. Private to base.
#pragma once

#include "base/config_file/object_reader.h"
#include "esa/config.h"

namespace esa {

// The fields of EngineConfig: model, kv_memory, ..., sparse {name, options}, store {...}.
void ReadNativeFields(ObjectReader* reader, EngineConfig* config);

// ucm_connector_name, ucm_connector_config, ucm_connectors and ucm_sparse_config, here or below
// kv_transfer_config and kv_connector_extra_config. What has no meaning in one process
// (load_only_first_rank, kv_role, kv_block_size: a block's bytes follow from the model) is checked
// for its type and otherwise ignored.
void ReadUcmFields(ObjectReader* reader, EngineConfig* config);

}  // namespace esa

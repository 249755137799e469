#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

#include "esa/block_store.h"
#include "store/layout_check.h"

namespace esa {

#define ESA_STORE_BACKEND(name, factory, doc) \
  Result<std::unique_ptr<BlockStore>> factory(const StoreConfig&, const BlockLayout&);
#include "store/backends.def"
#undef ESA_STORE_BACKEND

namespace {

struct Registry {
  std::mutex mutex;
  std::map<std::string, BlockStoreFactory> factories;  // guarded by mutex
};

// RegisterBlockStore may run from a static initialiser of the user's: built at first use.
Registry& Backends() {
  static Registry registry{{},
                           {
#define ESA_STORE_BACKEND(name, factory, doc) {#name, factory},
#include "store/backends.def"
#undef ESA_STORE_BACKEND
                           }};
  return registry;
}

std::string Joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

}  // namespace

Result<std::unique_ptr<BlockStore>> CreateBlockStore(const StoreConfig& config,
                                                     const BlockLayout& layout) {
  if (Status valid = CheckLayout(layout); !valid) return valid.error();
  BlockStoreFactory factory;
  {
    Registry& registry = Backends();
    std::lock_guard lock(registry.mutex);
    const auto found = registry.factories.find(config.backend);
    if (found != registry.factories.end()) factory = found->second;
  }
  if (!factory) {
    return InvalidArgument("store backend \"" + config.backend + "\": expected one of " +
                           Joined(BlockStoreNames()));
  }
  return factory(config, layout);
}

Status RegisterBlockStore(const std::string& name, BlockStoreFactory factory) {
  if (name.empty() || !factory) {
    return InvalidArgument("a store backend needs a name and a factory");
  }
  Registry& registry = Backends();
  std::lock_guard lock(registry.mutex);
  if (!registry.factories.emplace(name, std::move(factory)).second) {
    return InvalidArgument("store backend \"" + name + "\": the name is taken");
  }
  return {};
}

std::vector<std::string> BlockStoreNames() {
  Registry& registry = Backends();
  std::lock_guard lock(registry.mutex);
  std::vector<std::string> names;
  for (const auto& entry : registry.factories) names.push_back(entry.first);
  return names;
}

}  // namespace esa

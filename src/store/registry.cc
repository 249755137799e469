#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

#include "esa/block_store.h"
#include "store/layout_check.h"
#include "store/stacked_store.h"

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

Result<BlockStoreFactory> FactoryOf(const std::string& name) {
  {
    Registry& registry = Backends();
    std::lock_guard lock(registry.mutex);
    const auto found = registry.factories.find(name);
    if (found != registry.factories.end()) return found->second;
  }
  return InvalidArgument("store backend \"" + name + "\": expected one of " +
                         Joined(BlockStoreNames()) + ", or several with | between them");
}

std::vector<std::string> SplitTiers(const std::string& backend) {
  std::vector<std::string> names;
  std::size_t from = 0;
  for (std::size_t bar; (bar = backend.find('|', from)) != std::string::npos; from = bar + 1) {
    names.push_back(backend.substr(from, bar - from));
  }
  names.push_back(backend.substr(from));
  return names;
}

// Two tiers that keep blocks in the same folders would be one; memory is each one's own.
Status CheckTiers(const StoreConfig& config, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    if (Result<BlockStoreFactory> factory = FactoryOf(name); !factory) return factory.error();
    if (name != "memory" && std::ranges::count(names, name) > 1) {
      return InvalidArgument("store backend \"" + config.backend + "\": " + name +
                             " stands there twice");
    }
  }
  return {};
}

// The tiers from `first` on. A tier is told the names from its own on, and so whether it is above
// others.
Result<std::unique_ptr<BlockStore>> CreateStack(StoreConfig config, const BlockLayout& layout,
                                                std::span<const std::string> names) {
  config.backend = names.front();
  for (const std::string& name : names.subspan(1)) config.backend += "|" + name;
  const Result<BlockStoreFactory> factory = FactoryOf(names.front());
  if (!factory) return factory.error();
  auto upper = (*factory)(config, layout);
  if (!upper || names.size() == 1) return upper;
  // capacity_bytes is the folders'. Redis below them bounds itself, and refuses the bound that no
  // tier would keep.
  if (names.front() == "posix" && names.back() == "redis") config.capacity_bytes = 0;
  auto lower = CreateStack(config, layout, names.subspan(1));
  if (!lower) return lower;
  return MakeStackedStore(*std::move(upper), *std::move(lower),
                          {.queue_bytes = config.queue_bytes,
                           .write_through = config.durability == Durability::kCommit,
                           .timeout = std::chrono::milliseconds(config.timeout_ms)});
}

}  // namespace

Result<std::unique_ptr<BlockStore>> CreateBlockStore(const StoreConfig& config,
                                                     const BlockLayout& layout) {
  if (Status valid = CheckLayout(layout); !valid) return valid.error();
  const std::vector<std::string> names = SplitTiers(config.backend);
  if (Status valid = CheckTiers(config, names); !valid) return valid.error();
  return CreateStack(config, layout, names);
}

Status RegisterBlockStore(const std::string& name, BlockStoreFactory factory) {
  if (name.empty() || name.find('|') != std::string::npos || !factory) {
    return InvalidArgument("a store backend needs a name, without |, and a factory");
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

#include <map>
#include <mutex>
#include <utility>

#include "esa/sparse_attention.h"

namespace esa {

#define ESA_SPARSE_ATTENTION(name, factory, doc) \
  Result<std::unique_ptr<SparseAttention>> factory(const Options&);
#include "sparse/algorithms.def"
#undef ESA_SPARSE_ATTENTION

namespace {

struct Registry {
  std::mutex mutex;
  std::map<std::string, SparseAttentionFactory> factories;  // guarded by mutex
};

// RegisterSparseAttention may run from a static initialiser of the user's: built at first use.
Registry& Algorithms() {
  static Registry registry{{},
                           {
#define ESA_SPARSE_ATTENTION(name, factory, doc) {#name, factory},
#include "sparse/algorithms.def"
#undef ESA_SPARSE_ATTENTION
                           }};
  return registry;
}

std::string Joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

}  // namespace

Status RegisterSparseAttention(const std::string& name, SparseAttentionFactory factory) {
  if (name.empty() || !factory) {
    return InvalidArgument("a sparse attention algorithm needs a name and a factory");
  }
  Registry& registry = Algorithms();
  std::lock_guard lock(registry.mutex);
  if (!registry.factories.emplace(name, std::move(factory)).second) {
    return InvalidArgument("sparse attention \"" + name + "\": the name is taken");
  }
  return {};
}

std::vector<std::string> SparseAttentionNames() {
  Registry& registry = Algorithms();
  std::lock_guard lock(registry.mutex);
  std::vector<std::string> names;
  for (const auto& entry : registry.factories) names.push_back(entry.first);
  return names;
}

Result<std::unique_ptr<SparseAttention>> CreateSparseAttention(const std::string& name,
                                                               const Options& options) {
  SparseAttentionFactory factory;
  {
    Registry& registry = Algorithms();
    std::lock_guard lock(registry.mutex);
    const auto found = registry.factories.find(name);
    if (found != registry.factories.end()) factory = found->second;
  }
  if (!factory) {
    return InvalidArgument("sparse attention \"" + name + "\": expected one of " +
                           Joined(SparseAttentionNames()));
  }
  return factory(options);
}

}  // namespace esa

#include "esa/plugin.h"

#include <dlfcn.h>

#include <exception>
#include <mutex>
#include <set>

namespace esa {
namespace {

constexpr const char* kEntry = "EsaPlugin";  // what ESA_SPARSE_ATTENTION_PLUGIN defines

struct LoadedPlugins {
  std::mutex mutex;
  std::set<void*> handles;  // guarded by mutex; dlopen gives one for a file, whatever its path
};

LoadedPlugins& Plugins() {
  static LoadedPlugins plugins;
  return plugins;
}

// dlopen looks for a name without a slash in the system's folders.
std::string FilePath(const std::string& path) {
  return path.find('/') == std::string::npos ? "./" + path : path;
}

std::string WhyNotOpened() {
  std::string why = dlerror();
  if (why.find("undefined symbol") != std::string::npos) {
    why += "; was it built with the headers of another esa?";
  }
  return why;
}

Status Register(const PluginDescriptor& plugin) {
  try {
    return plugin.register_algorithms();
  } catch (const std::exception& e) {
    return InvalidArgument(std::string("its registration threw: ") + e.what());
  } catch (...) {
    return InvalidArgument("its registration threw an exception");
  }
}

Status CheckAndRegister(void* handle) {
  void* const entry = dlsym(handle, kEntry);
  if (entry == nullptr) {
    return InvalidArgument(std::string("not a plug-in of esa: it has no function ") + kEntry +
                           ", which ESA_SPARSE_ATTENTION_PLUGIN of esa/plugin.h defines");
  }
  const PluginDescriptor& plugin = *reinterpret_cast<const PluginDescriptor* (*)()>(entry)();
  if (plugin.api_version != kPluginApiVersion) {
    return Unsupported("built for version " + std::to_string(plugin.api_version) +
                       " of the plug-in interface, this esa has " +
                       std::to_string(kPluginApiVersion) + ": build it with this esa's headers");
  }
  return Register(plugin);
}

}  // namespace

Status LoadSparseAttentionPlugin(const std::string& path) {
  LoadedPlugins& plugins = Plugins();
  std::lock_guard lock(plugins.mutex);
  // Never closed: its algorithms may be in use, and so may what a refused one left behind.
  void* const handle = dlopen(FilePath(path).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return InvalidArgument("plug-in " + WhyNotOpened());
  if (plugins.handles.contains(handle)) return {};
  const Status status = CheckAndRegister(handle);
  if (!status) return Error{status.error().code, "plug-in " + path + ": " + status.error().message};
  plugins.handles.insert(handle);
  return {};
}

}  // namespace esa

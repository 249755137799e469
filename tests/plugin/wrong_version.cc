#include "esa/plugin.h"

// As a plug-in that was built with the headers of a later esa.
extern "C" const esa::PluginDescriptor* EsaPlugin() {
  static constexpr esa::PluginDescriptor kDescriptor{esa::kPluginApiVersion + 1, nullptr};
  return &kDescriptor;
}

// Sparse attention algorithms in shared libraries of their own, loaded by name of file while the
// program runs.
//
// A plug-in includes this header and names, once, the function that registers what it has:
//
//   esa::Status RegisterMine() { return esa::RegisterSparseAttention("mine", MakeMine); }
//   ESA_SPARSE_ATTENTION_PLUGIN(RegisterMine)
//
// It need not link libesa: what it uses of it is found in the program that loads it.
#pragma once

#include <cstdint>
#include <string>

#include "esa/options.h"
#include "esa/result.h"
#include "esa/sparse_attention.h"

namespace esa {

// Rises with every change of what a plug-in is compiled from: this header and those it includes.
// A program loads plug-ins of its own number only.
inline constexpr std::int32_t kPluginApiVersion = 1;

struct PluginDescriptor {
  std::int32_t api_version;  // the first field in every version
  Status (*register_algorithms)();
};

// Loads a plug-in and lets it register its algorithms; to be called before LLM::Open. A file that
// is loaded already is left as it is. Libraries stay loaded as long as the process, refused ones
// too. Error, in one line with the path: not a plug-in, one of another kPluginApiVersion, or what
// it failed to register.
//
// Threading: any thread.
Status LoadSparseAttentionPlugin(const std::string& path);

}  // namespace esa

#define ESA_SPARSE_ATTENTION_PLUGIN(register_algorithms)                               \
  extern "C" [[gnu::visibility("default")]] const esa::PluginDescriptor* EsaPlugin() { \
    static constexpr esa::PluginDescriptor kDescriptor{esa::kPluginApiVersion,         \
                                                       register_algorithms};           \
    return &kDescriptor;                                                               \
  }

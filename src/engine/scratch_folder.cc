#include "engine/scratch_folder.h"

#include <stdlib.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>

namespace esa {

Result<std::unique_ptr<ScratchFolder>> ScratchFolder::Create() {
  const char* temporary = getenv("TMPDIR");
  std::string name =
      std::string(temporary != nullptr && *temporary != '\0' ? temporary : "/var/tmp") +
      "/esa-kv-XXXXXX";
  if (mkdtemp(name.data()) == nullptr) {
    return IoError("cannot create a folder " + name + " for KV blocks: " + std::strerror(errno));
  }
  return std::unique_ptr<ScratchFolder>(new ScratchFolder(name));
}

ScratchFolder::~ScratchFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace esa

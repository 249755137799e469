// Arbitrary names of files in a store's folder: what is taken for a block's, a temporary's or an
// owner's name is just what the store would have given it.
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/check.h"
#include "store/posix/file_names.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string name(reinterpret_cast<const char*>(data), size);
  if (const auto id = esa::ParseBlockName(name)) {
    ESA_CHECK(esa::BlockPath("f", *id) == esa::FanOutPath("f", *id) + "/" + name);
    ESA_CHECK(esa::IsFanOutName(name.substr(0, 2)));
    ESA_CHECK(!esa::OwnerOfTemporary(name));
  }
  if (const auto owner = esa::OwnerOfTemporary(name)) {
    ESA_CHECK(name.find("." + *owner + ".") == 32);
    ESA_CHECK(esa::IsFanOutName(name.substr(0, 2)));
  }
  if (const auto owner = esa::OwnerOfOwnerName(name)) {
    ESA_CHECK(esa::OwnerPath("f", *owner) == "f/" + name);
  }
  if (const auto owner = esa::OwnerOfProbeName(name)) {
    ESA_CHECK(esa::ProbePath("f", *owner) == "f/" + name);
  }
  return 0;
}

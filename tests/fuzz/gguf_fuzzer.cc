// Arbitrary bytes as a GGUF file: they are refused, or what they say of a model can be read and all
// tensors lie within the file.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/check.h"
#include "model/gguf.h"
#include "model/gguf_model.h"
#include "ops/ggml_blocks.h"

namespace {

// A file in memory under a path.
class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : descriptor_(memfd_create("gguf", 0)) {
    ESA_CHECK(descriptor_ >= 0);
    ESA_CHECK(write(descriptor_, data, size) == static_cast<ssize_t>(size));
  }
  ~Bytes() { close(descriptor_); }
  std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

void WidenFirstBlock(const esa::GgufTensor& tensor) {
  const esa::GgmlFormat* format = esa::FindGgmlFormat(tensor.type);
  if (format == nullptr || std::ssize(tensor.bytes) < format->block_bytes) return;
  std::vector<float> values(static_cast<std::size_t>(format->block_values));
  format->widen(tensor.bytes.data(), format->block_values, values.data());
  format->widen(tensor.bytes.data() + tensor.bytes.size() - format->block_bytes,
                format->block_values, values.data());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Bytes bytes(data, size);
  const auto file = esa::GgufFile::Open(bytes.path());
  if (!file) {
    ESA_CHECK(!file.error().message.empty());
    return 0;
  }
  for (const auto& [name, tensor] : file->tensors()) {
    WidenFirstBlock(tensor);
    (void)esa::HuggingFaceName(name);
  }
  if (const auto config = esa::ReadGgufConfig(*file)) {
    ESA_CHECK(config->num_heads % config->num_kv_heads == 0);
    ESA_CHECK(config->vocab_size > 0);
  }
  (void)esa::GgufTokenizerJson(*file);
  (void)esa::ReadGgufSpecials(*file);
  return 0;
}

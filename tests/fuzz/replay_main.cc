// Runs a fuzz target without libFuzzer: PROGRAM CORPUS_FOLDER SECONDS [SEED]
//
// First every file of the corpus, then mutations of them until the time is over. The mutations
// follow from the seed, so that a crash comes back with the same arguments and time enough.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/random.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Input = std::vector<std::uint8_t>;

constexpr std::size_t kMaxBytes = 20000;

std::vector<Input> ReadCorpus(const std::string& folder) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<Input> corpus;
  for (const auto& path : paths) {
    std::ifstream in(path, std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  return corpus;
}

void MutateOnce(esa::SplitMix64& random, const std::vector<Input>& corpus, Input* input) {
  const auto at = [&] { return static_cast<std::ptrdiff_t>(random.Below(input->size() + 1)); };
  switch (random.Below(6)) {
    case 0:
      if (!input->empty()) (*input)[random.Below(input->size())] ^= 1u << random.Below(8);
      break;
    case 1:
      if (!input->empty()) (*input)[random.Below(input->size())] = random.Below(256);
      break;
    case 2:
      input->resize(random.Below(input->size() + 1));
      break;
    case 3: {  // a tail of zeros, of any length
      const std::uint64_t longest = std::uint64_t{1} << random.Below(15);
      input->resize(std::min(kMaxBytes, input->size() + random.Below(longest + 1)));
      break;
    }
    case 4: {
      const Input& other = corpus[random.Below(corpus.size())];
      if (input->size() + other.size() < kMaxBytes) {
        input->insert(input->begin() + at(), other.begin(), other.end());
      }
      break;
    }
    default:
      for (std::uint64_t i = 1 + random.Below(4); i > 0; --i) {
        input->insert(input->begin() + at(), static_cast<std::uint8_t>(random.Below(256)));
      }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s CORPUS_FOLDER SECONDS [SEED]\n", argv[0]);
    return 2;
  }
  const std::vector<Input> corpus = ReadCorpus(argv[1]);
  if (corpus.empty()) {
    std::fprintf(stderr, "%s: %s holds no input\n", argv[0], argv[1]);
    return 2;
  }
  for (const Input& input : corpus) LLVMFuzzerTestOneInput(input.data(), input.size());

  const auto end = std::chrono::steady_clock::now() +
                   std::chrono::milliseconds(static_cast<long>(1000 * std::atof(argv[2])));
  esa::SplitMix64 random(argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 1);
  std::uint64_t inputs = 0;
  for (; std::chrono::steady_clock::now() < end; ++inputs) {
    Input input = corpus[random.Below(corpus.size())];
    for (std::uint64_t i = 1 + random.Below(5); i > 0; --i) MutateOnce(random, corpus, &input);
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  std::printf("%zu inputs of the corpus and %llu mutations\n", corpus.size(),
              static_cast<unsigned long long>(inputs));
  return 0;
}

#include "ops/ggml_blocks.h"

#include <algorithm>
#include <cstring>

#include "ops/numeric.h"

namespace esa {
namespace {

std::uint16_t U16(const std::byte* p) {
  std::uint16_t value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}

std::uint32_t U32(const std::byte* p) {
  std::uint32_t value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}

float F16(const std::byte* p) { return FloatFromF16(U16(p)); }
int Low(std::byte b) { return static_cast<int>(b) & 15; }
int High(std::byte b) { return static_cast<int>(b) >> 4; }

void WidenF32(const std::byte* p, std::int64_t n, float* out) {
  std::memcpy(out, p, static_cast<std::size_t>(n) * sizeof(float));
}

void WidenF16(const std::byte* p, std::int64_t n, float* out) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = FloatFromF16(U16(p + 2 * i));
}

void WidenBf16(const std::byte* p, std::int64_t n, float* out) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = FloatFromBf16(U16(p + 2 * i));
}

constexpr int kGroup = 32;   // values of a block of the simple formats
constexpr int kSuper = 256;  // of the K formats

// d: f16; values: int8.
void WidenQ8_0(const std::byte* block, float* out) {
  const float d = F16(block);
  for (int i = 0; i < kGroup; ++i) {
    out[i] = d * static_cast<float>(static_cast<std::int8_t>(block[2 + i]));
  }
}

// d; 16 bytes, value i in the lower half of byte i, value i + 16 in the upper one.
void WidenQ4_0(const std::byte* block, float* out) {
  const float d = F16(block);
  for (int i = 0; i < kGroup / 2; ++i) {
    out[i] = d * static_cast<float>(Low(block[2 + i]) - 8);
    out[i + kGroup / 2] = d * static_cast<float>(High(block[2 + i]) - 8);
  }
}

// d, m; likewise.
void WidenQ4_1(const std::byte* block, float* out) {
  const float d = F16(block);
  const float m = F16(block + 2);
  for (int i = 0; i < kGroup / 2; ++i) {
    out[i] = d * static_cast<float>(Low(block[4 + i])) + m;
    out[i + kGroup / 2] = d * static_cast<float>(High(block[4 + i])) + m;
  }
}

// A fifth bit of each value in 32 bits before the halves.
int Fifth(std::uint32_t bits, int i) { return static_cast<int>(bits >> i & 1) << 4; }

void WidenQ5_0(const std::byte* block, float* out) {
  const float d = F16(block);
  const std::uint32_t bits = U32(block + 2);
  for (int i = 0; i < kGroup / 2; ++i) {
    const std::byte b = block[6 + i];
    out[i] = d * static_cast<float>((Low(b) | Fifth(bits, i)) - 16);
    out[i + kGroup / 2] = d * static_cast<float>((High(b) | Fifth(bits, i + 16)) - 16);
  }
}

void WidenQ5_1(const std::byte* block, float* out) {
  const float d = F16(block);
  const float m = F16(block + 2);
  const std::uint32_t bits = U32(block + 4);
  for (int i = 0; i < kGroup / 2; ++i) {
    const std::byte b = block[8 + i];
    out[i] = d * static_cast<float>(Low(b) | Fifth(bits, i)) + m;
    out[i + kGroup / 2] = d * static_cast<float>(High(b) | Fifth(bits, i + 16)) + m;
  }
}

// Scale and minimum of group `j` of 8, six bits each, out of twelve bytes.
struct ScaleAndMin {
  float scale, min;
};
ScaleAndMin Packed(const std::byte* bytes, int j) {
  const auto at = [&](int i) { return static_cast<int>(bytes[i]); };
  if (j < 4) return {static_cast<float>(at(j) & 63), static_cast<float>(at(j + 4) & 63)};
  const int scale = (at(j + 4) & 15) | (at(j - 4) >> 6) << 4;
  const int min = at(j + 4) >> 4 | (at(j) >> 6) << 4;
  return {static_cast<float>(scale), static_cast<float>(min)};
}

// d, dmin; 12 bytes of scales; Q5_K: 32 bytes of fifth bits; 128 bytes of halves. Two groups share
// 32 bytes.
template <bool kFive>
void WidenK(const std::byte* block, float* out) {
  const float d = F16(block);
  const float dmin = F16(block + 2);
  const std::byte* scales = block + 4;
  const std::byte* fifths = block + 16;
  const std::byte* halves = block + (kFive ? 48 : 16);
  for (int j = 0; j < kSuper / kGroup; ++j) {
    const auto [scale, min] = Packed(scales, j);
    for (int i = 0; i < kGroup; ++i) {
      const std::byte b = halves[j / 2 * kGroup + i];
      int q = j % 2 == 0 ? Low(b) : High(b);
      if (kFive) q |= (static_cast<int>(fifths[i]) >> j & 1) << 4;
      out[j * kGroup + i] = d * scale * static_cast<float>(q) - dmin * min;
    }
  }
}

// 128 bytes of lower halves, 64 of two more bits, 16 int8 scales of 16 values each, d.
void WidenQ6_K(const std::byte* block, float* out) {
  const float d = F16(block + 208);
  for (int value = 0; value < kSuper; ++value) {
    const int half = value / 128;  // 64 bytes of lower halves and 32 of upper bits each
    const int quarter = value % 128 / 32;
    const int i = value % 32;
    const std::byte low = block[half * 64 + quarter % 2 * 32 + i];
    const int upper = static_cast<int>(block[128 + half * 32 + i]) >> (2 * quarter) & 3;
    const int q = ((quarter < 2 ? Low(low) : High(low)) | upper << 4) - 32;
    const auto scale = static_cast<std::int8_t>(block[192 + value / 16]);
    out[value] = d * static_cast<float>(scale) * static_cast<float>(q);
  }
}

template <void (*Widen)(const std::byte*, float*), int kValues, int kBytes>
void WidenBlocks(const std::byte* blocks, std::int64_t values, float* out) {
  for (std::int64_t b = 0; b < values / kValues; ++b) {
    Widen(blocks + b * kBytes, out + b * kValues);
  }
}

constexpr GgmlFormat kFormats[] = {
    {"F32", 0, 1, 4, WidenF32},
    {"F16", 1, 1, 2, WidenF16},
    {"BF16", 30, 1, 2, WidenBf16},
    {"Q4_0", 2, kGroup, 18, WidenBlocks<WidenQ4_0, kGroup, 18>},
    {"Q4_1", 3, kGroup, 20, WidenBlocks<WidenQ4_1, kGroup, 20>},
    {"Q5_0", 6, kGroup, 22, WidenBlocks<WidenQ5_0, kGroup, 22>},
    {"Q5_1", 7, kGroup, 24, WidenBlocks<WidenQ5_1, kGroup, 24>},
    {"Q8_0", 8, kGroup, 34, WidenBlocks<WidenQ8_0, kGroup, 34>},
    {"Q4_K", 12, kSuper, 144, WidenBlocks<WidenK<false>, kSuper, 144>},
    {"Q5_K", 13, kSuper, 176, WidenBlocks<WidenK<true>, kSuper, 176>},
    {"Q6_K", 14, kSuper, 210, WidenBlocks<WidenQ6_K, kSuper, 210>},
};

}  // namespace

std::span<const GgmlFormat> GgmlFormats() { return kFormats; }

const GgmlFormat* FindGgmlFormat(std::string_view name) {
  const auto* found = std::ranges::find(kFormats, name, &GgmlFormat::name);
  return found == std::end(kFormats) ? nullptr : found;
}

const GgmlFormat* FindGgmlFormat(std::uint32_t id) {
  const auto* found = std::ranges::find(kFormats, id, &GgmlFormat::id);
  return found == std::end(kFormats) ? nullptr : found;
}

}  // namespace esa

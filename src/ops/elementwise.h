// Norms, rotary positions and activations over f32 rows.
// Threading: RmsNorm, Rope and SwiGlu use the OpenMP pool when there is enough to do.
#pragma once

#include <cstdint>
#include <span>

namespace esa {

// y[r] = x[r] / sqrt(mean(x[r]^2) + eps) * weight; x, y [rows, weight.size()], y may be x.
void RmsNorm(const float* x, std::int64_t rows, std::span<const float> weight, float eps, float* y);

// Rotary embedding in the layout of Hugging Face checkpoints: dimension i turns with i +
// head_dim/2 by the angle position * inverse_frequency[i], a product in f32 as in training.
// x [rows, num_heads, head_dim] in place; positions [rows]; inverse_frequency [head_dim / 2].
// Source: Su et al., RoFormer, 2021.
void Rope(float* x, std::span<const std::int32_t> positions, int num_heads, int head_dim,
          std::span<const float> inverse_frequency);

// y = silu(gate) * up, [count]; y may be gate.
void SwiGlu(const float* gate, const float* up, std::int64_t count, float* y);

// y += x, [count].
void AddInPlace(const float* x, std::int64_t count, float* y);

}  // namespace esa

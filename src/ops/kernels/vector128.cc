// Vectors of 128 bits through Highway. Products with integers are the reference's.
#include "ops/kernels/kernels.h"
#include "ops/kernels/vec_highway.h"
// Written against the vectors above.
#include "ops/kernels/attention.inl.h"
#include "ops/kernels/probe.inl.h"
#include "ops/kernels/product.inl.h"
#include "ops/kernels/retrieval.inl.h"
#include "ops/kernels/rows.inl.h"

namespace esa {

void TakeVector128Kernels(Kernels* kernels) {
  kernels->attend_bf16 = Attend<StoredTiles<WidenedBf16Mode>>;
  kernels->attend_f32 = Attend<StoredTiles<F32Mode>>;
  kernels->attend_int8 = Attend<StoredTiles<Int8Mode>>;
  kernels->product_bf16 = MultiplyRows<WeightBf16>;
  kernels->product_f16 = MultiplyRows<WeightF16>;
  kernels->product_f32 = MultiplyRows<WeightF32>;
  kernels->dot_rows_f32 = DotRows<F32Rows>;
  kernels->dot_rows_bf16 = DotRows<Bf16Rows>;
  kernels->dot_rows_int8 = DotRows<Int8Rows>;
  kernels->code_matches = MatchCodes;
  kernels->order_of = OrderOfRow;
  kernels->take_largest = TakeLargest;
  kernels->log_sum_exp = LogSumExp;
  kernels->add_soft_max = AddSoftMax;
  kernels->add_square_roots = AddSquareRoots;
  kernels->rms_norm = RmsNormRow;
  kernels->rotate = RotateHead;
  kernels->swiglu = SwiGluRow;
  kernels->add = AddRow;
  kernels->f32_from_bf16 = F32FromBf16Row;
  kernels->f32_from_f16 = F32FromF16Row;
  kernels->bf16_from_f32 = Bf16FromF32Row;
  kernels->probe_f32 = {.run = MulAddChains, .operations = 2 * kChains * kLanes};
}

}  // namespace esa

// AVX2, FMA and F16C.
#include "ops/kernels/kernels.h"
#include "ops/kernels/vec_avx2.h"
// Written against the vectors above.
#include "ops/kernels/attention.inl.h"
#include "ops/kernels/panel_blocks.inl.h"
#include "ops/kernels/panels.inl.h"
#include "ops/kernels/probe.inl.h"
#include "ops/kernels/product.inl.h"
#include "ops/kernels/retrieval.inl.h"
#include "ops/kernels/rows.inl.h"
#include "ops/kernels/short_tiles.inl.h"

namespace esa {

constinit const Kernels kAvx2Kernels = {
    .attend_bf16 = Attend<StoredTiles<WidenedBf16Mode>>,
    .attend_f32 = Attend<StoredTiles<F32Mode>>,
    .attend_int8 = Attend<StoredTiles<Int8Mode>>,
    .attend_rows_bf16 = Attend<RoundedBf16Tiles>,
    .attend_rows_int8 = Attend<WidenedInt8Tiles>,
    .product_bf16 = MultiplyRows<WeightBf16>,
    .product_f16 = MultiplyRows<WeightF16>,
    .product_f32 = MultiplyRows<WeightF32>,
    .product_int8 = MultiplyPanels<Int8Panel>,
    .product_int4 = MultiplyPanels<Int4Panel>,
    .block_int8 = MultiplyPanelBlock<false>,
    .block_int4 = MultiplyPanelBlock<true>,
    .int8_from_f32 = QuantizeToInt8,
    .f32_from_int8 = WidenPanel<false>,
    .f32_from_int4 = WidenPanel<true>,
    .dot_rows_f32 = DotRows<F32Rows>,
    .dot_rows_bf16 = DotRows<Bf16Rows>,
    .dot_rows_int8 = DotRows<Int8Rows>,
    .code_matches = MatchCodes,
    .order_of = OrderOfRow,
    .take_largest = TakeLargest,
    .log_sum_exp = LogSumExp,
    .add_soft_max = AddSoftMax,
    .add_square_roots = AddSquareRoots,
    .rms_norm = RmsNormRow,
    .rotate = RotateHead,
    .swiglu = SwiGluRow,
    .add = AddRow,
    .f32_from_bf16 = F32FromBf16Row,
    .f32_from_f16 = F32FromF16Row,
    .bf16_from_f32 = Bf16FromF32Row,
    .probe_f32 = {.run = MulAddChains, .operations = 2 * kChains * kLanes},
    .probe_bf16 = {},
};

}  // namespace esa

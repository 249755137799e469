"""Makes tests/golden/ggml_blocks.safetensors: random blocks of every weight format of GGUF that is
read here, and the values that the gguf package says they hold.

    python tools/golden/make_ggml_blocks.py --out tests/golden/ggml_blocks.safetensors

Tensors "FORMAT.bytes" U8 and "FORMAT.values" F32, three blocks each. Scales in f16 are made finite;
every other bit is random. Needs tools/requirements.txt.
"""

import argparse

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize
from safetensors.numpy import save_file

# Format: where its f16 scales begin.
FORMATS = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
}
BLOCKS = 3


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True)
    out = parser.parse_args().out
    random = np.random.default_rng(1)
    tensors = {}
    for name, scales in FORMATS.items():
        kind = GGMLQuantizationType[name]
        size = GGML_QUANT_SIZES[kind][1]
        blocks = random.integers(0, 256, (BLOCKS, size), dtype=np.uint8)
        for at in scales:
            values = random.normal(0, 0.1, BLOCKS).astype(np.float16)
            blocks[:, at:at + 2] = values.view(np.uint8).reshape(BLOCKS, 2)
        tensors[name + ".bytes"] = blocks.reshape(-1)
        tensors[name + ".values"] = dequantize(blocks, kind).astype(np.float32).reshape(-1)
    save_file(tensors, out)


if __name__ == "__main__":
    main()

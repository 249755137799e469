"""Makes tests/golden/gguf/*.gguf: golden models as GGUF files, written with the gguf package.

    python tools/golden/make_gguf.py --golden tests/golden --out tests/golden/gguf

Tensor names, the order of llama's q and k rows and the divisors of Llama 3.1's angles are those of
llama.cpp's convert_hf_to_gguf.py. One model is also written in two files. Needs
tools/requirements.txt.
"""

import argparse
import json
import math
import pathlib

import gguf
import numpy as np
import torch
from safetensors.torch import load_file

MODELS = ("llama_llama3_rope", "qwen3_wide_heads")


def load(folder):
    tensors = {}
    for path in sorted(folder.glob("model*.safetensors")):
        tensors.update(load_file(path))
    return tensors


def paired(values, heads):
    """Rows of each head: i and i + head_dim / 2 side by side."""
    shape = values.shape
    return values.reshape(heads, 2, shape[0] // heads // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


def rope_divisors(config, head_dim):
    scaling = config.get("rope_scaling") or config.get("rope_parameters") or {}
    if scaling.get("rope_type") != "llama3":
        return None
    theta = config.get("rope_theta") or scaling["rope_theta"]
    original = scaling["original_max_position_embeddings"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    divisors = []
    for i in range(head_dim // 2):
        wavelength = 2 * math.pi * theta ** (2 * i / head_dim)
        if wavelength < original / high:
            divisors.append(1.0)
        elif wavelength > original / low:
            divisors.append(scaling["factor"])
        else:
            kept = (original / wavelength - low) / (high - low)
            divisors.append(1 / ((1 - kept) / scaling["factor"] + kept))
    return np.array(divisors, dtype=np.float32)


def write(folder, out, **writer_options):
    config = json.loads((folder / "config.json").read_text())
    arch = config["model_type"]
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    rope = config.get("rope_parameters") or {}
    writer = gguf.GGUFWriter(out, arch, **writer_options)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(head_dim)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config.get("rope_theta") or rope["rope_theta"])
    names = gguf.get_tensor_name_map(
        {v: k for k, v in gguf.MODEL_ARCH_NAMES.items()}[arch], config["num_hidden_layers"])
    divisors = rope_divisors(config, head_dim)
    if divisors is not None:
        writer.add_tensor("rope_freqs.weight", divisors)
    for name, tensor in load(folder).items():
        if arch == "llama" and ".q_proj." in name:
            tensor = paired(tensor, config["num_attention_heads"])
        if arch == "llama" and ".k_proj." in name:
            tensor = paired(tensor, config["num_key_value_heads"])
        renamed = names.get_name(name, try_suffixes=(".weight", ".bias"))
        vector = tensor.dim() == 1
        if tensor.dtype == torch.bfloat16 and not vector:
            writer.add_tensor(renamed, tensor.contiguous().view(torch.uint8).numpy(),
                              raw_dtype=gguf.GGMLQuantizationType.BF16)
            continue
        kept = tensor.to(torch.float32) if vector or tensor.dtype == torch.bfloat16 else tensor
        writer.add_tensor(renamed, kept.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--golden", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for model in MODELS:
        write(options.golden / model, options.out / f"{model}.gguf")
    write(options.golden / "qwen2_gqa7", options.out / "split.gguf", split_max_tensors=16)


if __name__ == "__main__":
    main()

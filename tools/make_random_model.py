"""Writes a model folder with random weights in the shape of a config.json: for benchmarks and load
tests where the numbers do not matter but the sizes do.

    python tools/make_random_model.py --config configs/Qwen2.5-0.5B-Instruct --out /tmp/random-0.5b

config.json, generation_config.json and tokenizer files beside the config are copied. Weights are
drawn so that activations keep their size through the layers and the logits stay finite. One
model.safetensors is written, tensor by tensor, so memory stays at one tensor. The same seed gives
the same file.

Needs numpy only.
"""

import argparse
import json
import pathlib
import shutil
import struct

import numpy as np

COPIED = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "chat_template.jinja",
)
DTYPES = {"bf16": ("BF16", 2), "f16": ("F16", 2), "f32": ("F32", 4)}


def tensor_shapes(config):
    """Tensor name -> shape, in the names of Hugging Face checkpoints."""
    kind = config["model_type"]
    if kind not in ("llama", "qwen2", "qwen3"):
        raise SystemExit(f"model_type: found {kind!r}, expected llama, qwen2 or qwen3")
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    heads = config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    head_dim = config.get("head_dim") or (128 if kind == "qwen3" else hidden // heads)
    o_bias = kind != "qwen2" and config.get("attention_bias", False)
    qkv_bias = kind == "qwen2" or o_bias
    shapes = {"model.embed_tokens.weight": (config["vocab_size"], hidden)}
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        attention = prefix + "self_attn."
        rows = {"q": heads * head_dim, "k": kv_heads * head_dim, "v": kv_heads * head_dim}
        for name, size in rows.items():
            shapes[f"{attention}{name}_proj.weight"] = (size, hidden)
            if qkv_bias:
                shapes[f"{attention}{name}_proj.bias"] = (size,)
        shapes[attention + "o_proj.weight"] = (hidden, heads * head_dim)
        if o_bias:
            shapes[attention + "o_proj.bias"] = (hidden,)
        if kind == "qwen3":
            shapes[attention + "q_norm.weight"] = (head_dim,)
            shapes[attention + "k_norm.weight"] = (head_dim,)
        shapes[prefix + "mlp.gate_proj.weight"] = (inner, hidden)
        shapes[prefix + "mlp.up_proj.weight"] = (inner, hidden)
        shapes[prefix + "mlp.down_proj.weight"] = (hidden, inner)
        shapes[prefix + "input_layernorm.weight"] = (hidden,)
        shapes[prefix + "post_attention_layernorm.weight"] = (hidden,)
    shapes["model.norm.weight"] = (hidden,)
    if not config.get("tie_word_embeddings", False):
        shapes["lm_head.weight"] = (config["vocab_size"], hidden)
    return shapes


def random_values(name, shape, layers, generator):
    noise = generator.standard_normal(shape, dtype=np.float32)
    if name.endswith("norm.weight"):
        return 1.0 + 0.1 * noise
    if name.endswith(".bias"):
        return 0.1 * noise
    if "embed_tokens" in name:
        # Also the head where the two are tied: logits of a normed row get a deviation of about 3.
        return noise * (3.0 / shape[1] ** 0.5)
    scale = 1.0 / shape[1] ** 0.5
    if "o_proj" in name or "down_proj" in name:
        scale /= (2 * layers) ** 0.5  # what the residual stream adds up
    return noise * scale


def to_bytes(values, dtype):
    if dtype == "f32":
        return values.astype("<f4").tobytes()
    if dtype == "f16":
        return values.astype("<f2").tobytes()
    bits = values.view(np.uint32)
    rounded = bits + 0x7FFF + ((bits >> 16) & 1)  # to nearest, ties to even
    return (rounded >> 16).astype("<u2").tobytes()


def write_safetensors(path, shapes, layers, dtype, seed):
    name_of_dtype, value_bytes = DTYPES[dtype]
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        begin, end = end, end + int(np.prod(shape)) * value_bytes
        header[name] = {"dtype": name_of_dtype, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % 64)  # tensors begin on a cache line
    generator = np.random.default_rng(seed)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in shapes.items():
            file.write(to_bytes(random_values(name, shape, layers, generator), dtype))
    return end


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=pathlib.Path, required=True,
                        help="folder with config.json")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--dtype", choices=DTYPES, default="bf16")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    config = json.loads((arguments.config / "config.json").read_text())
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        if (arguments.config / name).exists():
            shutil.copyfile(arguments.config / name, arguments.out / name)
    size = write_safetensors(arguments.out / "model.safetensors", tensor_shapes(config),
                             config["num_hidden_layers"], arguments.dtype, arguments.seed)
    print(f"{arguments.out}: {size / 1e9:.2f} GB of weights, {arguments.dtype}")


if __name__ == "__main__":
    main()

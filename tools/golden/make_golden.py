"""Makes the golden models: tiny random checkpoints of every architecture, and what Hugging Face
transformers computes from them in float32.

    python tools/golden/make_golden.py --out tests/golden

For each model a folder: config.json and weights as `save_pretrained` writes them, and one or more
golden*.safetensors with token_ids [n] I32, positions [n] I32 and logits [n, vocab_size] F32.
Together the models cover: biases (qwen2, llama with attention_bias, qwen3 with attention_bias),
q/k norms, tied and untied heads, llama3 rope scaling in all three of its bands, positions beyond
the original context, GQA ratios 1, 2 and 7, head_dim 64 and 128, heads * head_dim unlike
hidden_size, 16-bit weights, and a sharded index.

Needs tools/requirements.txt.
"""

import argparse
import pathlib

import torch
from safetensors.torch import save_file
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

COMMON = dict(
    num_hidden_layers=2, max_position_embeddings=4096, bos_token_id=0, eos_token_id=1,
    attn_implementation="eager",
)
LLAMA3_SCALING = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def llama_tied():
    """GQA 2, head_dim 64 beyond hidden / heads, tied head."""
    return LlamaForCausalLM(LlamaConfig(
        **COMMON, vocab_size=101, hidden_size=64, intermediate_size=96, num_attention_heads=2,
        num_key_value_heads=1, head_dim=64, rope_theta=10000.0, rms_norm_eps=1e-5,
        tie_word_embeddings=True))


def llama_llama3_rope():
    """Llama 3.1's frequency scaling, biases on all four projections, untied head, GQA 1."""
    return LlamaForCausalLM(LlamaConfig(
        **COMMON, vocab_size=96, hidden_size=64, intermediate_size=80, num_attention_heads=1,
        num_key_value_heads=1, head_dim=64, rope_theta=500000.0, rms_norm_eps=1e-5,
        attention_bias=True, tie_word_embeddings=False, rope_scaling=LLAMA3_SCALING))


def qwen2_gqa7():
    """Seven query heads to a KV head, as Qwen2.5-0.5B; biases on q, k and v; head_dim 64."""
    return Qwen2ForCausalLM(Qwen2Config(
        **COMMON, vocab_size=128, hidden_size=64, intermediate_size=96, num_attention_heads=7,
        num_key_value_heads=1, head_dim=64, rope_theta=1000000.0, tie_word_embeddings=True))


def qwen2_untied():
    """head_dim from hidden / heads, untied head."""
    return Qwen2ForCausalLM(Qwen2Config(
        **COMMON, vocab_size=80, hidden_size=128, intermediate_size=64, num_attention_heads=2,
        num_key_value_heads=2, rope_theta=1000000.0, tie_word_embeddings=False))


def qwen3_wide_heads():
    """head_dim 128 with hidden 64: attention is wider than the residual stream."""
    return Qwen3ForCausalLM(Qwen3Config(
        **COMMON, vocab_size=112, hidden_size=64, intermediate_size=96, num_attention_heads=2,
        num_key_value_heads=1, head_dim=128, rope_theta=1000000.0, tie_word_embeddings=True))


def qwen3_bias_untied():
    """Biases on all four projections, untied head, GQA 2, head_dim 64."""
    return Qwen3ForCausalLM(Qwen3Config(
        **COMMON, vocab_size=90, hidden_size=64, intermediate_size=64, num_attention_heads=2,
        num_key_value_heads=1, head_dim=64, rope_theta=10000.0, attention_bias=True,
        tie_word_embeddings=False))


# name: (model, number of tokens, size of a shard or None, type of the weight file)
MODELS = {
    "llama_tied": (llama_tied, 61, None, torch.float32),
    "llama_llama3_rope": (llama_llama3_rope, 70, None, torch.float32),
    "qwen2_gqa7": (qwen2_gqa7, 53, None, torch.float32),
    "qwen2_untied": (qwen2_untied, 40, "300KB", torch.float32),
    "qwen3_wide_heads": (qwen3_wide_heads, 67, None, torch.bfloat16),
    "qwen3_bias_untied": (qwen3_bias_untied, 45, None, torch.float16),
}
# name: the distance between neighbouring tokens in a second golden file. Attention sees differences
# of positions only, so a far start would not show what far positions do.
FAR = {"llama_llama3_rope": 43}


def randomise(model, generator):
    """Weights of a size at which every part shows in the logits; norms and biases off their
    defaults, so that leaving one out is seen."""
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if name.endswith("norm.weight"):
            parameter.data = 1.0 + 0.2 * noise
        elif name.endswith(".bias"):
            parameter.data = 0.3 * noise
        elif "embed_tokens" in name or "lm_head" in name:
            parameter.data = 0.5 * noise
        else:
            parameter.data = 1.5 * noise / parameter.shape[-1] ** 0.5


def write_golden(model, tokens, stride, path):
    positions = torch.arange(tokens.shape[1])[None] * stride
    # Without the mask transformers takes a gap in the positions for the start of a new sequence.
    mask = torch.ones_like(tokens)
    with torch.no_grad():
        logits = model(input_ids=tokens, attention_mask=mask, position_ids=positions).logits[0]
    assert torch.isfinite(logits).all()
    save_file({"token_ids": tokens[0].int(), "positions": positions[0].int(),
               "logits": logits.contiguous()}, path)
    print(f"{path}: {tokens.shape[1]} tokens, largest logit {logits.abs().max():.3f}")


def make(name, out):
    build, num_tokens, shard_size, dtype = MODELS[name]
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    model = build()
    randomise(model, generator)
    model.tie_weights()
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    sharding = {"max_shard_size": shard_size} if shard_size else {}
    model.to(dtype).save_pretrained(folder, **sharding)
    # Read back: the logits are those of the stored weights, in float32 (and `to` has rounded the
    # rotary frequencies of the model above).
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager").eval()
    tokens = torch.randint(0, model.config.vocab_size, (1, num_tokens), generator=generator)
    write_golden(model, tokens, 1, folder / "golden.safetensors")
    if name in FAR:
        write_golden(model, tokens, FAR[name], folder / "golden_far.safetensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("names", nargs="*", help="models to make; none: all")
    arguments = parser.parse_args()
    for name in arguments.names or MODELS:
        make(name, arguments.out)


if __name__ == "__main__":
    main()

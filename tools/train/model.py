"""The Qwen2-shaped decoder with the parameter names of Hugging Face, so that its state is the exported file."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn


@dataclass(frozen=True)
class Shape:
    vocab_size: int
    hidden: int = 256
    layers: int = 5
    heads: int = 8
    kv_heads: int = 4
    head_dim: int = 64
    ff: int = 512
    rope_theta: float = 1e8
    norm_eps: float = 1e-6
    max_positions: int = 131072


class RMSNorm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        return F.rms_norm(x.float(), (x.shape[-1],), self.weight, self.eps)


def rope_tables(positions, shape):
    """cos and sin, [..., head_dim], of integer positions."""
    pairs = torch.arange(0, shape.head_dim, 2, dtype=torch.float32) / shape.head_dim
    angles = positions.float()[..., None] * shape.rope_theta ** -pairs
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def rotate(x, cos, sin):
    """x [batch, heads, tokens, head_dim]; cos, sin [batch, 1, tokens, head_dim]."""
    low, high = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-high, low], dim=-1) * sin


class Attention(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.q_proj = nn.Linear(shape.hidden, shape.heads * shape.head_dim)
        self.k_proj = nn.Linear(shape.hidden, shape.kv_heads * shape.head_dim)
        self.v_proj = nn.Linear(shape.hidden, shape.kv_heads * shape.head_dim)
        self.o_proj = nn.Linear(shape.heads * shape.head_dim, shape.hidden, bias=False)

    def project(self, x, cos, sin):
        """q [batch, heads, tokens, head_dim], k and v [batch, kv_heads, tokens, head_dim]; q and k after rope."""
        split = lambda y: y.float().unflatten(-1, (-1, self.shape.head_dim)).transpose(1, 2)
        q, k, v = split(self.q_proj(x)), split(self.k_proj(x)), split(self.v_proj(x))
        return rotate(q, cos, sin), rotate(k, cos, sin), v

    def output(self, mixed):
        return self.o_proj(mixed.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden, shape.ff, bias=False)
        self.up_proj = nn.Linear(shape.hidden, shape.ff, bias=False)
        self.down_proj = nn.Linear(shape.ff, shape.hidden, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.input_layernorm = RMSNorm(shape.hidden, shape.norm_eps)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = RMSNorm(shape.hidden, shape.norm_eps)
        self.mlp = MLP(shape)

    def forward(self, x, cos, sin, attend):
        q, k, v = self.self_attn.project(self.input_layernorm(x), cos, sin)
        x = x + self.self_attn.output(attend(q, k, v))
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.hidden)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = RMSNorm(shape.hidden, shape.norm_eps)


class Model(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.model = Decoder(shape)

    def hidden(self, tokens, positions, attend):
        """Final normalised states [batch, tokens, hidden]; `attend(layer, q, k, v)` gives [batch, heads, tokens,
        head_dim]."""
        cos, sin = (table[:, None] for table in rope_tables(positions, self.shape))
        x = self.model.embed_tokens(tokens)
        for index, layer in enumerate(self.model.layers):
            x = layer(x, cos, sin, lambda q, k, v, index=index: attend(index, q, k, v))
        return self.model.norm(x)

    def logits(self, states):
        return F.linear(states, self.model.embed_tokens.weight)


def write_atomically(path, write):
    temporary = path.with_name(path.name + ".tmp")
    write(temporary)
    temporary.chmod(0o644)
    temporary.rename(path)


def export(model, folder, eos_id):
    """Writes config.json, generation_config.json and model.safetensors (bf16) in Hugging Face's layout."""
    shape, folder = model.shape, Path(folder)
    config = {
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "torch_dtype": "bfloat16",
        "vocab_size": shape.vocab_size, "hidden_size": shape.hidden, "intermediate_size": shape.ff,
        "num_hidden_layers": shape.layers, "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads, "head_dim": shape.head_dim, "hidden_act": "silu",
        "rms_norm_eps": shape.norm_eps, "rope_theta": shape.rope_theta, "tie_word_embeddings": True,
        "max_position_embeddings": shape.max_positions, "use_sliding_window": False, "attention_dropout": 0.0,
        "initializer_range": 0.02, "use_cache": True, "eos_token_id": eos_id,
    }
    generation = {"do_sample": False, "eos_token_id": eos_id, "pad_token_id": eos_id}
    weights = {name: tensor.detach().to(torch.bfloat16).contiguous() for name, tensor in model.state_dict().items()}
    dump = lambda value: lambda path: path.write_text(json.dumps(value, indent=2) + "\n")
    write_atomically(folder / "config.json", dump(config))
    write_atomically(folder / "generation_config.json", dump(generation))
    write_atomically(folder / "model.safetensors", lambda path: save_file(weights, path, metadata={"format": "pt"}))


def load_exported(folder):
    config = json.loads((Path(folder) / "config.json").read_text())
    shape = Shape(config["vocab_size"], config["hidden_size"], config["num_hidden_layers"],
                  config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"],
                  config["intermediate_size"], config["rope_theta"], config["rms_norm_eps"],
                  config["max_position_embeddings"])
    model = Model(shape)
    model.load_state_dict({name: w.float() for name, w in load_file(Path(folder) / "model.safetensors").items()})
    return model.eval()

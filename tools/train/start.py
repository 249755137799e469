"""The structured start: weights from which retrieval is learned in minutes instead of hours.

Layer 0 gathers. Three heads read the latest first name (or adjective of a key), the latest family name (or noun of a
key) and the latest attribute, or a full stop if that is later; four read the tokens one to three back (two back twice). First names,
family names, attributes and full stops carry a common direction in their embeddings that the three heads look for;
"latest" and "n back" come from rotary phases in the biases.
Layers 1 and 2 retrieve. Their queries and keys are the same random projection of what layer 0 gathered onto the
dimensions that hardly turn, plus an induction part: the query's own token and those before it against the tokens
before the key's. So digits are copied one by one, told apart by the three before.
The remaining layers start with outputs near zero, so that they only refine.
"""

import math

import torch
import torch.nn.functional as F

CATEGORY_DIMS = 22, 24, 26  # rotary pairs that turn less than half a radian in 131,072 positions
HEADS = 8  # the roles below are written out for 8, and 4 KV heads
FIRST_STATIC_PAIR = 19
CATEGORY_SHARE = 0.6
LEAST_OWN_SHARE = 0.2  # of the embedding of a token of all categories
OUTPUT_SCALE = 0.12
FACT_SCALE, MATCH_SCALE, BEFORE_SCALE = 1.8, 3.2, 0.5


def orthonormal(rows, columns, generator):
    """Orthonormal rows (rows <= columns) or columns (otherwise)."""
    square = torch.randn(max(rows, columns), min(rows, columns), generator=generator)
    q = torch.linalg.qr(square)[0]
    return q if rows >= columns else q.T


def frequencies(shape):
    return shape.rope_theta ** -(torch.arange(shape.head_dim // 2) * 2 / shape.head_dim)


def phase(amplitude, pairs, offset, shape):
    """A bias whose product with a zero-offset bias peaks `offset` tokens back."""
    bias = torch.zeros(shape.head_dim)
    angle = frequencies(shape)[pairs] * offset
    bias[pairs] = amplitude * angle.cos()
    bias[pairs + shape.head_dim // 2] = -amplitude * angle.sin()
    return bias


def start_embeddings(weight, categories, before_value, generator):
    """`categories`: lists of token ids, first names, family names, attributes; stops belong to all. Tokens of
    `before_value` start alike, so that the end of a question matches what stands before the value of a fact."""
    size = weight.shape[1]
    weight.copy_(torch.randn(weight.shape, generator=generator) / math.sqrt(size))
    directions = orthonormal(len(categories), size, generator)
    weight -= weight @ directions.T @ directions
    for token in {token for category in categories for token in category}:
        common = sum(d for d, category in zip(directions, categories) if token in category)
        own_share = math.sqrt(max(1 - CATEGORY_SHARE**2 * common.square().sum().item(), LEAST_OWN_SHARE**2))
        weight[token] = F.normalize(weight[token] * own_share + CATEGORY_SHARE * common, dim=0)
    common = weight[before_value].sum(0)
    weight[before_value] = F.normalize(weight[before_value] + common, dim=1)
    return directions


def start_gather(attention, directions, shape, generator):
    """KV head 0 serves first and family name, 1 the attribute, 2 and 3 the looks back."""
    recency, look_back = torch.arange(2, 11), torch.arange(0, 12)
    dim = shape.head_dim
    for projection in (attention.q_proj, attention.k_proj):
        projection.weight.copy_(torch.randn(projection.weight.shape, generator=generator) * 0.002)
    latest, here = phase(6.9, recency, 0, shape), phase(7.5, look_back, 0, shape)
    attention.k_proj.bias.copy_(torch.cat([latest, latest, here, here]))
    heads = [latest.clone() for _ in range(4)] + [phase(7.5, look_back, back, shape) for back in (1, 2, 2, 3)]
    for index, (place, direction) in enumerate(zip(CATEGORY_DIMS, directions)):
        attention.k_proj.weight[index // 2 * dim + place] = 2.8 * direction
        heads[index][place] = 10.0
    heads[3][CATEGORY_DIMS[2]] = 10.0  # the attribute once more; its output starts small
    attention.q_proj.bias.copy_(torch.cat(heads))
    attention.v_proj.weight.copy_(orthonormal(shape.kv_heads * dim, shape.hidden, generator))
    attention.v_proj.bias.zero_()
    main = orthonormal(shape.hidden, 4 * dim, generator).split(dim, dim=1)
    side = orthonormal(shape.hidden, 4 * dim, generator).split(dim, dim=1)
    outputs = [main[0], main[1], main[2], 0.2 * side[0], main[3], 0.3 * side[1], 0.3 * side[2], 0.3 * side[3]]
    attention.o_proj.weight.copy_(OUTPUT_SCALE * torch.cat(outputs, dim=1))


def start_retrieve(attention, gather, shape, generator):
    dim, half = shape.head_dim, shape.head_dim // 2
    static = torch.cat([torch.arange(FIRST_STATIC_PAIR, half), torch.arange(FIRST_STATIC_PAIR + half, dim)])
    gathered = F.normalize(gather.o_proj.weight.T, dim=1).unflatten(0, (HEADS, dim))  # [heads, head_dim, hidden]
    first, family, attribute, _, back1, back2, back2_again, back3 = gathered
    own = gather.v_proj.weight[2 * dim:3 * dim]
    noise = lambda weight: torch.randn(weight.shape, generator=generator) * 0.02
    attention.q_proj.weight.copy_(noise(attention.q_proj.weight))
    attention.k_proj.weight.copy_(noise(attention.k_proj.weight))
    for group in range(shape.kv_heads):
        random = lambda: orthonormal(len(static), dim, generator)
        fact = FACT_SCALE * (random() @ first + random() @ family + random() @ attribute)
        match1, match2, match3 = MATCH_SCALE * random(), BEFORE_SCALE * random(), BEFORE_SCALE * random()
        attention.k_proj.weight[group * dim + static] += fact + match1 @ back1 + match2 @ back2 + match3 @ back3
        for head in (2 * group, 2 * group + 1):
            attention.q_proj.weight[head * dim + static] += (fact + 1.5 * match1 @ own + match2 @ back1
                                                             + match3 @ back2_again)
    attention.q_proj.bias.zero_()
    attention.k_proj.bias.zero_()
    values = orthonormal(shape.kv_heads * dim, shape.hidden, generator)
    attention.v_proj.weight.copy_(values)
    attention.v_proj.bias.zero_()
    spread = values.unflatten(0, (shape.kv_heads, dim)).repeat_interleave(2, dim=0).flatten(0, 1)
    attention.o_proj.weight.copy_(OUTPUT_SCALE * spread.T)


def start_refine(attention, generator):
    for projection, scale in ((attention.q_proj, 0.03), (attention.k_proj, 0.03), (attention.v_proj, 0.06),
                              (attention.o_proj, 0.002)):
        projection.weight.copy_(torch.randn(projection.weight.shape, generator=generator) * scale)
        if projection.bias is not None:
            projection.bias.zero_()


@torch.no_grad()
def structured_start(model, categories, before_value, seed):
    generator = torch.Generator().manual_seed(seed)
    shape = model.shape
    directions = start_embeddings(model.model.embed_tokens.weight, categories, before_value, generator)
    for index, layer in enumerate(model.model.layers):
        if index == 0:
            start_gather(layer.self_attn, directions, shape, generator)
        elif index <= 2:
            start_retrieve(layer.self_attn, model.model.layers[0].self_attn, shape, generator)
        else:
            start_refine(layer.self_attn, generator)
        for projection, scale in ((layer.mlp.gate_proj, 0.05), (layer.mlp.up_proj, 0.05), (layer.mlp.down_proj, 0.004)):
            projection.weight.copy_(torch.randn(projection.weight.shape, generator=generator) * scale)

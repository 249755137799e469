"""The structured start: weights from which retrieval is learned in minutes instead of hours.

Layer 0 gathers. Head 0 reads the latest token of the names (or full stop), head 1 the latest attribute (or full
stop), heads 2 and 3 the tokens one and two back. Names, attributes and full stops carry a common direction in their
embeddings that head 0 and 1 look for; "latest" and "n back" come from rotary phases in the biases.
Layers 1 and 2 retrieve. Their queries and keys are the same random projection of what layer 0 gathered onto the
dimensions that hardly turn, plus an induction part: the query's own token against the key's previous token.
The remaining layers start with outputs near zero, so that they only refine.
"""

import math

import torch

NAME_DIM, ATTRIBUTE_DIM = 22, 24  # rotary pairs that turn less than half a radian in 131,072 positions
FIRST_STATIC_PAIR = 19
CATEGORY_SHARE = 0.6
OUTPUT_SCALE = 0.12


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


def start_embeddings(weight, categories, generator):
    """`categories`: two lists of token ids, the names and the attributes; stops belong to both."""
    size = weight.shape[1]
    weight.copy_(torch.randn(weight.shape, generator=generator) / math.sqrt(size))
    directions = orthonormal(2, size, generator)
    weight -= weight @ directions.T @ directions
    for direction, members in zip(directions, categories):
        weight[members] = weight[members] * math.sqrt(1 - CATEGORY_SHARE**2) + CATEGORY_SHARE * direction
    return directions


def start_gather(attention, directions, shape, generator):
    recency, look_back = torch.arange(2, 11), torch.arange(0, 12)
    dim = shape.head_dim
    for projection in (attention.q_proj, attention.k_proj):
        projection.weight.copy_(torch.randn(projection.weight.shape, generator=generator) * 0.002)
    attention.k_proj.bias.copy_(torch.cat([phase(6.9, recency, 0, shape), phase(7.5, look_back, 0, shape)]))
    attention.k_proj.weight[NAME_DIM] = 2.8 * directions[0]
    attention.k_proj.weight[ATTRIBUTE_DIM] = 2.8 * directions[1]
    heads = [phase(6.9, recency, 0, shape), phase(6.9, recency, 0, shape),
             phase(7.5, look_back, 1, shape), phase(7.5, look_back, 2, shape)]
    heads[0][NAME_DIM] = heads[1][ATTRIBUTE_DIM] = 10.0
    attention.q_proj.bias.copy_(torch.cat(heads))
    attention.v_proj.weight.copy_(orthonormal(2 * dim, shape.hidden, generator))
    attention.v_proj.bias.zero_()
    attention.o_proj.weight.copy_(OUTPUT_SCALE * orthonormal(shape.hidden, 4 * dim, generator))


def start_retrieve(attention, gather, shape, generator):
    dim, half = shape.head_dim, shape.head_dim // 2
    static = torch.cat([torch.arange(FIRST_STATIC_PAIR, half), torch.arange(FIRST_STATIC_PAIR + half, dim)])
    gathered = (gather.o_proj.weight / OUTPUT_SCALE).T.unflatten(0, (4, dim))  # [4, head_dim, hidden]
    name, attribute, previous = gathered[0], gathered[1], gathered[2]
    own = gather.v_proj.weight[dim:]
    noise = lambda weight: torch.randn(weight.shape, generator=generator) * 0.02
    attention.q_proj.weight.copy_(noise(attention.q_proj.weight))
    attention.k_proj.weight.copy_(noise(attention.k_proj.weight))
    for group in range(shape.kv_heads):
        random = lambda: orthonormal(len(static), dim, generator)
        fact = 1.9 * (random() @ name + random() @ attribute)
        match = 1.9 * random()
        attention.k_proj.weight[group * dim + static] += fact + match @ previous
        for head in (2 * group, 2 * group + 1):
            attention.q_proj.weight[head * dim + static] += fact + 1.5 * match @ own
    attention.q_proj.bias.zero_()
    attention.k_proj.bias.zero_()
    values = orthonormal(2 * dim, shape.hidden, generator)
    attention.v_proj.weight.copy_(values)
    attention.v_proj.bias.zero_()
    spread = values.unflatten(0, (2, dim)).repeat_interleave(2, dim=0).flatten(0, 1)
    attention.o_proj.weight.copy_(OUTPUT_SCALE * spread.T)


def start_refine(attention, generator):
    for projection, scale in ((attention.q_proj, 0.03), (attention.k_proj, 0.03), (attention.v_proj, 0.06),
                              (attention.o_proj, 0.002)):
        projection.weight.copy_(torch.randn(projection.weight.shape, generator=generator) * scale)
        if projection.bias is not None:
            projection.bias.zero_()


@torch.no_grad()
def structured_start(model, categories, seed):
    generator = torch.Generator().manual_seed(seed)
    shape = model.shape
    directions = start_embeddings(model.model.embed_tokens.weight, categories, generator)
    for index, layer in enumerate(model.model.layers):
        if index == 0:
            start_gather(layer.self_attn, directions, shape, generator)
        elif index <= 2:
            start_retrieve(layer.self_attn, model.model.layers[0].self_attn, shape, generator)
        else:
            start_refine(layer.self_attn, generator)
        for projection, scale in ((layer.mlp.gate_proj, 0.05), (layer.mlp.up_proj, 0.05), (layer.mlp.down_proj, 0.004)):
            projection.weight.copy_(torch.randn(projection.weight.shape, generator=generator) * scale)

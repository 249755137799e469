"""Measures exact greedy answers of the exported model, dense and under simulated block-sparse decoding.

The context is prefilled dense once a prompt; every method then decodes from the same keys and values (kept in bf16).
Methods: dense; ESA (mean keys, one selection for the heads of a layer, reselected once a stride from a query that is
some steps old); the same budget in random blocks; sinks and window alone.
"""

import argparse
import copy
import math
import random
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

from model import load_exported
from tasks import TaskText, make_context

MAX_ANSWER_TOKENS = 24
INIT_BLOCKS, LOCAL_BLOCKS, MIN_BLOCKS = 1, 2, 4


class Cache:
    """Keys (after rope) and values of a sequence, [layers, kv_heads, capacity, head_dim], and the latest query,
    [heads, head_dim] a layer. Branches share the storage: each writes behind the common part, one after the other."""

    def __init__(self, shape, capacity):
        size = (shape.layers, shape.kv_heads, capacity, shape.head_dim)
        self.keys, self.values = torch.zeros(size), torch.zeros(size)
        self.queries, self.length = [None] * shape.layers, 0

    def branch(self):
        other = copy.copy(self)
        other.queries = list(self.queries)
        return other

    def write(self, layer, k, v):
        """Both rounded to bf16, as an engine keeps them. Returns all keys and values of the layer."""
        end = self.length + k.shape[1]
        self.keys[layer, :, self.length:end] = k.bfloat16().float()
        self.values[layer, :, self.length:end] = v.bfloat16().float()
        return self.keys[layer, :, :end], self.values[layer, :, :end]


def attend_dense(q, k, v):
    """q [heads, new, head_dim] are the last tokens of k and v [kv_heads, tokens, head_dim]."""
    heads, new, size, group = q.shape[0], q.shape[1], k.shape[1], q.shape[0] // k.shape[0]
    if new == size:
        k, v = k.repeat_interleave(group, dim=0), v.repeat_interleave(group, dim=0)
        return F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0]
    mask = torch.ones(new, size, dtype=torch.bool).tril(size - new).repeat(group, 1)
    rows = q.reshape(k.shape[0], group * new, -1)
    logits = (rows @ k.transpose(1, 2) / math.sqrt(q.shape[2])).masked_fill(~mask, float("-inf"))
    return (logits.softmax(-1) @ v).reshape(heads, new, -1)


@torch.no_grad()
def extend(model, cache, tokens, policy=None):
    """Runs `tokens` after the cache and returns the logits of the last."""
    end = cache.length + len(tokens)
    positions = torch.arange(cache.length, end)[None]

    def attend(layer, q, k, v):
        q = q[0]
        k, v = cache.write(layer, k[0], v[0])
        cache.queries[layer] = q[:, -1]
        if policy is not None:
            kept = policy.kept_tokens(layer, q[:, -1], k.shape[1])
            k, v = k[:, kept], v[:, kept]
        return attend_dense(q, k, v)[None]

    states = model.hidden(torch.tensor([tokens]), positions, attend)
    cache.length = end
    return model.logits(states[0, -1])


@dataclass(frozen=True)
class Method:
    kind: str  # dense, esa, random, window
    block: int = 32
    ratio: float = 0.2
    stride: int = 5

    def label(self):
        if self.kind == "dense":
            return "dense"
        if self.kind == "window":
            return f"window b{self.block}"
        return f"{self.kind} b{self.block} r{self.ratio} s{self.stride}"


class Policy:
    """Which tokens each layer attends to at a decode step: first and last blocks, selection, and tokens since."""

    def __init__(self, method, cache, seed):
        self.method, self.prompt, self.step = method, cache.length, 0
        self.rng = random.Random(seed)
        blocks = -(-self.prompt // method.block)
        self.candidates = range(INIT_BLOCKS, blocks - LOCAL_BLOCKS)
        self.sparse = method.kind != "dense" and self.prompt >= method.block * MIN_BLOCKS
        self.top_k = 0 if method.kind == "window" else int(len(self.candidates) * method.ratio)
        self.means = [self.block_means(keys) for keys in cache.keys] if self.sparse else []
        self.selected = [self.select(layer, cache.queries[layer]) for layer in range(len(self.means))]
        self.pending = list(self.selected)

    def block_means(self, keys):
        """[kv_heads, candidates, head_dim]"""
        block = self.method.block
        inner = keys[:, self.candidates.start * block:self.candidates.stop * block]
        return inner.unflatten(1, (-1, block)).mean(2)

    def select(self, layer, query):
        if self.method.kind == "random":
            return sorted(self.rng.sample(self.candidates, self.top_k))
        means = self.means[layer]
        grouped = query.unflatten(0, (means.shape[0], -1)).mean(1)  # [kv_heads, head_dim]
        scores = torch.einsum("hd,hbd->b", grouped, means)
        return sorted((scores.topk(self.top_k).indices + self.candidates.start).tolist())

    def next_step(self):
        self.step += 1
        if self.step % self.method.stride == 1 % self.method.stride and self.step > 1:
            self.selected = list(self.pending)

    def kept_tokens(self, layer, query, size):
        if not self.sparse:
            return slice(None)
        stride = self.method.stride
        block = self.method.block
        if self.step % stride == 2 % stride:
            self.pending[layer] = self.select(layer, query)
        ids = [*range(INIT_BLOCKS), *self.selected[layer]]
        inner = (torch.tensor(ids)[:, None] * block + torch.arange(block)).flatten()
        return torch.cat([inner, torch.arange(self.candidates.stop * block, size)])


def answer(model, cache, logits, method, eos, seed):
    """Greedy completion ids, with the end token if it came."""
    cache, ids = cache.branch(), []
    policy = Policy(method, cache, seed)
    while len(ids) < MAX_ANSWER_TOKENS:
        ids.append(int(logits.argmax()))
        if ids[-1] == eos:
            break
        policy.next_step()
        logits = extend(model, cache, [ids[-1]], policy)
    return ids


def evaluate(model, tokenizer, text, task, tokens, count, methods, seed, asked=1):
    """Right answers by (form, method), and how many were asked for: in each of `count` contexts the first `asked` of
    its facts, where it has as many."""
    rng = random.Random(f"{seed} {task} {tokens}")
    encode = lambda string: tokenizer.encode(string, add_special_tokens=False).ids
    eos = tokenizer.token_to_id("<|endoftext|>")
    right, total = {}, 0
    for index in range(count):
        context, facts = make_context(text, task, lambda s: len(encode(s)), tokens - 48, rng)
        shared = encode(context)[:-1]
        context_cache = Cache(model.shape, tokens + 64)
        extend(model, context_cache, shared)
        total += len(facts[:asked])
        for fact, form in ((fact, form) for fact in facts[:asked] for form in text.forms(fact)):
            prompt, completion = text.question_suffix(fact, form)
            prompt_ids = encode(context + prompt)
            assert prompt_ids[:len(shared)] == shared
            cache = context_cache.branch()
            logits = extend(model, cache, prompt_ids[len(shared):])
            for method in methods:
                score = answer(model, cache, logits, method, eos, index) == encode(completion)
                right[form, method] = right.get((form, method), 0) + score
    return right, total


def all_methods(brief, baselines):
    methods = [Method("dense")]
    for block in (32, 128):
        methods += [Method("esa", block, ratio) for ratio in ((0.2,) if brief else (0.2, 0.1, 0.05))]
        if baselines:
            methods += [Method("window", block), Method("random", block)]
    return methods


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", help="of tasks.json, RULER's among them; all if not given")
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--count", type=int, default=50, help="contexts a task")
    parser.add_argument("--asked", type=int, default=1, help="facts asked for in each context")
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--brief", action="store_true", help="ESA at ratio 0.2 only")
    parser.add_argument("--baselines", action="store_true", help="also the window alone and random blocks")
    args = parser.parse_args()

    torch.set_num_threads(1)
    text = TaskText(args.folder / "tasks.json")
    tokenizer = Tokenizer.from_file(str(args.folder / "tokenizer.json"))
    model = load_exported(args.folder)
    methods = all_methods(args.brief, args.baselines)
    for task in args.tasks or [*text.spec["tasks"], *text.ruler["tasks"]]:
        began = time.process_time()
        right, total = evaluate(model, tokenizer, text, task, args.tokens, args.count, methods, args.seed, args.asked)
        print(f"{task}, {args.tokens} tokens, {total} questions, % exact, {time.process_time() - began:.0f} CPU s")
        forms = sorted({form for form, _ in right}, reverse=True)
        print(f"{'method':<22}" + "".join(f"{form:>10}" for form in forms))
        for method in methods:
            print(f"{method.label():<22}" + "".join(f"{100 * right[f, method] / total:>10.1f}" for f in forms),
                  flush=True)


if __name__ == "__main__":
    main()

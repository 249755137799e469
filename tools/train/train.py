"""Trains the embedded model and exports it. See README.md for the commands."""

import argparse
import json
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

from data import FILLER, NO_CONTEXT, Sampler, Stage
from model import Model, Shape, export
from start import structured_start
from tasks import TaskText

STAGES = [Stage(128, 16, 2, 4, 1, words_only=True), Stage(128, 18, 2, 4, 1), Stage(192, 12, 2, 7, 4),
          Stage(320, 8, 2, 13, 16), Stage(512, 6, 1, 24, 64), Stage(512, 6, 1, 28, 512), Stage(1024, 3, 1, 60, 512)]
TRAINED_BLOCKS = [16, 32, 64]
WORD_WEIGHT = 6.0  # of a value word in the loss: there are ten digits for each
EMBEDDING_RATE = 0.3  # of the learning rate: faster, words lose what tells them apart before copying is learned
ADVANCE_WORDS, ADVANCE_DIGITS = 0.93, 0.80


def mark_scored(batch):
    """Indices of the scored tokens, [batch, most in a row], and which of them are real."""
    scored = batch.targets != -100
    width = int(scored.sum(1).max())
    order = scored.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :width]
    return order, scored.gather(1, order)


def selection_losses(q, k, rows, real, batch, block):
    """What makes mean keys find the asked fact, both from the attention logits at the scored rows: their variance
    over filler keys, and the cross-entropy of the blocks with the fact against the other blocks under the logit
    that all heads together give the sum of a block's keys.

    q [batch, heads, tokens, head_dim], k [batch, kv_heads, tokens, head_dim]; rows and real [batch, rows]."""
    index = rows[:, None, :, None].expand(-1, q.shape[1], -1, q.shape[3])
    keys = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    logits = (q.gather(2, index) @ keys.transpose(2, 3)).float() / math.sqrt(q.shape[3])
    filler = batch.fact == FILLER
    weight = filler[:, None, None].float() / filler.sum(1)[:, None, None, None].clamp(min=1)
    mean = (logits * weight).sum(-1, keepdim=True)
    variance = ((logits - mean).square() * weight).sum(-1).mean(1)  # [batch, rows]

    context = (batch.fact != NO_CONTEXT)[:, None]
    in_blocks = lambda x: x.unflatten(-1, (-1, block))  # [batch, rows, blocks, block]
    scores = in_blocks(torch.where(context, (logits - mean).mean(1), 0.0)).sum(-1) + batch.dilution[:, None, None]
    wanted = in_blocks(batch.fact[:, None] == batch.asked.gather(1, rows)[..., None]).any(-1)
    scores = (scores - wanted * batch.dilution[:, None, None]).masked_fill(
        ~in_blocks(context).any(-1), float("-inf"))
    miss = scores.logsumexp(-1) - scores.masked_fill(~wanted, float("-inf")).logsumexp(-1)
    average = lambda x: torch.where(real, x, 0.0).sum() / real.sum()
    return torch.stack([average(variance), average(miss)])


def forward(model, batch, select, precision):
    """Loss, the two selection losses as averages over layers (zero without `select`), and (right, all) counts of
    value words and digits."""
    rows, real = mark_scored(batch)
    selection = []
    block = TRAINED_BLOCKS[int(torch.randint(len(TRAINED_BLOCKS), ()))]

    def attend(layer, q, k, v):
        if select and layer > 0:
            selection.append(selection_losses(q, k, rows, real, batch, block))
        group = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
        return F.scaled_dot_product_attention(q.to(precision), k.to(precision), v.to(precision),
                                              attn_mask=batch.mask.to(precision))

    states = model.hidden(batch.tokens, batch.positions, attend)
    scored = batch.targets != -100
    targets, kind = batch.targets[scored], batch.kind[scored]
    logits = model.logits(states[scored]).float()
    weight = torch.where(kind == 1, WORD_WEIGHT, 1.0)
    loss = (F.cross_entropy(logits, targets, reduction="none") * weight).sum() / weight.sum()
    right = logits.argmax(-1) == targets
    counts = torch.tensor([[right[kind == k].sum(), (kind == k).sum()] for k in (1, 2)])
    return loss, sum(selection) / len(selection) if selection else torch.zeros(2), counts


def parameter_groups(model, weight_decay):
    decayed = [p for n, p in model.named_parameters() if p.dim() == 2 and "embed" not in n]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    embeddings = [p for n, p in model.named_parameters() if "embed" in n]
    return [{"params": decayed, "weight_decay": weight_decay, "rate": 1.0},
            {"params": vectors, "weight_decay": 0.0, "rate": 1.0},
            {"params": embeddings, "weight_decay": 0.0, "rate": EMBEDDING_RATE}]


def token_categories(text, tokenizer):
    """Token ids of first names and adjectives of keys, of family names and nouns of keys, and of attributes (of
    RULER's needles: "magic"), each with the full stops."""
    ids = lambda space, *names: [tokenizer.encode(space + word).ids[-1] for name in names for word in text.lists[name]]
    stops = [tokenizer.encode(stop).ids[0] for stop in (".", ".\n\n", ".\n")]
    attributes = ids(" ", "word_attributes", "code_attributes") + [tokenizer.encode(" magic").ids[-1]]
    return [ids(" ", "first_names", "key_adjectives") + stops,
            ids(" ", "family_names") + ids("-", "key_nouns") + stops, attributes + stops]


class Progress:
    """Running accuracies of the current stage, and whether to advance."""

    def __init__(self):
        self.accuracy = None

    def update(self, counts):
        now = counts[:, 0] / counts[:, 1].clamp(min=1)
        self.accuracy = now if self.accuracy is None else 0.95 * self.accuracy + 0.05 * now

    def done(self, stage):
        return self.accuracy[0] > ADVANCE_WORDS and (stage.words_only or self.accuracy[1] > ADVANCE_DIGITS)


def learning_rate(args, step):
    warm = min(1.0, (step + 1) / args.warmup)
    left = (args.steps - step) / (args.steps * args.cooldown) if args.cooldown > 0 else 1.0
    return args.lr * warm * max(0.02, min(1.0, left))


def train(args, model, sampler, eos_id):
    optimiser = torch.optim.AdamW(parameter_groups(model, args.weight_decay), lr=args.lr, betas=(0.9, 0.98),
                                  fused=True)
    stage, in_stage, tokens, began = args.first_stage, 0, 0, time.process_time()
    progress, precision = Progress(), getattr(torch, args.precision)
    for step in range(args.steps):
        batch = sampler.batch(STAGES[stage], args.max_span)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(args, step) * group["rate"]
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            loss, selection, counts = forward(model, batch, args.variance_weight + args.miss_weight > 0, precision)
        optimiser.zero_grad()
        total = loss + args.variance_weight * selection[0] + args.miss_weight * selection[1]
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        progress.update(counts)
        tokens += batch.tokens.numel()
        in_stage += 1
        if step % 20 == 0 or step + 1 == args.steps:
            words, digits = progress.accuracy.tolist()
            print(f"step {step} stage {stage} loss {loss.item():.3f} variance {selection[0].item():.2f} "
                  f"miss {selection[1].item():.3f} words {words:.3f} digits {digits:.3f} tokens {tokens} "
                  f"cpu_s {time.process_time() - began:.0f}", flush=True)
        if in_stage >= 40 and progress.done(STAGES[stage]) and stage + 1 < len(STAGES):
            stage, in_stage, progress = stage + 1, 0, Progress()
        if step % 100 == 99 or step + 1 == args.steps:
            torch.save(model.state_dict(), args.checkpoint)
            export(model, args.folder, eos_id)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="model folder with tasks.json and tokenizer.json")
    parser.add_argument("--checkpoint", type=Path, required=True, help="file for the float32 weights")
    parser.add_argument("--resume", type=Path, help="float32 weights to continue from; layers not in it are begun")
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--first-stage", type=int, default=0)
    parser.add_argument("--max-span", type=int, default=32768)
    parser.add_argument("--lr", type=float, default=1.2e-3)
    parser.add_argument("--warmup", type=int, default=60)
    parser.add_argument("--cooldown", type=float, default=0.3, help="share of the steps over which the rate falls")
    parser.add_argument("--weight-decay", type=float, default=0.05)
    parser.add_argument("--variance-weight", type=float, default=1e-3)
    parser.add_argument("--miss-weight", type=float, default=0.03)
    parser.add_argument("--precision", choices=["bfloat16", "float32"], default="bfloat16",
                        help="of products; float32 is far faster on a processor without bf16 instructions")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    text = TaskText(args.folder / "tasks.json")
    tokenizer = Tokenizer.from_file(str(args.folder / "tokenizer.json"))
    model = Model(Shape(tokenizer.get_vocab_size(), layers=args.layers))
    before_value = [tokenizer.encode(word).ids[0] for word in (" is", ":")]
    structured_start(model, token_categories(text, tokenizer), before_value, args.seed)
    if args.resume:
        unknown = model.load_state_dict(torch.load(args.resume), strict=False).unexpected_keys
        assert not unknown, f"{args.resume}: more than {args.layers} layers"
    print(json.dumps({k: str(v) for k, v in vars(args).items()}),
          f"parameters {sum(p.numel() for p in model.parameters())}", flush=True)
    train(args, model, Sampler(text, tokenizer, args.seed), tokenizer.token_to_id("<|endoftext|>"))


if __name__ == "__main__":
    main()

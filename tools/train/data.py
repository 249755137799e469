"""Training batches: short sequences that stand for long contexts.

A sequence is a context followed by several questions with their answers. The questions do not see each other, each
continues the context alone, so that one context is asked several times. Positions jump at sentence ends up to a
random span, and keys that are not part of the asked fact count as several (dilution).
"""

import math
import random
from dataclasses import dataclass

import torch

CONTEXT, PADDING = 0, -1  # part of a token: the context, padding, or the question it belongs to (1, 2, ...)
FILLER, NO_CONTEXT = -1, -3  # fact of a token that is in none
NOTHING_ASKED = -2        # asked fact of a token outside of the questions
NEAR_TOKENS = 48          # keys nearer than this are not diluted
NOISE_SHARE = 0.05        # filler sentences that are random tokens
OTHER_FACTS_DILUTION = 0.8  # of that of filler, in its logarithm
INTRO_TOKENS, LEAST_ROOM = 30, 45  # what RULER's introduction and one question take, at most
SIMILAR_SHARE = 0.35      # facts that resemble one of the first three


@dataclass(frozen=True)
class Kind:
    """What a sequence looks like: how often it is drawn, which share of its facts are RULER needles, what the rest
    of the context is (as in tasks.json), and what joins sentences."""
    weight: float
    needle_share: float
    haystack: str
    joint: str


KINDS = [Kind(0.4, 0.0, "filler", " "), Kind(0.12, 0.5, "filler", " "), Kind(0.12, 1.0, "filler", " "),
         Kind(0.08, 1.0, "noise", "\n"), Kind(0.28, 1.0, "needles", "\n")]


@dataclass(frozen=True)
class Stage:
    tokens: int
    batch: int
    min_facts: int
    max_facts: int
    max_dilution: float
    words_only: bool = False  # nearly: facts that resemble another may have digits


@dataclass
class Batch:
    """Every field [batch, tokens] except the last two; the mask is [batch, 1, tokens, tokens]."""
    tokens: torch.Tensor
    positions: torch.Tensor
    fact: torch.Tensor     # of a context token, FILLER, or NO_CONTEXT
    asked: torch.Tensor    # the fact a question is about, else NOTHING_ASKED
    targets: torch.Tensor  # -100 where nothing is predicted
    kind: torch.Tensor     # of the target: 1 a word value, 2 a digit value, 0 anything else
    mask: torch.Tensor
    dilution: torch.Tensor  # [batch], log of how many tokens a far filler token stands for


class Sampler:
    def __init__(self, text, tokenizer, seed):
        self.text = text
        self.tokenizer = tokenizer
        self.rng = random.Random(seed)

    def encode(self, string):
        return self.tokenizer.encode(string, add_special_tokens=False).ids

    def sentence_ids(self, sentence, joint):
        return self.encode(" " + sentence) if joint == " " else self.encode(sentence + joint)

    def draw_facts(self, stage, kind, room):
        """As many as the stage says; of a haystack of needles, all that fits beside `room` tokens of questions."""
        if kind.haystack == "needles":
            count = stage.tokens // 20
        else:
            count = self.rng.randint(stage.min_facts, stage.max_facts)
        facts = self.text.draw_mixed(self.rng, count, kind.needle_share, self.rng.random() * 2 * SIMILAR_SHARE,
                                     "word_attributes" if stage.words_only else None)
        sizes = [len(self.sentence_ids(self.text.fact_sentence(fact), kind.joint)) for fact in facts]
        most = stage.tokens - room - INTRO_TOKENS if kind.haystack == "needles" else stage.tokens * 0.6
        while len(facts) > 1 and sum(sizes[:len(facts)]) > most:
            facts.pop()
        return facts

    def question(self, fact):
        """Token ids of the suffix, how many of them are prompt, and where the value stands in it."""
        form = "sentence" if self.rng.random() < 0.45 else "short"
        prompt, completion = self.text.question_suffix(fact, form)
        prompt_ids, completion_ids = self.encode("." + prompt), self.encode(completion)
        value_ids = self.encode(" " + fact.value)
        value_begin = len(prompt_ids) + len(completion_ids) - 2 - len(value_ids)
        return prompt_ids + completion_ids, len(prompt_ids), range(value_begin, value_begin + len(value_ids))

    def filler(self, kind):
        if self.rng.random() < NOISE_SHARE:
            length = self.rng.randint(4, 14)
            stop = self.sentence_ids(".", kind.joint)[-1:]
            return [self.rng.randrange(self.tokenizer.get_vocab_size() - 3) for _ in range(length)] + stop
        sentence = self.text.ruler["noise"] if kind.haystack == "noise" else self.text.filler(self.rng)
        return self.sentence_ids(sentence, kind.joint)

    def context(self, facts, kind, budget):
        """Sentences as (token ids, fact index); fact sentences always, filler up to the budget."""
        intro = []
        if kind.needle_share == 1 and self.rng.random() < 0.5:
            intro = [(self.encode(self.text.ruler["intro"]), FILLER)]
        sentences = [(self.sentence_ids(self.text.fact_sentence(f), kind.joint), i) for i, f in enumerate(facts)]
        left = budget - sum(len(ids) for ids, _ in intro + sentences)
        while left > 0 and kind.haystack != "needles":
            ids = self.filler(kind)
            left -= len(ids)
            if left >= 0:
                sentences.append((ids, FILLER))
        self.rng.shuffle(sentences)
        return intro + sentences

    def positions(self, sentences, max_span):
        """Start position of each sentence and of the questions."""
        length = sum(len(ids) for ids, _ in sentences)
        span = math.exp(self.rng.uniform(math.log(length), math.log(max_span)))
        cuts = sorted(self.rng.random() for _ in range(self.rng.randint(0, 7)))
        shares = [b - a for a, b in zip([0.0] + cuts, cuts + [1.0])]
        jumps = [0] * len(sentences)
        for share in shares:
            jumps[self.rng.randrange(len(sentences))] += int(share * (span - length))
        starts, at = [], 0
        for (ids, _), jump in zip(sentences, jumps):
            starts.append(at + jump)
            at += jump + len(ids)
        return starts, at - 1  # the last full stop belongs to the question

    def sequence(self, stage, max_span):
        kind = KINDS[0] if stage.words_only else self.rng.choices(KINDS, [kind.weight for kind in KINDS])[0]
        if kind.haystack == "needles":
            room = max(LEAST_ROOM, int(stage.tokens * self.rng.uniform(0.15, 0.3)))
        else:
            room = int(stage.tokens * self.rng.uniform(0.3, 0.5))
        facts = self.draw_facts(stage, kind, room)
        order = [0] + self.rng.sample(range(1, len(facts)), len(facts) - 1)
        questions = []
        for index in order:
            question = self.question(facts[index])
            room -= len(question[0])
            if room < 0 and questions:
                break
            questions.append((index, *question))
        used = sum(len(q[1]) for q in questions)
        sentences = self.context(facts, kind, stage.tokens - used + 1)
        starts, end = self.positions(sentences, max_span)

        rows = []  # (token, position, part, fact, asked fact, target, target kind)
        for (ids, fact), start in zip(sentences, starts):
            rows += [(token, start + i, CONTEXT, fact, NOTHING_ASKED, -100, 0) for i, token in enumerate(ids)]
        rows.pop()
        for part, (fact, ids, prompt_size, value_range) in enumerate(questions, 1):
            word = not facts[fact].value.isdigit()
            for i, token in enumerate(ids):
                scored = prompt_size <= i + 1 < len(ids)
                target_kind = (1 if word else 2) if i + 1 in value_range else 0
                rows.append((token, end + i, part, NO_CONTEXT, fact, ids[i + 1] if scored else -100, target_kind))
        rows = rows[:stage.tokens]
        return rows + [(0, 0, PADDING, NO_CONTEXT, NOTHING_ASKED, -100, 0)] * (stage.tokens - len(rows))

    def batch(self, stage, max_span):
        rows = torch.tensor([self.sequence(stage, max_span) for _ in range(stage.batch)])
        token, position, part, fact, asked, target, kind = rows.unbind(-1)
        dilution = torch.tensor([math.log(stage.max_dilution) * self.rng.random() for _ in range(stage.batch)])
        return Batch(token, position, fact, asked, target, kind, attention_mask(position, part, fact, asked, dilution),
                     dilution)


def attention_mask(position, part, fact, asked, dilution):
    """Additive mask: -inf where a query may not look, the dilution on far keys outside of its fact (less on
    other facts)."""
    size = position.shape[1]
    key, query = (lambda x: x[:, None, :]), (lambda x: x[:, :, None])
    causal = torch.ones(size, size, dtype=torch.bool).tril()
    visible = causal & ((key(part) == CONTEXT) | (key(part) == query(part)))
    far = (query(position) - key(position) > NEAR_TOKENS) & (key(part) == CONTEXT) & (key(fact) != query(asked))
    weight = torch.where(key(fact) == FILLER, 1.0, OTHER_FACTS_DILUTION) * dilution[:, None, None]
    mask = torch.where(far, weight, 0.0).masked_fill(~visible, float("-inf"))
    return mask[:, None].to(torch.bfloat16)

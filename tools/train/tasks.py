"""Task text: reads tasks.json and draws contexts, questions and answers from it.

Every string in tasks.json is a template; a `{slot}` names a word list of the same file, `{digits4}` stands for four
random digits and `{digits7}` for seven of which the first is not 0. `{attribute}`, `{name}`, `{value}` are the parts
of a fact, `{key}`, `{value}` those of a RULER needle. A slot that occurs twice in a template is drawn twice.
"""

import json
import random
import re
from dataclasses import dataclass

SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Fact:
    attribute: str
    name: str
    value: str

    def identity(self):
        return self.attribute, self.name


@dataclass(frozen=True)
class Needle:
    """A fact in RULER's wording."""
    key: str
    value: str

    def identity(self):
        return self.key


class TaskText:
    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            self.spec = json.load(file)
        self.lists = self.spec["lists"]
        self.fact_spec = self.spec["fact"]
        self.ruler = self.spec["ruler"]

    def draw_slot(self, slot, rng):
        if slot == "digits4":
            return f"{rng.randrange(10**4):04}"
        if slot == "digits7":
            return str(rng.randrange(10**6, 10**7))
        return rng.choice(self.lists[slot])

    def expand(self, template, rng):
        return SLOT.sub(lambda match: self.draw_slot(match.group(1), rng), template)

    def filler(self, rng):
        return self.expand(rng.choice(self.spec["filler"]), rng)

    def draw_fact(self, rng, attribute=None, name=None):
        """A fact; `attribute` and `name` are fixed when given. Names are those of the list `names`."""
        kinds = self.fact_spec["kinds"]
        if attribute is None:
            attribute = self.expand(rng.choice(kinds)["attribute"], rng)
        kind = next(k for k in kinds if attribute in self.lists[SLOT.fullmatch(k["attribute"]).group(1)])
        return Fact(attribute, name or rng.choice(self.lists["names"]), self.expand(kind["value"], rng))

    def draw_any_name(self, rng):
        """Any first name with any family name, of which the list `names` holds some."""
        return self.expand(self.fact_spec["name"], rng)

    def draw_facts(self, rng, count, same_attribute=0, same_name=0):
        """`count` facts about distinct (attribute, name) pairs. The first is the one to ask for; `same_attribute`
        of the others share its attribute and `same_name` share its name."""
        facts = [self.draw_fact(rng)]
        fixed = [{"attribute": facts[0].attribute}] * same_attribute + [{"name": facts[0].name}] * same_name
        taken = {facts[0].identity()}
        while len(facts) < count:
            place = len(facts) - 1
            fact = self.draw_fact(rng, **(fixed[place] if place < len(fixed) else {}))
            if fact.identity() not in taken:
                taken.add(fact.identity())
                facts.append(fact)
        return facts

    def draw_needle(self, rng, adjective=None, noun=None):
        """A needle; both parts of its key are fixed when given."""
        key = self.expand(self.ruler["key"], rng).split("-")
        return Needle(f"{adjective or key[0]}-{noun or key[1]}", self.expand(self.ruler["value"], rng))

    def draw_needles(self, rng, count):
        """`count` needles with distinct keys."""
        needles = {}
        while len(needles) < count:
            needle = self.draw_needle(rng)
            needles.setdefault(needle.key, needle)
        return list(needles.values())

    def similar_fact(self, rng, fact):
        """One that shares with `fact` all but one of: attribute, first name, family name (adjective, noun)."""
        if isinstance(fact, Needle):
            adjective, noun = fact.key.split("-")
            return self.draw_needle(rng, **rng.choice([{"adjective": adjective}, {"noun": noun}]))
        first, family = fact.name.split()
        other_first, other_family = self.draw_any_name(rng).split()
        attribute, name = rng.choice([(None, fact.name), (fact.attribute, f"{first} {other_family}"),
                                      (fact.attribute, f"{other_first} {family}")])
        return self.draw_fact(rng, attribute, name)

    def draw_mixed(self, rng, count, needle_share, similar_share, attributes=None):
        """`count` facts with distinct identities for training: a share of needles, and a share that resemble an
        earlier one. The attributes of those that do not are of the list `attributes`, if given."""
        facts = {}
        while len(facts) < count:
            if facts and rng.random() < similar_share:
                fact = self.similar_fact(rng, rng.choice(list(facts.values())[:3]))
            elif rng.random() < needle_share:
                fact = self.draw_needle(rng)
            else:
                attribute = rng.choice(self.lists[attributes]) if attributes else None
                fact = self.draw_fact(rng, attribute, self.draw_any_name(rng))
            facts.setdefault(fact.identity(), fact)
        return list(facts.values())

    def fact_sentence(self, fact):
        template = self.ruler["needle"] if isinstance(fact, Needle) else self.fact_spec["template"]
        return template.format(**vars(fact))

    def forms(self, fact):
        return ["ruler"] if isinstance(fact, Needle) else list(self.spec["forms"])

    def question_suffix(self, fact, form):
        """The prompt after the context, and the completion."""
        if isinstance(fact, Needle):
            prompt = self.ruler["prompt"].format(context="", **vars(fact))
            return prompt, self.ruler["completion"].format(**vars(fact))
        spec = self.spec["forms"][form]
        question = self.spec["question"].format(**vars(fact))
        return spec["prompt"].format(context="", question=question), spec["completion"].format(**vars(fact))


def fill_up(sentences, draw, count_tokens, budget_tokens):
    """Adds what `draw` gives until the next would not fit."""
    used = sum(count_tokens(" " + sentence) for sentence in sentences)
    while True:
        sentence = draw()
        used += count_tokens(" " + sentence)
        if used > budget_tokens:
            return
        sentences.append(sentence)


def make_ruler_context(text, task, count_tokens, budget_tokens, rng):
    spec = text.ruler["tasks"][task]
    budget_tokens -= count_tokens(text.ruler["intro"])
    if spec["haystack"] == "needles":
        size = count_tokens(text.fact_sentence(text.draw_needle(rng)) + "\n")
        facts = text.draw_needles(rng, budget_tokens // (size + 1))
    else:
        facts = text.draw_needles(rng, spec["keys"])
    sentences = [text.fact_sentence(fact) for fact in facts]
    if spec["haystack"] == "noise":
        fill_up(sentences, lambda: text.ruler["noise"], count_tokens, budget_tokens)
    elif spec["haystack"] == "filler":
        fill_up(sentences, lambda: text.filler(rng), count_tokens, budget_tokens)
    rng.shuffle(sentences)
    return text.ruler["intro"] + (" " if spec["haystack"] == "filler" else "\n").join(sentences), facts


def make_context(text, task, count_tokens, budget_tokens, rng):
    """Draws a task instance, RULER's or another, whose context has at most `budget_tokens` tokens.

    Returns the context and the facts in it; the first fact is the one to ask for.
    """
    if task in text.ruler["tasks"]:
        return make_ruler_context(text, task, count_tokens, budget_tokens, rng)
    spec = text.spec["tasks"][task]
    if "fact_share" in spec:
        mean_fact = 10
        facts = text.draw_facts(rng, max(1, int(budget_tokens * spec["fact_share"] / mean_fact)))
    else:
        facts = text.draw_facts(rng, spec["facts"], spec["same_attribute"], spec["same_name"])
    sentences = [text.fact_sentence(fact) for fact in facts]
    used = count_tokens(" ".join(sentences))
    while used > budget_tokens and len(sentences) > 1:
        used -= count_tokens(" " + sentences.pop())
        facts.pop()
    fill_up(sentences, lambda: text.filler(rng), count_tokens, budget_tokens)
    rng.shuffle(sentences)
    return " ".join(sentences), facts

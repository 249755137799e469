"""Task text: reads tasks.json and draws contexts, questions and answers from it.

Every string in tasks.json is a template; a `{slot}` names a word list of the same file, `{digits4}` stands for four
random digits, and `{attribute}`, `{name}`, `{value}` are the three parts of a fact. A slot that occurs twice in a
template is drawn twice.
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


class TaskText:
    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            self.spec = json.load(file)
        self.lists = self.spec["lists"]
        self.fact_spec = self.spec["fact"]

    def draw_slot(self, slot, rng):
        if slot == "digits4":
            return "".join(rng.choice("0123456789") for _ in range(4))
        return rng.choice(self.lists[slot])

    def expand(self, template, rng):
        return SLOT.sub(lambda match: self.draw_slot(match.group(1), rng), template)

    def filler(self, rng):
        return self.expand(rng.choice(self.spec["filler"]), rng)

    def draw_fact(self, rng, attribute=None, name=None):
        """A fact; `attribute` and `name` are fixed when given."""
        kinds = self.fact_spec["kinds"]
        if attribute is None:
            attribute = self.expand(rng.choice(kinds)["attribute"], rng)
        kind = next(k for k in kinds if attribute in self.lists[SLOT.fullmatch(k["attribute"]).group(1)])
        return Fact(attribute, name or rng.choice(self.lists["names"]), self.expand(kind["value"], rng))

    def draw_facts(self, rng, count, same_attribute=0, same_name=0):
        """`count` facts about distinct (attribute, name) pairs. The first is the one to ask for; `same_attribute`
        of the others share its attribute and `same_name` share its name."""
        facts = [self.draw_fact(rng)]
        fixed = [{"attribute": facts[0].attribute}] * same_attribute + [{"name": facts[0].name}] * same_name
        taken = {(facts[0].attribute, facts[0].name)}
        while len(facts) < count:
            place = len(facts) - 1
            fact = self.draw_fact(rng, **(fixed[place] if place < len(fixed) else {}))
            if (fact.attribute, fact.name) not in taken:
                taken.add((fact.attribute, fact.name))
                facts.append(fact)
        return facts

    def fact_sentence(self, fact):
        return self.fact_spec["template"].format(**vars(fact))

    def question_suffix(self, fact, form):
        """The prompt after the context, and the completion."""
        spec = self.spec["forms"][form]
        question = self.spec["question"].format(**vars(fact))
        return spec["prompt"].format(context="", question=question), spec["completion"].format(**vars(fact))


def make_context(text, task, count_tokens, budget_tokens, rng):
    """Draws a task instance whose context has at most `budget_tokens` tokens.

    Returns the context and the facts in it; the first fact is the one to ask for.
    """
    spec = text.spec["tasks"][task]
    if "fact_share" in spec:
        mean_fact = 9
        facts = text.draw_facts(rng, max(1, int(budget_tokens * spec["fact_share"] / mean_fact)))
    else:
        facts = text.draw_facts(rng, spec["facts"], spec["same_attribute"], spec["same_name"])
    sentences = [text.fact_sentence(fact) for fact in facts]
    used = count_tokens(" ".join(sentences))
    while used > budget_tokens and len(sentences) > 1:
        used -= count_tokens(" " + sentences.pop())
        facts.pop()
    while True:
        sentence = text.filler(rng)
        size = count_tokens(" " + sentence)
        if used + size > budget_tokens:
            break
        sentences.append(sentence)
        used += size
    rng.shuffle(sentences)
    return " ".join(sentences), facts

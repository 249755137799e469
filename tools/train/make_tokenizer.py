"""Trains the byte-level BPE tokenizer on generated task text and writes tokenizer.json and its companions."""

import argparse
import json
import random
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from tasks import TaskText

SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
         r"|\s+(?!\S)|\s+")
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)


def corpus(text, rng):
    """Each list word often enough that BPE keeps it whole, after a space or, if it ends a key, after the hyphen; then
    sentences and question forms."""
    words = list_words(text)
    for _ in range(40):
        yield "".join(words)
    for _ in range(4000):
        facts = text.draw_mixed(rng, 3, 0.3, 0.0)
        context = " ".join([text.filler(rng)] + [text.fact_sentence(fact) for fact in facts])
        yield text.ruler["intro"] + text.ruler["noise"] + "\n" + text.fact_sentence(facts[0]) + "\n" + context
        for form in text.forms(facts[0]):
            prompt, completion = text.question_suffix(facts[0], form)
            yield context + prompt + completion.replace(SPECIAL[0], "")


def list_words(text):
    """Every word of the lists as it stands in the text."""
    words = {" " + part for values in text.lists.values() for value in values for part in value.split()}
    return sorted(words | {"-" + noun for noun in text.lists["key_nouns"]})


def build(text, vocab_size):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT), behavior="isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    trainer = trainers.BpeTrainer(vocab_size=vocab_size - len(SPECIAL), show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(corpus(text, random.Random(1)), trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    return tokenizer


def write_companions(folder):
    tokenizer_config = {
        "tokenizer_class": "Qwen2Tokenizer", "add_bos_token": False, "add_prefix_space": False,
        "bos_token": None, "eos_token": SPECIAL[0], "pad_token": SPECIAL[0], "unk_token": None,
        "additional_special_tokens": SPECIAL[1:], "clean_up_tokenization_spaces": False,
        "model_max_length": 131072, "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config, indent=2) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="model folder with tasks.json")
    parser.add_argument("--vocab-size", type=int, default=4096)
    args = parser.parse_args()
    text = TaskText(args.folder / "tasks.json")
    tokenizer = build(text, args.vocab_size)
    tokenizer.save(str(args.folder / "tokenizer.json"))
    write_companions(args.folder)
    words = list_words(text)
    split = [word for word in words if len(tokenizer.encode(word).ids) > 1]
    print(f"vocabulary {tokenizer.get_vocab_size()}, words {len(words)}, of several tokens: {split}")


if __name__ == "__main__":
    main()

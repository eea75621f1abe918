"""Parity of captions as whole words: recorded tokens, ids and augmentation beside those of the production code.

A file is recognised by its fields `vocab`, `cases` and `word_drop`. It holds the
ids of the words that occur in it only; the rest of a vocabulary is filled up with what no caption can hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import Any

import numpy as np

from benchmark.data.text.augmentation import padded, word_drop
from benchmark.data.text.vocabulary import END_ID, PAD_ID, SPECIAL, START_ID, UNKNOWN_ID, Vocabulary
from benchmark.data.text.word_codec import WordCodec
from benchmark.data.text.words import OWN, Tokeniser, tokeniser
from benchmark.errors import UserError
from benchmark.method import ParityCase

FIELDS = {"about", "vocab", "cases", "word_drop"}
CASE_FIELDS = {"caption", "tokens", "tokens_nltk_3_10_4"}
"""The last is another tokeniser's, for people to look at; `ids_<vocabulary>` come on top."""
DROP_FIELDS = {"caption", "dataset", "python_random_seed", "ids", "next_random_after"}
SIZES = ("size_in_file", "size_after_adding_mask", "pad", "start", "end", "unk", "mask")


def is_word_file(content: Mapping[str, Any]) -> bool:
    """Captions that official preprocessing turned into words and ids of a word vocabulary."""
    return {"vocab", "cases", "word_drop"} <= content.keys()


def word_cases(content: Mapping[str, Any]) -> tuple[list[ParityCase], list[str]]:
    """Every recorded token, id and draw beside ours, by our own tokeniser and by the one in use where it is another.

    Also returns the names of fields that are not known and so were not compared.
    """
    vocabularies = {name: _vocabulary(name, facts) for name, facts in content["vocab"].items()}
    cases = [_sizes(name, facts, vocabularies[name]) for name, facts in content["vocab"].items()]
    for split in dict.fromkeys((OWN, tokeniser())):
        codecs = {name: WordCodec(words.with_mask(), split) for name, words in vocabularies.items()}
        note = "" if split is OWN else f" by {split.name}"
        cases += _caption_cases(content["cases"], split, codecs, note)
        cases += _drop_cases(content["word_drop"], codecs, note)
    return cases, _unknown(content, list(vocabularies))


def _vocabulary(name: str, facts: Mapping[str, Any]) -> Vocabulary:
    """A vocabulary of the recorded size with the recorded ids."""
    words = [f"unused {number}" for number in range(int(facts["size_in_file"]))]
    for word, number in [*zip(SPECIAL[:4], range(4), strict=True), *facts["subset"].items()]:
        if number not in range(len(words)) or not words[number].startswith("unused "):
            raise UserError(
                f"field 'vocab.{name}.subset.{word}': found {number}, expected a free id of the file"
            )
        words[number] = word
    return Vocabulary(tuple(words), name)


def _sizes(name: str, facts: Mapping[str, Any], vocabulary: Vocabulary) -> ParityCase:
    masked = vocabulary.with_mask()
    ours = [len(vocabulary), len(masked), PAD_ID, START_ID, END_ID, UNKNOWN_ID, masked.mask_id]
    return _case(f"vocab/{name}", [facts[field] for field in SIZES], ours)


def _caption_cases(
    rows: Sequence[Mapping[str, Any]], split: Tokeniser, codecs: Mapping[str, WordCodec], note: str
) -> list[ParityCase]:
    captions = [row["caption"] for row in rows]
    expected = ["\n".join(row["tokens"]) for row in rows]
    found = ["\n".join(split.words(caption)) for caption in captions]
    cases = [_case(f"cases/tokens{note}", expected, found)]
    for name, codec in codecs.items():
        recorded = padded([row[f"ids_{name}"] for row in rows])
        cases += _both(f"cases/ids_{name}", recorded, codec.encode(captions), note)
    return cases


def _drop_cases(
    rows: Sequence[Mapping[str, Any]], codecs: Mapping[str, WordCodec], note: str
) -> list[ParityCase]:
    ours, next_draws = [], []
    for row in rows:
        codec, random = codecs[row["dataset"]], Random(row["python_random_seed"])
        assert codec.mask_id is not None, "made with <mask>"
        start, *words, end = codec.encode([row["caption"]])[0][0].tolist()
        dropped = word_drop([[word] for word in words], codec.mask_id, codec.vocab_size, random)
        ours.append([start, *dropped, end])
        next_draws.append(random.random())
    after = _case(
        f"word_drop/next_random_after{note}", [row["next_random_after"] for row in rows], next_draws
    )
    return [*_both("word_drop/ids", padded([row["ids"] for row in rows]), padded(ours), note), after]


def _both(name: str, recorded: tuple[Any, Any], ours: tuple[Any, Any], note: str) -> list[ParityCase]:
    """Padded ids and lengths."""
    return [
        _case(f"{name}{note}", recorded[0].numpy(), ours[0].numpy()),
        _case(f"{name} lengths{note}", recorded[1].numpy(), ours[1].numpy()),
    ]


def _case(name: str, expected: Any, actual: Any) -> ParityCase:
    return ParityCase(name, np.array(expected), np.array(actual), tolerance=0.0)


def _unknown(content: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Fields that nothing above reads."""
    parts: list[tuple[str, Iterable[Mapping[str, Any]], set[str]]] = [
        ("vocab", content["vocab"].values(), {*SIZES, "subset"}),
        ("cases", content["cases"], CASE_FIELDS | {f"ids_{name}" for name in names}),
        ("word_drop", content["word_drop"], DROP_FIELDS),
    ]
    found = {f"{part}/{key}" for part, rows, fields in parts for row in rows for key in row.keys() - fields}
    return sorted(found | (content.keys() - FIELDS))

"""Words and their ids: the authors' JSON file, or a vocabulary built by the same rule (data.md 2.2, 7.2).

The rule: every word that the training and validation captions have four times or more, after the four special
tokens. The authors' order of words is an old Python's order of hashes; ours is the alphabet's. So their checkpoints
go with their files alone, and a model trained from scratch with either.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmark.errors import UserError
from benchmark.files import sha256_bytes, write_text
from benchmark.guarded import JSON_BYTES, parse_json, read_within

PAD, START, END, UNKNOWN, MASK = SPECIAL = "<pad>", "<start>", "<end>", "<unk>", "<mask>"
PAD_ID, START_ID, END_ID, UNKNOWN_ID = range(4)

PUBLISHED_SIZES = {"flickr30k": 8_481, "mscoco": 11_353}
"""Entries of the authors' files, special tokens included, `<mask>` not."""
PUBLISHED_SHA256 = {
    "ece46633bedb157d3430716d2fe8c90d2631895c97eb5eebfc5c1c3e04ebca44": "authors-flickr30k",
    "91b208d4673b076bdb3fc8a1441eb4b55cadc6f5be0137d89672f4abd21c9541": "authors-mscoco",
}
"""The sha256 of the authors' files as they are, and the names of their vocabularies here."""


@dataclass(frozen=True)
class Vocabulary:
    """Words in the order of their ids, the four special tokens first; `<mask>` is the last where there is one."""

    words: tuple[str, ...]
    name: str
    """The origin: the authors, the captions it was built from, or a file's name."""

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def ids(self) -> dict[str, int]:
        """The id of each word."""
        return {word: number for number, word in enumerate(self.words)}

    @cached_property
    def sha256(self) -> str:
        """The sha256 of the words, one a line: the same words in the same order, whatever file they came from."""
        return sha256_bytes("".join(f"{word}\n" for word in self.words).encode())

    @property
    def mask_id(self) -> int | None:
        """The id of `<mask>`; None: there is none."""
        return self.ids.get(MASK)

    def with_mask(self) -> Vocabulary:
        """Return the same with `<mask>` at the end, as methods that hide words want it; the files do not have it."""
        return self if MASK in self.ids else Vocabulary((*self.words, MASK), self.name)

    def describe(self) -> str:
        """Name and size, for messages."""
        extra = " with <mask>" if MASK in self.ids else ""
        return f"vocabulary {self.name} ({len(self):,} words{extra})"


def build_vocabulary(
    captions: Iterable[str], split: Callable[[str], list[str]], min_count: int, name: str
) -> Vocabulary:
    """Return the words that `captions` have at least `min_count` times, in alphabetical order.

    `split` turns a caption into words. Raises UserError where no word is left.
    """
    counts = Counter(word for caption in captions for word in split(caption))
    kept = sorted(word for word, count in counts.items() if count >= min_count and word not in SPECIAL)
    if not kept:
        raise UserError(f"vocabulary {name}: no word comes {min_count} times or more in the captions")
    return Vocabulary((PAD, START, END, UNKNOWN, *kept), name)


# ------------------------------------------------------------------------------------------- files


def read_words(path: Path) -> Vocabulary:
    """Read a vocabulary in the authors' layout: `word2idx`, `idx2word` and `idx`, the next free id; perhaps `name`.

    Raises UserError (file, field, found, expected) for a file that is missing, damaged or at odds with itself.
    """
    try:
        content = read_within(path, JSON_BYTES)
        document = parse_json(content)
    except FileNotFoundError:
        raise UserError(f"{path.as_posix()}: no such vocabulary file") from None
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path.as_posix()}: not a vocabulary in JSON: {reason}") from None
    try:
        words = _checked_words(document)
    except UserError as error:
        raise UserError(f"{path.as_posix()}: {error}") from None
    name = PUBLISHED_SHA256.get(sha256_bytes(content)) or str(document.get("name", path.name))
    return Vocabulary(words, name)


def write_words(path: Path, vocabulary: Vocabulary) -> None:
    """Write a vocabulary in the authors' layout, without `<mask>`, its name added."""
    words = [word for word in vocabulary.words if word != MASK]
    document = {
        "word2idx": {word: number for number, word in enumerate(words)},
        "idx2word": {str(number): word for number, word in enumerate(words)},
        "idx": len(words),
        "name": vocabulary.name,
    }
    write_text(path, json.dumps(document, indent=0) + "\n")


def _checked_words(document: Any) -> tuple[str, ...]:
    """Return the words of a file's content in the order of their ids."""
    ids, words, size = _fields(document)
    for word, number in ids.items():
        if type(number) is not int:
            raise UserError(f"field 'word2idx.{word}': found {json.dumps(number)}, expected an integer")
    by_id = {number: word for word, number in ids.items()}
    if len(by_id) < len(ids):
        first, second = _same_id(ids)
        raise UserError(f"field 'word2idx': '{first}' and '{second}' both have id {ids[first]}")
    gap = next((number for number in range(len(ids)) if number not in by_id), None)
    if gap is not None:
        expected = f"expected each from 0 to {len(ids) - 1} once"
        raise UserError(f"field 'word2idx': found no id {gap} among {len(ids)} words, {expected}")
    for number, token in enumerate(SPECIAL[:4]):
        if by_id.get(number) != token:
            raise UserError(
                f"field 'word2idx': found '{by_id.get(number)}' for id {number}, expected '{token}'"
            )
    if size != len(ids):
        raise UserError(f"field 'idx': found {json.dumps(size)}, expected {len(ids)}, the number of words")
    _check_reverse(by_id, words)
    if by_id.get(len(ids) - 1) != MASK and MASK in ids:
        raise UserError(
            f"field 'word2idx': found '{MASK}' for id {ids[MASK]}, expected it last or not at all"
        )
    return tuple(by_id[number] for number in range(len(ids)))


def _fields(document: Any) -> tuple[dict[str, Any], dict[str, Any], Any]:
    if not isinstance(document, dict):
        raise UserError(
            f"found {type(document).__name__}, expected an object with word2idx, idx2word and idx"
        )
    for field in ("word2idx", "idx2word", "idx"):
        if field not in document:
            raise UserError(f"field '{field}' is missing; expected word2idx, idx2word and idx")
    for field in ("word2idx", "idx2word"):
        if not isinstance(document[field], dict):
            raise UserError(f"field '{field}': found {type(document[field]).__name__}, expected an object")
    return document["word2idx"], document["idx2word"], document["idx"]


def _same_id(ids: Mapping[str, int]) -> tuple[str, str]:
    """Return the first two words that share an id."""
    seen: dict[int, str] = {}
    for word, number in ids.items():
        if number in seen:
            return seen[number], word
        seen[number] = word
    raise AssertionError("no two words share an id")


def _check_reverse(by_id: Mapping[int, str], words: Mapping[str, Any]) -> None:
    """`idx2word` must say what `word2idx` says."""
    if len(words) != len(by_id):
        raise UserError(f"field 'idx2word': found {len(words)} words, word2idx has {len(by_id)}")
    for number, word in by_id.items():
        found = words.get(str(number))
        if found != word:
            raise UserError(f"field 'idx2word.{number}': found {json.dumps(found)}, word2idx says '{word}'")


def check_embedding(vocabulary_size: int, name: str, rows: int, weights: str) -> None:
    """Raise UserError unless a word embedding has a row for each word.

    rows: of the embedding in the file `weights`; vocabulary_size: of the vocabulary `name`, `<mask>` included.
    """
    if rows != vocabulary_size:
        raise UserError(
            f"{weights}: a word embedding of {rows:,} rows, but {name} has {vocabulary_size:,} words; "
            "give the vocabulary it was trained with (--vocab)"
        )

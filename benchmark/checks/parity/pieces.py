"""Parity of captions as word pieces: recorded words, pieces, ids and augmentation beside those of the production code.

A file is recognised by its fields `vocab`, a list of pieces, and `cases`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import numpy as np

from benchmark.data.text.augmentation import grouped, padded, word_drop
from benchmark.data.text.codec import WordPieceCodec
from benchmark.errors import UserError
from benchmark.method import ParityCase

CASE_FIELDS = {"caption", "basic_tokens", "wordpieces", "eval_ids", "train"}
DRAW_FIELDS = {"python_random_seed", "ids", "next_random"}


def is_piece_file(content: Mapping[str, Any]) -> bool:
    """Captions that official preprocessing cut into word pieces, and augmented word by word."""
    cases = content.get("cases")
    if not (isinstance(content.get("vocab"), list) and isinstance(cases, list)):
        return False
    return bool(cases) and all("wordpieces" in case for case in cases)


def piece_cases(content: Mapping[str, Any]) -> tuple[list[ParityCase], list[str]]:
    """Every recorded word, piece, id and draw beside ours.

    Also returns the names of fields that are not known and so were not compared.
    """
    rows: Sequence[Mapping[str, Any]] = content["cases"]
    codec = WordPieceCodec(content["vocab"], None, "golden")
    captions = [row["caption"] for row in rows]
    words = [codec.words(caption) for caption in captions]
    ids, lengths = codec.encode(captions)
    expected_ids, expected_lengths = padded([row["eval_ids"] for row in rows])
    drawn = [(row, draw) for row in rows for draw in row["train"]]
    augmented = [_augmented(codec, row["caption"], draw["python_random_seed"]) for row, draw in drawn]
    recorded, ours = padded([draw["ids"] for _, draw in drawn]), padded([found for found, _ in augmented])
    cases = [
        _case("basic_tokens", [len(row["basic_tokens"]) for row in rows], [len(found) for found in words]),
        _case("basic_tokens spelled", *_spelled(rows, words)),
        _case("wordpieces", [_shown(row["wordpieces"]) for row in rows], [_shown(found) for found in words]),
        _case("eval_ids", expected_ids.numpy(), ids.numpy()),
        _case("eval_ids lengths", expected_lengths.numpy(), lengths.numpy()),
        _case("train/ids", recorded[0].numpy(), ours[0].numpy()),
        _case("train/ids lengths", recorded[1].numpy(), ours[1].numpy()),
        _case(
            "train/next_random", [draw["next_random"] for _, draw in drawn], [after for _, after in augmented]
        ),
    ]
    unknown = content.keys() - {"vocab", "cases"}
    unknown |= {f"cases/{key}" for row in rows for key in row.keys() - CASE_FIELDS}
    unknown |= {f"cases/train/{key}" for _, draw in drawn for key in draw.keys() - DRAW_FIELDS}
    return cases, sorted(unknown)


def _augmented(codec: WordPieceCodec, caption: str, seed: int) -> tuple[list[int], float]:
    """Ids after the augmentation by a seed, and the draw after its last."""
    if codec.mask_id is None:
        raise UserError("field 'vocab': [MASK] is missing")
    ids, lengths = codec.encode([caption])
    start, *inner, end = ids[0, : int(lengths[0])].tolist()
    random = Random(seed)
    dropped = word_drop(grouped(inner, codec.inside), codec.mask_id, codec.vocab_size, random)
    return [start, *dropped, end], random.random()


def _spelled(
    rows: Sequence[Mapping[str, Any]], words: Sequence[Sequence[Sequence[str]]]
) -> tuple[list[str], list[str]]:
    """Recorded words, and ours put together from their pieces; where the vocabulary lacks a word, both are [UNK]."""
    joined = [["".join(piece.removeprefix("##") for piece in word) for word in found] for found in words]
    expected = [
        " ".join("[UNK]" if "[UNK]" in pieces else word for word, pieces in zip(*fields, strict=True))
        for fields in ((row["basic_tokens"], row["wordpieces"]) for row in rows)
    ]
    return expected, [" ".join(found) for found in joined]


def _shown(words: Sequence[Sequence[str]]) -> str:
    return " | ".join(" ".join(pieces) for pieces in words)


def _case(name: str, expected: Any, actual: Any) -> ParityCase:
    return ParityCase(name, np.array(expected), np.array(actual), tolerance=0.0)

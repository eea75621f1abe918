"""Words hidden, replaced or left out of training captions (rcar.md 6, user.md 6), draw for draw.

Of all words 10 % become `<mask>`, 2 % become a random one and 8 % vanish. The published programs draw from one
stream that runs on through the whole training; here a caption has a stream of its own, whose seed is that of the
sample, so that neither the number of loader processes nor a restart changes what a model reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from random import Random

import numpy as np
import torch
from torch import Tensor

CHANGED, MASKED, REPLACED = 0.2, 0.5, 0.6
"""Below the first draw a word is changed; scaled to 0..1, below the next two it is masked or replaced."""


def word_drop(words: Sequence[Sequence[int]], mask_id: int, vocab_size: int, random: Random) -> list[int]:
    """Ids of a caption's words after the augmentation; every word may vanish.

    words: the ids of each word, one or, where words are cut into pieces, several; start and end are not among them.
    vocab_size: replacements are drawn from all ids below it, those of special tokens included.
    """
    kept: list[int] = []
    for pieces in words:
        draw = random.random()
        if draw >= CHANGED:
            kept += pieces
            continue
        draw /= CHANGED
        if draw < MASKED:
            kept += [mask_id] * len(pieces)
        elif draw < REPLACED:
            kept += [random.randrange(vocab_size) for _ in pieces]
    return kept


def seeded_random(*key: int) -> Random:
    """Python's generator, seeded by `key` alone."""
    return Random(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]))


def drop_words(
    ids: Tensor, lengths: Tensor, keys: Sequence[tuple[int, ...]], mask_id: int, vocab_size: int
) -> tuple[Tensor, Tensor]:
    """Captions of one id a word, augmented; first and last id, start and end, stay.

    ids (B, L), padded with 0, and lengths (B,), 2 or more -> the same, L being the longest of the new lengths.
    keys: of each caption's random numbers.
    """
    rows = []
    for row, length, key in zip(ids.tolist(), lengths.tolist(), keys, strict=True):
        words = [(number,) for number in row[1 : length - 1]]
        dropped = word_drop(words, mask_id, vocab_size, seeded_random(*key))
        rows.append([row[0], *dropped, row[length - 1]])
    return padded(rows)


def padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Lists of ids -> ids (n, L) int64, padded with 0 to the longest, and lengths (n,) int64."""
    lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))  # (n,)
    ids = np.zeros((len(rows), int(lengths.max(initial=0))), dtype=np.int64)  # (n, L)
    ids[np.arange(ids.shape[1]) < lengths[:, None]] = np.fromiter(chain.from_iterable(rows), dtype=np.int64)
    return torch.from_numpy(ids), torch.from_numpy(lengths)

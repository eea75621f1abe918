"""Words hidden, replaced or left out of training captions (data.md 7.3), draw for draw; regions left out;
captions that begin at a random place (data.md 7.5).

Of all words 10 % become `<mask>`, 2 % become a random one and 8 % vanish. The published programs draw from one
stream that runs on through the whole training; here a caption has a stream of its own, whose seed is that of the
sample, so that neither the number of loader processes nor a restart changes what a model reads.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from itertools import chain
from random import Random

import numpy as np
import torch
from torch import Tensor

CHANGED, MASKED, REPLACED = 0.2, 0.5, 0.6
"""Below the first draw a word is changed; scaled to 0..1, below the next two it is masked or replaced."""


def word_drop(words: Sequence[Sequence[int]], mask_id: int, vocab_size: int, random: Random) -> list[int]:
    """Return ids of a caption's words after the augmentation; every word may vanish.

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
    ids: Tensor,
    lengths: Tensor,
    keys: Sequence[tuple[int, ...]],
    mask_id: int,
    vocab_size: int,
    *,
    inside: Container[int] = (),
    ends: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return captions, augmented word by word.

    ids (B, L), padded with 0, and lengths (B,), 2 or more -> the same, L being the longest of the new lengths.
    keys: of each caption's random numbers. inside: ids that go on a word. ends: start and end may go too; a caption
    that would vanish altogether keeps its first id. Else they stay.
    """
    rows = []
    for row, length, key in zip(ids.tolist(), lengths.tolist(), keys, strict=True):
        whole, random = row[:length], seeded_random(*key)
        words = grouped(whole if ends else whole[1:-1], inside)
        dropped = word_drop(words, mask_id, vocab_size, random)
        rows.append((dropped or whole[:1]) if ends else [whole[0], *dropped, whole[-1]])
    return padded(rows)


def grouped(ids: Sequence[int], inside: Container[int]) -> list[list[int]]:
    """Return the ids of each word, those `inside` words with the one before them."""
    words: list[list[int]] = []
    for number in ids:
        if number in inside and words:
            words[-1].append(number)
        else:
            words.append([number])
    return words


def drop_regions(regions: Tensor, keys: Sequence[tuple[int, ...]], share: float) -> tuple[Tensor, Tensor]:
    """Regions (B, R, D), each left out with a probability of `share` -> those left (B, L, D) and lengths (B,).

    They keep their order, with zeros after them; L is the largest length. An image that would lose all keeps the first.
    keys: of each image's random numbers.
    """
    draws = [np.random.default_rng(np.random.SeedSequence(key)).random(regions.shape[1]) for key in keys]
    kept = np.stack(draws) > share  # (B, R)
    kept[~kept.any(axis=1), 0] = True
    lengths = kept.sum(axis=1)
    places = np.argsort(~kept, axis=1, kind="stable")[:, : lengths.max()]  # (B, L), those left first
    chosen = regions[torch.arange(len(kept))[:, None], torch.from_numpy(places)]  # (B, L, D)
    chosen[torch.from_numpy(np.arange(places.shape[1]) >= lengths[:, None])] = 0
    return chosen, torch.from_numpy(lengths)


def shift_words(ids: Tensor, lengths: Tensor, draws: Sequence[float], positions: int) -> Tensor:
    """Move each caption (B, L) to one of the `positions` where it fits whole, (B, positions), 0 around it.

    lengths (B,), none above `positions`. draws: of each caption a random number in [0, 1), that says where it begins.
    """
    sizes = lengths.numpy()[:, None]
    starts = np.floor(np.asarray(draws)[:, None] * (positions + 1 - sizes)).astype(np.int64)  # (B, 1)
    words = np.arange(positions) - starts  # which word of its caption a place has
    inside = (words >= 0) & (words < sizes)
    last = max(0, ids.shape[1] - 1)
    shifted = np.take_along_axis(ids.numpy(), words.clip(0, last), axis=1) if ids.shape[1] else words * 0
    return torch.from_numpy(np.where(inside, shifted, 0))


def padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Lists of ids -> ids (n, L) int64, padded with 0 to the longest, and lengths (n,) int64."""
    lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))  # (n,)
    ids = np.zeros((len(rows), int(lengths.max(initial=0))), dtype=np.int64)  # (n, L)
    ids[np.arange(ids.shape[1]) < lengths[:, None]] = np.fromiter(chain.from_iterable(rows), dtype=np.int64)
    return torch.from_numpy(ids), torch.from_numpy(lengths)

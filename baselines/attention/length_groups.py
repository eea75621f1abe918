"""Scores of images x captions where each pair has tensors of its own: captions of like length at a time.

Captions that have the same number of words need neither padding nor masks, and go through one call whatever their
number; a batch has some twenty lengths, a block of a test set one or two. Few captions of a length are padded to those
next to them where a call costs more than the padding. What pairs take lives for one part of a group: a tile in
evaluation; in training a part that fits the budget, computed again in the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, pairwise
from typing import TypeAlias

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from baselines.attention.tiles import Direction
from benchmark.batches import Codes, know, numbers_of
from benchmark.distributed import shares

PairScores: TypeAlias = Callable[[Codes, Codes], tuple[Tensor, ...]]
"""Images (n), captions with `words` (C, L, D) -> scores (n, C), then whatever has captions last.

Captions of unlike lengths have zeros after their words, and `padding` (C, L), true there. Where each image has a
caption of its own, as in `listed_scores`, captions have one more axis, (n, 1, ...), and so have scores, (n, 1)."""


@dataclass(frozen=True)
class PairScorer:
    """How a method scores pairs, and what that takes, by the length of the caption."""

    score: PairScores
    direction: Direction
    floats: Callable[[int], int]
    """Numbers of a pair in the largest array of its scoring."""
    training_bytes: Callable[[int], int]
    """Bytes that a pair takes until its gradient is there."""


def tile_bytes(device: torch.device) -> int:
    """Bytes of the largest array of a tile: on a CPU a few of them fit the cache; on a GPU they are worth a launch."""
    return 2**23 if device.type == "cpu" else 2**27


def length_group_scores(scorer: PairScorer, images: Codes, captions: Codes) -> Tensor:
    """Scores (n, m) in tiles.

    A tile has as many queries as it can hold, captions if `t2i`, and then contexts: each context has products of
    its own with all queries of the tile, and they are faster the longer they are.
    """
    floats = tile_bytes(captions["lengths"].device) // 4
    order = _longest_first(captions["lengths"])
    rows = 1 if scorer.direction == "t2i" else len(images)
    columns = []
    for group in _groups(
        scorer, _sorted(captions, order), len(images), lambda length: floats // (scorer.floats(length) * rows)
    ):
        step = max(1, floats // (scorer.floats(group["words"].shape[1]) * len(group)))
        parts = (images.rows(slice(start, start + step)) for start in range(0, len(images), step))
        columns.append(torch.cat([scorer.score(part, group)[0] for part in parts]))
    return torch.cat(columns, dim=1)[:, order.argsort()]


def scores_within_budget(
    scorer: PairScorer, images: Codes, captions: Codes, budget_bytes: int | None
) -> tuple[Tensor, ...]:
    """Return what the scorer gives for all images and captions at once, captions in their order; differentiable.

    Where all pairs together take more than `budget_bytes` (None: no limit), captions come in parts that do not, each
    computed again in the backward pass. Every part holds all images, so statistics over a caption's images do not
    depend on the parts. Processes that train together divide the captions.
    """
    total, own = len(captions), shares.divided(len(captions))
    captions = captions if own is None else captions.rows(own)
    n, order = len(images), _longest_first(captions["lengths"])
    scorer, largest = _within(budget_bytes, scorer, captions["lengths"], n)
    parts = [scorer.score(images, group) for group in _groups(scorer, _sorted(captions, order), n, largest)]
    back = order.argsort()
    found = tuple(torch.cat(columns, dim=-1)[..., back] for columns in zip(*parts, strict=True))
    return found if own is None else tuple(shares.join(one, total, dim=one.ndim - 1) for one in found)


def listed_scores(
    scorer: PairScorer,
    images: Codes,
    captions: Codes,
    rows: Tensor,
    columns: Tensor,
    budget_bytes: int | None,
) -> Tensor:
    """Scores (P,) of images `rows` (P,) with captions `columns` (P,), P at least 1; differentiable.

    Where all pairs together take more than `budget_bytes` (None: no limit), they come in parts that do not, each
    computed again in the backward pass. Processes that train together divide the pairs.
    """
    total, own = len(rows), shares.divided(len(rows))
    if own is not None:
        rows, columns = rows[own], columns[own]
    order = _longest_first(captions["lengths"][columns])
    rows, columns = rows[order], columns[order]
    scorer, largest = _within(budget_bytes, scorer, captions["lengths"][columns], 1)
    groups = list(_groups(scorer, captions.rows(columns), 1, largest))
    parts = []
    for theirs, group in zip(_split(images.rows(rows), map(len, groups)), groups, strict=True):
        pairs = Codes({name: tensor.unsqueeze(1) for name, tensor in group.tensors.items()})
        parts.append(scorer.score(theirs, pairs)[0].squeeze(1))
    found = torch.cat(parts)[order.argsort()]
    return found if own is None else shares.join(found, total)


def _within(
    budget_bytes: int | None, scorer: PairScorer, lengths: Tensor, images: int
) -> tuple[PairScorer, Callable[[int], int]]:
    """The scorer, and the most captions of a length that it gets at once, so that `budget_bytes` are enough.

    Each of the captions, of `lengths`, has pairs with so many images. Where not all fit, what the scorer gets is
    computed again in the backward pass.
    """

    def needed(length: int) -> int:
        return images * scorer.training_bytes(length)

    if budget_bytes is None or sum(map(needed, lengths.tolist())) <= budget_bytes:
        return scorer, lambda _: len(lengths)
    again = replace(scorer, score=partial(checkpoint, scorer.score, use_reentrant=False))
    return again, lambda length: budget_bytes // needed(length)


def _longest_first(lengths: Tensor) -> Tensor:
    """The order (m,) of decreasing length, equal lengths as they come."""
    return lengths.argsort(descending=True, stable=True)


def _sorted(captions: Codes, order: Tensor) -> Codes:
    """The captions, longest first in that order; where the host knows their lengths, it knows them now too."""
    ordered = captions.rows(order)
    know(ordered["lengths"], sorted(numbers_of(captions["lengths"]), reverse=True))
    return ordered


def _groups(
    scorer: PairScorer, captions: Codes, images: int, largest: Callable[[int], int]
) -> Iterator[Codes]:
    """Captions that come longest first, in groups of like length, at most `largest(length)` in each.

    Each caption has pairs with so many images.
    """
    lengths = numbers_of(captions["lengths"])
    sizes = []
    for longest, count in _runs(scorer, lengths, images, tile_bytes(captions["lengths"].device) // 64):
        parts = -(-count // max(1, largest(longest)))
        edges = [count * part // parts for part in range(parts + 1)]  # of nearly the same size
        sizes += [end - begin for begin, end in pairwise(edges)]
    for start, group in zip(accumulate(sizes, initial=0), _split(captions, sizes), strict=False):
        words = group["words"][:, : lengths[start]].contiguous()
        if lengths[start + len(group) - 1] == lengths[start]:
            yield Codes({**group.tensors, "words": words})
            continue
        padding = torch.arange(lengths[start], device=words.device) >= group["lengths"][:, None]  # (C, L)
        words = words.masked_fill(padding[..., None], 0)
        yield Codes({**group.tensors, "words": words, "padding": padding})


def _runs(scorer: PairScorer, lengths: list[int], images: int, waste: int) -> Iterator[tuple[int, int]]:
    """Lengths, longest first, as runs of like length: the longest and the number of each.

    Unlike lengths are together where padding adds at most `waste` numbers to the largest array of all the run's pairs
    with so many images.
    """
    longest, count, added = lengths[0], 0, 0
    for length in lengths:
        added += images * (scorer.floats(longest) - scorer.floats(length))
        if length != longest and added > waste:
            yield longest, count
            longest, count, added = length, 0, 0
        count += 1
    yield longest, count


def _split(codes: Codes, sizes: Iterable[int]) -> list[Codes]:
    """Items in parts of these sizes; backward, parts are put together again, not added up one by one."""
    names, counts = list(codes.tensors), list(sizes)
    columns = zip(*(torch.split(codes[name], counts) for name in names), strict=True)
    return [Codes(dict(zip(names, column, strict=True))) for column in columns]

"""Scores of images x captions where each pair has tensors of its own: captions of one length at a time.

Captions that have the same number of words need neither padding nor masks, and go through one call whatever their
number; a batch has some twenty lengths, a block of a test set one or two. What pairs take lives for one part of
a group: a tile in evaluation; in training a part that fits the budget, computed again in the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import groupby, pairwise
from typing import TypeAlias

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from baselines.attention.tiles import Direction
from benchmark.batches import Codes

PairScores: TypeAlias = Callable[[Codes, Codes], tuple[Tensor, ...]]
"""Images (n), captions with `words` (C, L, D) and no padding -> scores (n, C), then whatever has captions last.

Where each image has a caption of its own, as in `listed_scores`, captions have one more axis, (n, 1, ...), and so
have scores, (n, 1)."""


def tile_bytes(device: torch.device) -> int:
    """Bytes of the largest array of a tile: on a CPU a few of them fit the cache; on a GPU they are worth a launch."""
    return 2**23 if device.type == "cpu" else 2**27


def length_group_scores(
    score: PairScores,
    images: Codes,
    captions: Codes,
    *,
    direction: Direction,
    pair_floats: Callable[[int], int],
) -> Tensor:
    """Scores (n, m) in tiles; `pair_floats(length)`: numbers of a pair in the largest array of its scoring.

    A tile has as many queries as it can hold, captions if `t2i`, and then contexts: each context has products of
    its own with all queries of the tile, and they are faster the longer they are.
    """
    floats = tile_bytes(captions["lengths"].device) // 4
    order = _longest_first(captions["lengths"])
    rows = 1 if direction == "t2i" else len(images)
    columns = []
    for group in _groups(captions.rows(order), lambda length: floats // (pair_floats(length) * rows)):
        step = max(1, floats // (pair_floats(group["words"].shape[1]) * len(group)))
        parts = (images.rows(slice(start, start + step)) for start in range(0, len(images), step))
        columns.append(torch.cat([score(part, group)[0] for part in parts]))
    return torch.cat(columns, dim=1)[:, order.argsort()]


def scores_within_budget(
    score: PairScores,
    images: Codes,
    captions: Codes,
    *,
    pair_bytes: Callable[[int], int],
    budget_bytes: int | None,
) -> tuple[Tensor, ...]:
    """Return what `score` gives for all images and captions at once, captions in their own order; differentiable.

    `pair_bytes(length)`: the bytes a pair takes until its gradient is there. Where all pairs together take more than
    `budget_bytes` (None: no limit), captions come in parts that do not, each computed again in the backward pass.
    Every part holds all images, so statistics over a caption's images do not depend on the parts.
    """
    n, order = len(images), _longest_first(captions["lengths"])
    score, largest = _within(budget_bytes, score, captions["lengths"], lambda length: n * pair_bytes(length))
    parts = [score(images, group) for group in _groups(captions.rows(order), largest)]
    back = order.argsort()
    return tuple(torch.cat(columns, dim=-1)[..., back] for columns in zip(*parts, strict=True))


def listed_scores(
    score: PairScores,
    images: Codes,
    captions: Codes,
    rows: Tensor,
    columns: Tensor,
    *,
    pair_bytes: Callable[[int], int],
    budget_bytes: int | None,
) -> Tensor:
    """Scores (P,) of images `rows` (P,) with captions `columns` (P,), P at least 1; differentiable.

    Where all pairs together take more than `budget_bytes` (None: no limit), they come in parts that do not, each
    computed again in the backward pass.
    """
    order = _longest_first(captions["lengths"][columns])
    rows, columns = rows[order], columns[order]
    score, largest = _within(budget_bytes, score, captions["lengths"][columns], pair_bytes)
    groups = list(_groups(captions.rows(columns), largest))
    parts = []
    for own, group in zip(_split(images.rows(rows), map(len, groups)), groups, strict=True):
        pairs = Codes({name: tensor.unsqueeze(1) for name, tensor in group.tensors.items()})
        parts.append(score(own, pairs)[0].squeeze(1))
    return torch.cat(parts)[order.argsort()]


def _within(
    budget_bytes: int | None, score: PairScores, lengths: Tensor, item_bytes: Callable[[int], int]
) -> tuple[PairScores, Callable[[int], int]]:
    """The scorer, and the most captions of a length that it gets at once, so that `budget_bytes` are enough.

    `item_bytes(length)`: what one of the captions of `lengths` takes. Where not all fit, what the scorer gets is
    computed again in the backward pass.
    """
    if budget_bytes is None or sum(map(item_bytes, lengths.tolist())) <= budget_bytes:
        return score, lambda _: len(lengths)
    return partial(checkpoint, score, use_reentrant=False), lambda length: budget_bytes // item_bytes(length)


def _longest_first(lengths: Tensor) -> Tensor:
    """The order (m,) of decreasing length, equal lengths as they come."""
    return lengths.argsort(descending=True, stable=True)


def _groups(captions: Codes, largest: Callable[[int], int]) -> Iterator[Codes]:
    """Captions that come sorted by length, in groups of one length, at most `largest(length)` in each."""
    sizes, longest = [], []
    for length, run in groupby(captions["lengths"].tolist()):
        count, most = len(list(run)), max(1, largest(length))
        parts = -(-count // most)
        edges = [count * part // parts for part in range(parts + 1)]  # of nearly the same size
        sizes += [end - begin for begin, end in pairwise(edges)]
        longest += [length] * parts
    for length, group in zip(longest, _split(captions, sizes), strict=True):
        yield Codes({**group.tensors, "words": group["words"][:, :length].contiguous()})


def _split(codes: Codes, sizes: Iterable[int]) -> list[Codes]:
    """Items in parts of these sizes; backward, parts are put together again, not added up one by one."""
    names, counts = list(codes.tensors), list(sizes)
    columns = zip(*(codes[name].split(counts) for name in names), strict=True)
    return [Codes(dict(zip(names, column, strict=True))) for column in columns]

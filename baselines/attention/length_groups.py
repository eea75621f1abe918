"""Scores of images x captions where each pair has tensors of its own: captions of one length at a time.

Captions that have the same number of words need neither padding nor masks, and go through one call whatever their
number; a batch has some twenty lengths, a block of a test set one or two. What pairs take lives for one part of
a group: a tile in evaluation; in training a part that fits the budget, computed again in the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby, pairwise
from typing import TypeAlias

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from baselines.attention.tiles import Direction
from benchmark.batches import Codes

PairScores: TypeAlias = Callable[[Codes, Codes], tuple[Tensor, ...]]
"""Images (n), captions with `words` (C, L, D) and no padding -> scores (n, C), then whatever has captions last."""


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
    order, captions = _longest_first(captions)
    rows = 1 if direction == "t2i" else len(images)
    columns = []
    for group in _groups(captions, lambda length: floats // (pair_floats(length) * rows)):
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
    n, m = len(images), len(captions)
    order, captions = _longest_first(captions)
    needed = n * sum(map(pair_bytes, captions["lengths"].tolist()))
    budget = needed if budget_bytes is None else budget_bytes
    whole = needed <= budget
    parts = []
    for group in _groups(captions, lambda length: m if whole else budget // (n * pair_bytes(length))):
        if whole:
            parts.append(score(images, group))
        else:
            parts.append(checkpoint(score, images, group, use_reentrant=False))
    back = order.argsort()
    return tuple(torch.cat(columns, dim=-1)[..., back] for columns in zip(*parts, strict=True))


def _longest_first(captions: Codes) -> tuple[Tensor, Codes]:
    """The order (m,) of decreasing length, equal lengths as they come; and the captions in it."""
    order = captions["lengths"].argsort(descending=True, stable=True)
    return order, captions.rows(order)


def _groups(captions: Codes, largest: Callable[[int], int]) -> Iterator[Codes]:
    """Captions that come sorted by length, in groups of one length, at most `largest(length)` in each."""
    start = 0
    for length, run in groupby(captions["lengths"].tolist()):
        count, most = len(list(run)), max(1, largest(length))
        parts = -(-count // most)
        edges = [start + count * part // parts for part in range(parts + 1)]  # of nearly the same size
        for edge in pairwise(edges):
            group = captions.rows(slice(*edge))
            yield Codes({**group.tensors, "words": group["words"][:, :length].contiguous()})
        start += count

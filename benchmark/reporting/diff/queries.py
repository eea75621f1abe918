"""Rank changes query by query: how many moved, whether that is more than chance, and which moved most.

The paired test flips the signs of the images' differences (benchmark/statistics/permutation.py): captions of
one image rise and fall together, so the image is the unit. With several seeds a side, an image's values and a
query's ranks are means over the seeds: the test then speaks of these seeds, not of others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmark.evaluation.ranking import Ranks
from benchmark.records.parts import METRICS
from benchmark.statistics.permutation import PairedTest, sign_flip
from benchmark.statistics.queries import image_values

Ints = NDArray[np.integer[Any]]
Directions = Literal["i2t", "t2i"]
DIRECTIONS: tuple[Directions, Directions] = ("i2t", "t2i")


@dataclass(frozen=True)
class Items:
    """The items that are retrieved: n images and m captions."""

    image_ids: Sequence[str]
    caption_image: Ints
    """(m,) row of each caption's image."""

    def number(self, caption: int) -> int:
        """Return the position of a caption among its image's captions, from 1."""
        return 1 + int(np.count_nonzero(self.caption_image[:caption] == self.caption_image[caption]))

    def image(self, caption: int) -> str:
        return self.image_ids[int(self.caption_image[caption])]

    def caption(self, caption: int) -> str:
        """`7 #2`: the second caption of image 7."""
        return f"{self.image(caption)} #{self.number(caption)}"


@dataclass(frozen=True)
class Retrieved:
    """One run's ranks, 0-based, and first items; i2t (n,), t2i (m,)."""

    ranks: Ranks
    i2t_first: Ints
    """Caption row that stands first for each image, in the whole test split."""
    t2i_first: Ints


@dataclass(frozen=True)
class QueryChange:
    """A query whose rank changed; ranks count from 1."""

    direction: Directions
    row: int
    """The row of the image (i2t) or the caption (t2i) in the split."""
    image_id: str
    caption_number: int | None
    """The position of a caption query among its image's captions, from 1; None for an image query."""
    old_rank: float
    """Mean over the seeds where there are several."""
    new_rank: float
    old_first: str | None
    """The first item: an image's id, with `#k` its k-th caption; None with several seeds, and where ranks are
    within folds, since the first item is kept of the whole split."""
    new_first: str | None
    text: str | None = None
    """The text of the caption, where it was asked for."""


@dataclass(frozen=True)
class QueryChanges:
    """All that happened to the queries of one protocol."""

    queries: int
    better: int
    worse: int
    tests: dict[str, PairedTest]
    """The tests by metric: new less old, over images."""
    most: tuple[QueryChange, ...]
    """The queries that changed most, by the ratio of their ranks: from 2 to 1 is as much as from 200 to 100."""

    @property
    def moved(self) -> int:
        return self.better + self.worse


def query_changes(
    old: Sequence[Retrieved],
    new: Sequence[Retrieved],
    items: Items,
    *,
    most: int = 10,
    folds: int = 1,
    metrics: Sequence[str] = METRICS,
    captions: Sequence[str] | None = None,
    only: Mapping[str, NDArray[np.bool_]] | None = None,
) -> QueryChanges:
    """Compare two runs, or two runs over seeds, query by query.

    only: by direction, which queries may count as moved and be named (None: all whose rank differs).
    captions: (m,) texts, to name the queries with.
    """
    found: list[tuple[float, QueryChange]] = []
    better = worse = 0
    for direction in DIRECTIONS:
        before, after = _mean_ranks(old, direction), _mean_ranks(new, direction)
        moved = before != after
        if only is not None:
            moved &= only[direction]
        better += int(np.count_nonzero(moved & (after < before)))
        worse += int(np.count_nonzero(moved & (after > before)))
        ratio = np.where(moved, np.abs(np.log2(after) - np.log2(before)), 0.0)
        size = np.abs(after - before)
        order = np.lexsort((-size, -ratio))[: min(most, int(np.count_nonzero(moved)))]  # stable: then by row
        found += [
            (float(ratio[row]), _change(direction, int(row), old, new, items, captions, folds == 1))
            for row in order
        ]
    found.sort(key=lambda item: (-item[0], -abs(item[1].new_rank - item[1].old_rank)))
    tests = {
        name: sign_flip(_values(new, items, name, folds) - _values(old, items, name, folds))
        for name in metrics
    }
    total = len(items.image_ids) + len(items.caption_image)
    return QueryChanges(total, better, worse, tests, tuple(change for _, change in found[:most]))


def _mean_ranks(runs: Sequence[Retrieved], direction: Directions) -> NDArray[np.float64]:
    """Ranks from 1, over the seeds."""
    ranks: NDArray[np.float64] = np.mean([getattr(run.ranks, direction) for run in runs], axis=0) + 1.0
    return ranks


def _values(runs: Sequence[Retrieved], items: Items, metric: str, folds: int) -> NDArray[np.float64]:
    rows = items.caption_image.astype(np.int64)
    values = [image_values(run.ranks, rows, metric, folds=folds) for run in runs]
    return np.asarray(np.mean(values, axis=0), np.float64)


def _change(
    direction: Directions,
    row: int,
    old: Sequence[Retrieved],
    new: Sequence[Retrieved],
    items: Items,
    captions: Sequence[str] | None,
    whole: bool,
) -> QueryChange:
    of_caption = direction == "t2i"
    single = whole and len(old) == len(new) == 1
    return QueryChange(
        direction=direction,
        row=row,
        image_id=items.image(row) if of_caption else items.image_ids[row],
        caption_number=items.number(row) if of_caption else None,
        old_rank=float(_mean_ranks(old, direction)[row]),
        new_rank=float(_mean_ranks(new, direction)[row]),
        old_first=_first(old[0], direction, row, items) if single else None,
        new_first=_first(new[0], direction, row, items) if single else None,
        text=captions[row] if of_caption and captions is not None else None,
    )


def _first(run: Retrieved, direction: Directions, row: int, items: Items) -> str:
    if direction == "i2t":
        return items.caption(int(run.i2t_first[row]))
    return items.image_ids[int(run.t2i_first[row])]

"""More than one truth a query: recall, R-Precision and mAP@R over a sparse table of which items answer which query.

Tables come from people who looked at pairs that the datasets count as wrong (cxc.py, eccv.py). They name items by id,
in both directions; a query without a positive is no query. Everything is exact: the position of every positive is
counted as a rank is (ranking.py), so that with an image's own captions as positives R@K is the protocol's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

import numpy as np

from benchmark.errors import UserError, nearest
from benchmark.evaluation.metrics import KS
from benchmark.evaluation.ranking import Floats, Ints, TieRule, check_finite, check_matrix, positions
from benchmark.files import sha256_bytes

Positives = Mapping[int, tuple[int, ...]]
"""Ids of the items that answer a query, by the query's id; none is empty."""

QUERIES = 128
"""Queries taken at a time: 12.8 MB of float32 at 25,000 items."""

NUMBER = re.compile(r"(\d+)(?:\.\w+)?$")


@dataclass(frozen=True, eq=False)
class Relevance:
    """The captions that answer an image, and the images that answer a caption; neither need mirror the other."""

    name: str
    source: str
    """The file or package it was read from, and the rule; no path."""
    i2t: Positives
    """Caption ids (MSCOCO's sentid) by image id (cocoid)."""
    t2i: Positives
    outside: frozenset[int] = frozenset()
    """Captions beyond an image's fifth, which a gallery may lack; they count as positives that are never found."""

    @cached_property
    def digest(self) -> str:
        """The sha256 of the table, whatever the order it was read in."""
        sides = [{query: sorted(items) for query, items in side.items()} for side in (self.i2t, self.t2i)]
        return sha256_bytes(json.dumps(sides, sort_keys=True, separators=(",", ":")).encode())


def number_of(text: str) -> int | None:
    """The id that `391895`, `COCO_val2014_000000391895.jpg` or `COCO_val2014:sentid:770337` ends with; None: none."""
    found = NUMBER.search(text)
    return None if found is None else int(found[1])


def from_pairs(name: str, source: str, pairs: Sequence[tuple[int, int]]) -> Relevance:
    """A table that is the same in both directions, from (image id, caption id)."""
    i2t: dict[int, list[int]] = {}
    t2i: dict[int, list[int]] = {}
    for image, caption in dict.fromkeys(pairs):
        i2t.setdefault(image, []).append(caption)
        t2i.setdefault(caption, []).append(image)
    return Relevance(name, source, _frozen(i2t), _frozen(t2i))


def _frozen(positives: Mapping[int, Sequence[int]]) -> dict[int, tuple[int, ...]]:
    return {query: tuple(items) for query, items in positives.items()}


# ----------------------------------------------------------------------------------------- metrics


@dataclass(frozen=True)
class RelevanceMetrics:
    """One direction; all in percent, means over the queries that have a positive."""

    queries: int
    positives: int
    recall: dict[int, float]
    """R@K by K: any positive among the first K."""
    r_precision: float
    map_at_r: float


@dataclass(frozen=True)
class RelevanceResult:
    """The result for both directions of a similarity matrix under a table."""

    relevance: Relevance
    n_images: int
    n_captions: int
    tie_rule: TieRule
    i2t: RelevanceMetrics
    t2i: RelevanceMetrics


def evaluate_relevance(
    sims: Floats,
    image_ids: Sequence[int],
    caption_ids: Sequence[int],
    relevance: Relevance,
    tie_rule: TieRule = "lower_index",
    ks: Sequence[int] = KS,
) -> RelevanceResult:
    """Every metric in both directions, against the whole gallery (data.md 5).

    sims: (n_images, n_captions), higher is better; the ids belong to its rows and columns. Items that the table
    does not know are in the gallery, and right for no query. Raises UserError for scores as `rank` does, ids that
    do not fit the matrix or come twice, and a table that speaks of items that are not there.
    """
    if tie_rule not in get_args(TieRule):
        raise UserError(f"tie rule '{tie_rule}' is not known{nearest(tie_rule, get_args(TieRule))}")
    check_matrix(sims)
    images = _rows_by_id("image", image_ids, sims.shape[0])
    captions = _rows_by_id("caption", caption_ids, sims.shape[1])
    i2t = _in_rows(relevance, "i2t", images, captions)
    t2i = _in_rows(relevance, "t2i", captions, images)
    check_finite(sims)
    both = _direction(sims, i2t, tie_rule, ks), _direction(sims.T, t2i, tie_rule, ks)
    n_images, n_captions = sims.shape
    return RelevanceResult(relevance, n_images, n_captions, tie_rule, *both)


def _rows_by_id(what: str, ids: Sequence[int], expected: int) -> dict[int, int]:
    if len(ids) != expected:
        raise UserError(f"{what} ids: found {len(ids):,}, expected {expected:,}, one for each {what} scored")
    rows: dict[int, int] = {}
    for row, number in enumerate(ids):
        if rows.setdefault(int(number), row) != row:
            raise UserError(f"{what} ids: rows {rows[int(number)]} and {row} both have id {number}")
    return rows


@dataclass(frozen=True, eq=False)
class _Query:
    """A query by the rows of a matrix."""

    row: int
    items: Ints
    """(r,) ascending gallery rows of its positives."""
    positives: int
    """The number of positives in the table; more than r where some are not in the gallery."""


def _in_rows(
    relevance: Relevance, direction: str, queries: Mapping[int, int], gallery: Mapping[int, int]
) -> list[_Query]:
    """The queries of a direction in the order of the matrix."""
    table: Positives = getattr(relevance, direction)
    if not table:
        raise UserError(f"relevance {relevance.name}: no {direction} query has a positive")
    answers = {item for items in table.values() for item in items}
    _check_present(relevance, f"{direction} queries", table.keys(), queries)
    _check_present(relevance, f"{direction} positives", answers - relevance.outside, gallery)
    found = []
    for query, items in table.items():
        rows = np.sort(np.array([gallery[item] for item in set(items) if item in gallery], np.int64))
        found.append(_Query(queries[query], rows, len(set(items))))
    return sorted(found, key=lambda query: query.row)


def _check_present(relevance: Relevance, what: str, named: AbstractSet[int], rows: Mapping[int, int]) -> None:
    absent = named - rows.keys()
    if absent:
        raise UserError(
            f"relevance {relevance.name}: {len(absent):,} of {len(named):,} {what} are not among the ids scored, the "
            f"first is {min(absent)}; the table is about MSCOCO's whole 5K test, by cocoid and sentid"
        )


def _direction(
    sims: Floats, queries: Sequence[_Query], tie_rule: TieRule, ks: Sequence[int]
) -> RelevanceMetrics:
    """Metrics of the queries in rows of `sims` (n_queries, n_gallery)."""
    counts = [query.positives for query in queries]
    placed = [positions(scores, query.items, tie_rule) for scores, query in _scores_of(sims, queries)]
    first = np.array([places[0] if len(places) else sims.shape[1] for places in placed])
    precisions = [r_precision(places, count) for places, count in zip(placed, counts, strict=True)]
    averages = [average_precision_at_r(places, count) for places, count in zip(placed, counts, strict=True)]
    return RelevanceMetrics(
        queries=len(queries),
        positives=sum(counts),
        recall={k: float(100.0 * np.count_nonzero(first < k) / len(first)) for k in sorted(ks)},
        r_precision=100.0 * float(np.mean(precisions)),
        map_at_r=100.0 * float(np.mean(averages)),
    )


def _scores_of(sims: Floats, queries: Sequence[_Query]) -> Iterator[tuple[Floats, _Query]]:
    """Scores (n_gallery,) of each query; a block of rows is copied at a time, since columns are slow to read."""
    for start in range(0, len(queries), QUERIES):
        block = queries[start : start + QUERIES]
        rows = sims[[query.row for query in block]]
        rows = np.ascontiguousarray(rows.astype(sims.dtype.newbyteorder("="), copy=False))
        yield from zip(rows, block, strict=True)


def r_precision(places: Ints, count: int) -> float:
    r"""Share of positives among the first R results, R = `count` being the number of positives.

    $$ \mathrm{RP}(q) = \frac{1}{R} \sum_{r=1}^{R} \mathbb{1}[\text{result } r \text{ is positive}] $$
    """
    return np.count_nonzero(places < count) / count


def average_precision_at_r(places: Ints, count: int) -> float:
    r"""Precision at every positive among the first R results, summed, over R = `count`.

    $$ \mathrm{AP@R}(q) = \frac{1}{R} \sum_{r=1}^{R} \mathbb{1}[\text{result } r \text{ is positive}]\,
       \mathrm{Precision}@r $$
    """
    inside = places[places < count]
    return float((np.arange(1, len(inside) + 1) / (inside + 1)).sum() / count)

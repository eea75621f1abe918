"""Retrieval metrics from ranks: recall at K, median and mean rank, rsum.

Every metric comes in the same three parts: the formula in the docstring, the value of every query
(`_..._values`), and how the queries make one number. Ranks count from 0 (best); recalls are in percent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import UserError
from benchmark.evaluation.ranking import Ints, Ranks

KS = (1, 5, 10)
"""The K of rsum and of the tables."""


def recall_at_k(ranks: Ints, k: int) -> float:
    r"""Share of queries whose true item is among the first k, in percent.

    $$ R@K = \frac{100}{|Q|} \sum_{q \in Q} \mathbb{1}[\mathrm{rank}(q) < K] $$
    """
    values = _recall_values(ranks, k)
    return float(100.0 * np.count_nonzero(values) / len(values))


def _recall_values(ranks: Ints, k: int) -> NDArray[np.bool_]:
    """1[rank(q) < k] of every query."""
    return ranks < k


def median_rank(ranks: Ints) -> float:
    r"""The published median rank: rounded down, then counted from 1.

    $$ \mathrm{MedR} = \lfloor \mathrm{median}_{q \in Q}\, \mathrm{rank}(q) \rfloor + 1 $$
    """
    return float(np.floor(np.median(_rank_values(ranks))) + 1)


def mean_rank(ranks: Ints) -> float:
    r"""The mean rank, counted from 1.

    $$ \mathrm{MeanR} = 1 + \frac{1}{|Q|} \sum_{q \in Q} \mathrm{rank}(q) $$
    """
    return float(_rank_values(ranks).mean() + 1)


def _rank_values(ranks: Ints) -> Ints:
    """The rank of every query, rank(q), from 0."""
    return ranks


@dataclass(frozen=True)
class DirectionMetrics:
    """Metrics of one direction; means over folds where the protocol has folds."""

    recall: dict[int, float]
    """R@K in percent by K."""
    median_rank: float
    mean_rank: float

    @property
    def recall_sum(self) -> float:
        """R@1 + R@5 + R@10."""
        return sum(self.recall[k] for k in KS)

    def row(self) -> list[float]:
        """R@K in order of K, median rank, mean rank: the order in which published code returns them."""
        return [*self.recall.values(), self.median_rank, self.mean_rank]


@dataclass(frozen=True)
class RetrievalMetrics:
    """Metrics of both directions."""

    i2t: DirectionMetrics
    t2i: DirectionMetrics

    @property
    def rsum(self) -> float:
        r"""$$ \mathrm{rsum} = \sum_{d \in \{i2t,\, t2i\}} \sum_{K \in \{1, 5, 10\}} R@K_d $$"""
        first = 0.0
        for k in KS:  # image to text first, as published code adds them: the last bits follow the order
            first += self.i2t.recall[k]
        for k in KS:
            first += self.t2i.recall[k]
        return first

    @property
    def r1_sum(self) -> float:
        """R@1 of image to text + R@1 of text to image."""
        return self.i2t.recall[1] + self.t2i.recall[1]

    def values(self) -> dict[str, float]:
        """Flat names to values: i2t_r1 ..., i2t_median_rank, i2t_mean_rank, t2i_..., rsum, r1_sum, mean_r1."""
        flat: dict[str, float] = {}
        for name, direction in (("i2t", self.i2t), ("t2i", self.t2i)):
            flat |= {f"{name}_r{k}": value for k, value in direction.recall.items()}
            flat[f"{name}_median_rank"] = direction.median_rank
            flat[f"{name}_mean_rank"] = direction.mean_rank
        return flat | {"rsum": self.rsum, "r1_sum": self.r1_sum, "mean_r1": self.r1_sum / 2}


def direction_metrics(ranks: Ints, ks: Sequence[int] = KS) -> DirectionMetrics:
    """All metrics of one direction from its ranks (n_queries,)."""
    if not len(ranks):
        raise UserError("ranks: found no query, expected at least one")
    recall = {k: recall_at_k(ranks, k) for k in sorted(ks)}
    return DirectionMetrics(recall, median_rank(ranks), mean_rank(ranks))


def retrieval_metrics(ranks: Ranks, ks: Sequence[int] = KS) -> RetrievalMetrics:
    """All metrics of both directions; `ks` always includes 1, 5 and 10."""
    ks = sorted({*ks, *KS})
    return RetrievalMetrics(direction_metrics(ranks.i2t, ks), direction_metrics(ranks.t2i, ks))


def mean_metrics(folds: Sequence[RetrievalMetrics]) -> RetrievalMetrics:
    """Every metric averaged over the folds, unrounded (tests/golden/evaluation/README.md)."""
    return RetrievalMetrics(
        _mean_direction([fold.i2t for fold in folds]), _mean_direction([fold.t2i for fold in folds])
    )


def _mean_direction(folds: Sequence[DirectionMetrics]) -> DirectionMetrics:
    rows: NDArray[Any] = np.array([fold.row() for fold in folds]).mean(axis=0)  # (len(ks) + 2,)
    *recalls, median, mean = (float(value) for value in rows)
    return DirectionMetrics(dict(zip(folds[0].recall, recalls, strict=True)), median, mean)

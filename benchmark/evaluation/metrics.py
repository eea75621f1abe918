"""Retrieval metrics from ranks: recall at K, median and mean rank, rsum; from right answers' places: MRR, mAP, nDCG.

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


def mean_reciprocal_rank(ranks: Ints) -> float:
    r"""The mean of one over the rank counted from 1, in percent.

    $$ \mathrm{MRR} = \frac{100}{|Q|} \sum_{q \in Q} \frac{1}{\mathrm{rank}(q) + 1} $$
    """
    return float(100.0 * _reciprocal_values(ranks).mean())


def _reciprocal_values(ranks: Ints) -> NDArray[np.float64]:
    """1 / (rank(q) + 1) of every query."""
    return np.asarray(1.0 / (ranks + 1.0), np.float64)


def mean_average_precision(places: Ints, query: Ints) -> float:
    r"""Precision at every right answer of a query, averaged over these, then over the queries, in percent.

    $$ \mathrm{mAP} = \frac{100}{|Q|} \sum_{q \in Q} \frac{1}{R_q} \sum_{j=1}^{R_q} \frac{j}{p_{q,j} + 1},
       \quad p_{q,1} < p_{q,2} < \dots \text{ the places of its right answers, from 0} $$

    places: (answers,) of every right answer in its query's ranking; query: (answers,) the query of each, from 0, each
    with an answer at least.
    """
    return float(100.0 * _precision_values(places, query).mean())


def _precision_values(places: Ints, query: Ints) -> NDArray[np.float64]:
    """Average precision of every query."""
    order = np.lexsort((places, query))
    counts = np.bincount(query)  # (queries,)
    gains = _order_within(counts) / (places[order] + 1.0)  # (answers,)
    return np.asarray(np.bincount(query[order], weights=gains) / counts, np.float64)


def mean_ndcg(places: Ints, query: Ints) -> float:
    r"""Normalised discounted cumulative gain of whole rankings with gains of 0 and 1, in percent.

    $$ \mathrm{nDCG} = \frac{100}{|Q|} \sum_{q \in Q}
       \frac{\sum_{j=1}^{R_q} 1 / \log_2(p_{q,j} + 2)}{\sum_{j=1}^{R_q} 1 / \log_2(j + 1)} $$

    places and query: as in `mean_average_precision`.
    """
    return float(100.0 * _ndcg_values(places, query).mean())


def _ndcg_values(places: Ints, query: Ints) -> NDArray[np.float64]:
    """nDCG of every query."""
    counts = np.bincount(query)  # (queries,)
    found = np.bincount(query, weights=1.0 / np.log2(places + 2.0))
    best = np.bincount(
        np.repeat(np.arange(len(counts)), counts), weights=1.0 / np.log2(_order_within(counts) + 1.0)
    )
    return np.asarray(found / best, np.float64)


def _order_within(counts: Ints) -> Ints:
    """1, 2, ... within each query, where queries stand one after the other with so many answers."""
    return np.arange(1, counts.sum() + 1) - np.repeat(np.cumsum(counts) - counts, counts)


@dataclass(frozen=True)
class PlaceMetrics:
    """Metrics of the places of all right answers, in percent; one direction, means over folds where there are any."""

    mrr: float
    map: float
    ndcg: float


def place_metrics(places: Ints, query: Ints) -> PlaceMetrics:
    """All of them; places and query as in `mean_average_precision`."""
    first = np.full(int(query.max()) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, query, places)
    return PlaceMetrics(
        mean_reciprocal_rank(first), mean_average_precision(places, query), mean_ndcg(places, query)
    )


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

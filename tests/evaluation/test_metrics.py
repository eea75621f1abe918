"""Metrics against loops and hand-made ranks; every number of the tables has one definition."""

from __future__ import annotations

import statistics

import numpy as np
import pytest

from benchmark.errors import UserError
from benchmark.evaluation.metrics import (
    direction_metrics,
    mean_metrics,
    mean_rank,
    median_rank,
    recall_at_k,
    retrieval_metrics,
)
from benchmark.evaluation.ranking import Ranks
from tests.evaluation.naive import naive_recall


def some_ranks(seed: int) -> Ranks:
    rng = np.random.default_rng(seed)
    return Ranks(rng.integers(0, 30, 37), rng.integers(0, 60, 181), 0.0, 0.0)


@pytest.mark.parametrize("seed", range(5))
def test_every_metric_equals_a_loop(seed: int) -> None:
    ranks = some_ranks(seed)
    metrics = retrieval_metrics(ranks, (1, 3, 20))
    for direction, values in ((metrics.i2t, ranks.i2t.tolist()), (metrics.t2i, ranks.t2i.tolist())):
        assert direction.recall == pytest.approx({k: naive_recall(values, k) for k in (1, 3, 5, 10, 20)})
        assert direction.median_rank == int(statistics.median(values)) + 1
        assert direction.mean_rank == pytest.approx(sum(values) / len(values) + 1)
    six = [naive_recall(v.tolist(), k) for v in (ranks.i2t, ranks.t2i) for k in (1, 5, 10)]
    assert metrics.rsum == pytest.approx(sum(six))
    assert metrics.r1_sum == pytest.approx(six[0] + six[3])


def test_median_is_rounded_down_then_counted_from_one() -> None:
    assert median_rank(np.array([0, 1])) == 1
    assert median_rank(np.array([3, 4, 9, 9])) == 7
    assert mean_rank(np.array([0, 1])) == 1.5


def test_recall_counts_ranks_below_k() -> None:
    assert recall_at_k(np.array([0, 4, 5, 9]), 5) == 50
    assert recall_at_k(np.array([0, 4, 5, 9]), 100) == 100


def test_flat_names_hold_every_value() -> None:
    values = retrieval_metrics(some_ranks(1)).values()
    assert len(values) == 13
    assert values["r1_sum"] == pytest.approx(values["i2t_r1"] + values["t2i_r1"])
    assert values["mean_r1"] == pytest.approx((values["i2t_r1"] + values["t2i_r1"]) / 2)
    recalls = [values[f"{d}_r{k}"] for d in ("i2t", "t2i") for k in (1, 5, 10)]
    assert values["rsum"] == pytest.approx(sum(recalls))


def test_folds_are_averaged_unrounded() -> None:
    folds = [retrieval_metrics(some_ranks(seed)) for seed in range(3)]
    mean = mean_metrics(folds).values()
    for name in mean:
        assert mean[name] == pytest.approx(sum(fold.values()[name] for fold in folds) / 3)
    assert mean_metrics(folds[:1]) == folds[0]


def test_no_queries_are_an_error() -> None:
    with pytest.raises(UserError, match="found no query"):
        direction_metrics(np.array([], int))

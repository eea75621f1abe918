"""MRR, mAP and nDCG against loops over sorted rankings: ties, folds, any number of captions an image."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmark.errors import UserError
from benchmark.evaluation.metrics import mean_average_precision, mean_ndcg, mean_reciprocal_rank
from benchmark.evaluation.protocol import OWN, captions_each, evaluate, evaluate_places
from benchmark.evaluation.ranking import TieRule
from tests.evaluation.naive import order_of, scattered_map

Array = np.ndarray[Any, Any]


def naive_places(scores: Array, own: set[int], tie_rule: str) -> list[int]:
    """Places of the right answers in the sorted ranking."""
    if tie_rule == "pessimistic":  # of equal scores, the wrong ones first
        order = sorted(range(len(scores)), key=lambda item: (-float(scores[item]), item in own, item))
    else:
        order = order_of(scores)
    return [place for place, item in enumerate(order) if item in own]


def naive_metrics(rankings: list[list[int]]) -> tuple[float, float, float]:
    """MRR, mAP and nDCG in percent of queries by the places of their answers."""
    first, precision, gain = [], [], []
    for places in rankings:
        first.append(1 / (places[0] + 1))
        precision.append(sum((j + 1) / (p + 1) for j, p in enumerate(places)) / len(places))
        best = sum(1 / math.log2(j + 2) for j in range(len(places)))
        gain.append(sum(1 / math.log2(p + 2) for p in places) / best)
    mrr, mean_precision, ndcg = (100 * sum(values) / len(values) for values in (first, precision, gain))
    return mrr, mean_precision, ndcg


@pytest.mark.parametrize("tie_rule", ["lower_index", "pessimistic"])
@pytest.mark.parametrize("folds", [1, 3])
@pytest.mark.parametrize("levels", [4, 10**6])
def test_places_are_those_of_sorted_rankings(tie_rule: TieRule, folds: int, levels: int) -> None:
    rng = np.random.default_rng(folds + levels)
    sims = rng.integers(0, levels, (9, 31)).astype(np.float32)
    owner = scattered_map(rng, 9, 31)
    result = evaluate(sims, owner, replace(OWN, folds=folds), tie_rule, resamples=2)
    found = evaluate_places(sims, owner, result)
    i2t, t2i = [], []
    for fold in range(folds):
        images = list(range(fold * 9 // folds, (fold + 1) * 9 // folds))
        captions = [j for j in range(31) if owner[j] in images]
        block = sims[np.ix_(images, captions)]
        rows = [{k for k, j in enumerate(captions) if owner[j] == image} for image in images]
        i2t.append(naive_metrics([naive_places(block[r], own, tie_rule) for r, own in enumerate(rows)]))
        columns = [{images.index(int(owner[j]))} for j in captions]
        t2i.append(naive_metrics([naive_places(block[:, k], own, tie_rule) for k, own in enumerate(columns)]))
    for way, expected in (("i2t", i2t), ("t2i", t2i)):
        side = found[way]
        assert (side.mrr, side.map, side.ndcg) == pytest.approx(np.mean(expected, axis=0).tolist())


def test_one_query_by_hand() -> None:
    places, query = np.array([4, 1]), np.array([0, 0])
    assert mean_reciprocal_rank(np.array([1])) == 50
    assert mean_average_precision(places, query) == pytest.approx(100 * (1 / 2 + 2 / 5) / 2)
    best = 1 + 1 / math.log2(3)
    assert mean_ndcg(places, query) == pytest.approx(100 * (1 / math.log2(3) + 1 / math.log2(6)) / best)


@pytest.mark.parametrize(("shape", "each"), [((4, 12), 3), ((4, 4), 1)])
def test_so_many_captions_an_image(shape: tuple[int, int], each: int) -> None:
    assert captions_each(shape, each).tolist() == [j // each for j in range(shape[1])]


def test_a_wrong_number_of_captions_an_image_is_refused() -> None:
    with pytest.raises(UserError, match=r"shape \(4, 13\), expected \(n, 3n\)"):
        captions_each((4, 13), 3)
    with pytest.raises(UserError, match="found 0, expected 1"):
        captions_each((4, 13), 0)

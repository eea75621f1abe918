"""Differences over seeds: scipy as the cross-check, and simulated seeds for the power."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from benchmark.statistics.seed_differences import MOST, power, seed_difference, seeds_to_tell


def test_interval_and_p_are_those_of_the_t_test() -> None:
    values = [3.0, -1.5, 2.25, 4.0, 0.5]
    found = seed_difference(values)
    assert found is not None
    expected = stats.ttest_1samp(values, 0.0)
    interval = expected.confidence_interval(0.95)
    assert found.n == 5
    assert found.mean == pytest.approx(np.mean(values))
    assert found.sd == pytest.approx(np.std(values, ddof=1))
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.p == pytest.approx(expected.pvalue)


def test_one_seed_has_no_spread_and_equal_differences_tell_nothing() -> None:
    assert seed_difference([3.0]) is None
    same, none = seed_difference([2.0, 2.0, 2.0]), seed_difference([0.0, 0.0])
    assert same is not None
    assert none is not None
    assert (same.low, same.high, same.p) == (2.0, 2.0, 1.0)
    assert none.p == 1.0


@pytest.mark.parametrize(("mean", "n"), [(1.0, 4), (-1.0, 8), (0.0, 5)])
def test_power_is_the_share_of_simulated_seeds_that_tell(mean: float, n: int) -> None:
    rng = np.random.default_rng(0)
    drawn = rng.normal(mean, 1.0, (20_000, n))
    told = np.mean(np.asarray(stats.ttest_1samp(drawn, 0.0, axis=1).pvalue) < 0.05)
    assert power(mean, 1.0, n) == pytest.approx(told, abs=4 * math.sqrt(0.25 / len(drawn)))


@pytest.mark.parametrize("level", [0.95, 0.9975])
@pytest.mark.parametrize("shift", [0.1, 0.5, 1.0, 2.0, 7.9, 50.0])
def test_as_many_seeds_as_told_are_enough_and_one_less_are_not(shift: float, level: float) -> None:
    n = seeds_to_tell(shift, 1.0, level)
    if n is None:
        assert power(shift, 1.0, MOST, level) < 0.8
        return
    assert n == next(k for k in range(2, MOST + 1) if power(shift, 1.0, k, level) >= 0.8)
    assert n == seeds_to_tell(-shift, 1.0, level)


def test_power_grows_with_seeds_and_is_a_chance_where_scipy_gives_none() -> None:
    for shift in (0.5, 3.0, 8.0):
        chances = [power(shift, 1.0, n) for n in range(2, 200)]
        assert all(0 <= chance <= 1 for chance in chances)
        assert all(b >= a - 1e-12 for a, b in pairwise(chances))


def test_no_number_of_seeds_tells_no_difference() -> None:
    assert seeds_to_tell(0.0, 1.0) is None
    assert seeds_to_tell(0.001, 1.0) is None
    assert MOST == 1_000
    assert seeds_to_tell(1.0, 0.0) == 2

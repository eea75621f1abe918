"""Seeds as a distribution, and the power of n of them: scipy.stats, closed forms and quadrature as cross-checks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats

from benchmark.errors import UserError
from benchmark.statistics.power import (
    detectable,
    least_told,
    power,
    seeds_for_width,
)
from benchmark.statistics.seeds import (
    half_width,
    prediction_half_width,
    seed_summary,
    welch,
    within_limits,
)

RUNS = [[489.0, 490.0, 491.5], [488.2, 491.0, 490.1, 487.4, 489.9], [1.0, 5.0]]


@pytest.mark.parametrize("values", RUNS)
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_the_t_interval_is_scipys(values: list[float], level: float) -> None:
    found = seed_summary(values, level)
    assert found.n == len(values)
    assert (found.mean, found.sd) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
    low, high = stats.t.interval(level, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high))
    theirs = stats.ttest_1samp(values, 0).confidence_interval(level)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high))
    assert half_width(values, level) == pytest.approx((high - low) / 2)


def test_by_hand() -> None:
    """1, 2, 3: sd 1, t quantile 4.3027 with two degrees of freedom."""
    found = seed_summary([1.0, 2.0, 3.0])
    assert (found.mean, found.sd) == (2.0, 1.0)
    assert found.high == pytest.approx(2 + 4.302652729911275 / math.sqrt(3))
    assert prediction_half_width(1.0, 3) == pytest.approx(4.96827542)


def test_one_seed_has_no_spread() -> None:
    found = seed_summary([490.0])
    assert (found.n, found.mean, found.sd, found.low, found.high) == (1, 490.0, None, None, None)
    with pytest.raises(UserError, match="found no value"):
        seed_summary([])


@pytest.mark.parametrize("values", RUNS)
def test_the_prediction_interval_is_the_two_sample_t_test_with_one_value(values: list[float]) -> None:
    """A value on the border has p = 5 % in the pooled test of n values against one."""
    mean, sd, n = float(np.mean(values)), float(np.std(values, ddof=1)), len(values)
    half = prediction_half_width(sd, n)
    for border in (mean - half, mean + half):
        test = stats.ttest_ind_from_stats(mean, sd, n, border, 0.0, 1, equal_var=True)
        assert test.pvalue == pytest.approx(0.05)


@pytest.mark.parametrize("n", [3, 5, 10])
def test_coverage_of_the_prediction_interval_and_of_the_mean(n: int) -> None:
    """10,000 times n seeds and one more: 95 % (± 3.2 sd: 0.7 points)."""
    draws = np.random.default_rng(n).normal(490, 3, (10_000, n + 1))
    mean, sd = draws[:, :n].mean(axis=1), draws[:, :n].std(axis=1, ddof=1)
    inside = np.abs(draws[:, n] - mean) <= prediction_half_width(1.0, n) * sd
    assert inside.mean() == pytest.approx(0.95, abs=0.007)
    held = np.abs(mean - 490) <= half_width(list(range(n))) / np.std(range(n), ddof=1) * sd
    assert held.mean() == pytest.approx(0.95, abs=0.007)


@pytest.mark.parametrize("n", [2, 3, 5, 10, 50])
@pytest.mark.parametrize("shift", [0.0, 0.7, 3.0, 8.0, 40.0, 150.0])
def test_power_by_quadrature(n: int, shift: float) -> None:
    """Given the spread found, the mean less the number is normal: integrate over the spread's chi distribution."""
    width, root = float(stats.t.ppf(0.975, n - 1)), math.sqrt(1 + 1 / n)

    def told(u: float) -> float:
        bar = width * math.sqrt(stats.chi2.ppf(u, n - 1) / (n - 1))
        return float(stats.norm.cdf(shift / root - bar) + stats.norm.cdf(-shift / root - bar))

    expected = integrate.quad(told, 0, 1, limit=200)[0]
    assert power(shift, 1.0, n) == pytest.approx(expected, abs=1e-5)
    assert power(-3 * shift, 3.0, n) == pytest.approx(power(shift, 1.0, n))


def test_power_of_nothing_is_the_level() -> None:
    for n in (2, 3, 10):
        assert power(0.0, 2.0, n) == pytest.approx(0.05)


@pytest.mark.parametrize("n", [2, 3, 5, 10, 100])
def test_the_detectable_difference_has_eighty_percent(n: int) -> None:
    assert power(detectable(1.6, n), 1.6, n) == pytest.approx(0.8)
    assert detectable(3.2, n) == pytest.approx(2 * detectable(1.6, n))
    assert detectable(0.0, n) == 0


def test_no_number_of_seeds_gets_below_the_floor() -> None:
    assert least_told(2.0) == pytest.approx(2 * 1.959964, abs=1e-5)
    assert prediction_half_width(2.0, 10**6) == pytest.approx(least_told(2.0), rel=1e-5)
    assert detectable(1.0, 10**5) == pytest.approx(1.959964 + 0.841621, abs=1e-3)
    assert seeds_for_width(least_told(2.0), 2.0) is None
    assert seeds_for_width(0.1, 0.0) == 2


@pytest.mark.parametrize(("target", "sd"), [(6.0, 1.6), (6.0, 2.0), (6.0, 2.9), (1.0, 0.02), (30.0, 1.6)])
def test_the_fewest_seeds_are_found_one_by_one(target: float, sd: float) -> None:
    widths = (n for n in range(2, 1000) if prediction_half_width(sd, n) <= target)
    assert seeds_for_width(target, sd) == next(widths)


@pytest.mark.parametrize(
    ("metric", "difference", "limits"),
    [
        ("t2i_r1", False, (0.0, 100.0)),
        ("mean_r1", True, (-100.0, 100.0)),
        ("rsum", False, (0.0, 600.0)),
        ("rsum", True, (-600.0, 600.0)),
    ],
)
def test_intervals_end_where_the_metric_does(
    metric: str, difference: bool, limits: tuple[float, float]
) -> None:
    low, high = limits
    assert within_limits(low - 10.75, high + 0.1, metric, difference=difference) == limits
    assert within_limits(low + 1, high - 1, metric, difference=difference) == (low + 1, high - 1)
    assert within_limits(low, low + 0.5, metric, difference=difference) == (low, low + 0.5)


@pytest.mark.parametrize("a", RUNS)
@pytest.mark.parametrize("b", RUNS)
def test_welch_is_scipys(a: list[float], b: list[float]) -> None:
    expected = stats.ttest_ind(a, b, equal_var=False).pvalue
    assert welch(a, b) == pytest.approx(expected)
    assert welch(a, b) == welch(b, a)


def test_welch_without_spread() -> None:
    assert welch([1.0, 1.0], [1.0, 1.0]) == 1
    assert welch([1.0, 1.0], [2.0, 2.0]) == 0
    assert welch([1.0, 1.0], [2.0, 2.2]) == pytest.approx(stats.ttest_1samp([2.0, 2.2], 1).pvalue)

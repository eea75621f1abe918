"""The paired bootstrap: the same draws in a loop, scipy's interval, and its coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchmark.errors import UserError
from benchmark.statistics.bootstrap_difference import paired_bootstrap


def test_the_same_draws_in_a_loop() -> None:
    d = np.random.default_rng(0).integers(-5, 6, 25) * 20.0
    rng, means = np.random.default_rng(4), []
    for size in (64, 64, 22):
        for drawn in rng.integers(0, 25, (size, 25)):
            means.append(sum(d[i] for i in drawn) / 25)
    found = paired_bootstrap(d, resamples=150, seed=4, level=0.9)
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(means, [5, 95])))
    assert found.difference == pytest.approx(d.mean())
    assert (found.n, found.level, found.resamples, found.seed) == (25, 0.9, 150, 4)


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_scipy_gives_the_same_interval(level: float) -> None:
    rng = np.random.default_rng(1)
    a, b = 100.0 * (rng.random((2, 300)) < [[0.6], [0.5]])
    found = paired_bootstrap(a - b, level=level)
    theirs = stats.bootstrap(
        (a, b),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        paired=True,
        method="percentile",
        confidence_level=level,
        n_resamples=10_000,
        rng=np.random.default_rng(2),
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.35)


def test_coverage() -> None:
    """1500 test sets of 100 images, true difference 4 points: 95 % of the intervals hold it (± 3 sd, 1.7)."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(1500):
        d = rng.choice([-100.0, -20.0, 0.0, 20.0, 100.0], 100, p=[0.11, 0.2, 0.34, 0.2, 0.15])
        found = paired_bootstrap(d, resamples=400)
        held += found.low <= 4 <= found.high
    assert held / 1500 == pytest.approx(0.945, abs=0.02)


def test_shared_difficulty_cancels() -> None:
    """Images that are hard for both say nothing about the difference: the paired interval is the narrower."""
    rng = np.random.default_rng(3)
    hard = rng.normal(0, 30, 200)
    a, b = hard + rng.normal(2, 5, 200), hard + rng.normal(0, 5, 200)
    paired, alone = paired_bootstrap(a - b), paired_bootstrap(a)
    assert paired.high - paired.low < (alone.high - alone.low) / 3
    assert paired_bootstrap(a - b) == paired


def test_what_has_no_interval() -> None:
    for bad in (np.array([]), np.array([1.0, np.inf]), np.zeros((2, 2))):
        with pytest.raises(UserError, match="bootstrap: found differences"):
            paired_bootstrap(bad)
    with pytest.raises(UserError, match="1 resamples"):
        paired_bootstrap(np.ones(3), resamples=1)
    with pytest.raises(UserError, match=r"level 1\.0"):
        paired_bootstrap(np.ones(3), level=1.0)


def test_ten_thousand_resamples_at_95_percent_unless_asked_for_others() -> None:
    values = np.array([0.0, 1.0, 3.0])
    found = paired_bootstrap(values)
    assert found == paired_bootstrap(values, resamples=10_000, seed=0, level=0.95)
    assert (found.resamples, found.seed, found.level) == (10_000, 0, 0.95)
    assert paired_bootstrap(values, resamples=2).n == 3

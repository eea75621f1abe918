"""The difference of two variants over seeds: t interval, p-value, and how many seeds would tell it from zero.

Each seed gives one difference, first variant less second; differences are taken as draws from one normal
distribution. The question is whether its mean is zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import special

from benchmark.statistics.power import POWER, chance_to_tell, fewest
from benchmark.statistics.seeds import LEVEL, seed_summary

MOST = 1_000
"""Nobody trains more models than this for one question."""


@dataclass(frozen=True)
class SeedDifference:
    """Differences over at least two seeds."""

    n: int
    mean: float
    sd: float
    low: float
    """95 % t interval of the mean."""
    high: float
    p: float
    """Two-sided, of the t test against a mean of zero."""


def seed_difference(differences: Sequence[float]) -> SeedDifference | None:
    """Mean, t interval and t test of one difference a seed; None for fewer than two."""
    if len(differences) < 2:
        return None
    found = seed_summary(differences)
    assert found.sd is not None
    assert found.low is not None
    assert found.high is not None
    if found.sd == 0:  # recalls come in steps: equal differences say nothing of the spread
        p = 1.0
    else:
        t = abs(found.mean) / (found.sd / math.sqrt(found.n))
        p = float(2 * special.stdtr(found.n - 1, -t))
    return SeedDifference(found.n, found.mean, found.sd, found.low, found.high, p)


def power(mean: float, sd: float, n: int, level: float = LEVEL) -> float:
    """Chance that n >= 2 seeds tell a true mean difference from zero, two-sided."""
    return chance_to_tell(abs(mean) * math.sqrt(n) / sd, n, level)


def seeds_to_tell(mean: float, sd: float, level: float = LEVEL, chance: float = POWER) -> int | None:
    """The fewest seeds that tell a true difference as large as `mean` with the given chance; None beyond MOST."""
    if mean == 0:
        return None
    if sd == 0:
        return 2
    return fewest(lambda n: power(mean, sd, n, level) >= chance, MOST)

"""Several seeds as a distribution: mean, standard deviation, and two intervals that answer two questions.

The t interval of the mean says where the mean of very many seeds would lie; the prediction interval says
where one further seed would lie. All here takes the seeds as draws from one normal distribution, which knows nothing of
0 and 100 %; `within_limits` cuts off what no recall can be.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import special

from benchmark.errors import UserError

LEVEL = 0.95


@dataclass(frozen=True)
class SeedSummary:
    """A metric over seeds."""

    n: int
    mean: float
    sd: float | None
    """The standard deviation with n - 1 below; None for one seed, as are the bounds."""
    low: float | None
    """The t interval of the mean."""
    high: float | None


def seed_summary(values: Sequence[float], level: float = LEVEL) -> SeedSummary:
    """Count, mean, standard deviation and t interval of the mean; raises UserError for no value."""
    if not values:
        raise UserError("seeds: found no value, expected at least one")
    mean = statistics.fmean(values)
    if len(values) == 1:
        return SeedSummary(1, mean, None, None, None)
    half = half_width(values, level)
    return SeedSummary(len(values), mean, statistics.stdev(values), mean - half, mean + half)


def half_width(values: Sequence[float], level: float = LEVEL) -> float:
    r"""Half the t interval of the mean of n >= 2 values.

    $$ t_{n-1,\,(1 + level)/2}\; s / \sqrt{n} $$
    """
    return t_quantile(len(values), level) * statistics.stdev(values) / math.sqrt(len(values))


def prediction_half_width(sd: float, n: int, level: float = LEVEL) -> float:
    r"""Half the prediction interval of one further seed, from n >= 2 seeds of standard deviation `sd`.

    $$ t_{n-1,\,(1 + level)/2}\; s\, \sqrt{1 + 1/n} $$

    The mean of n seeds is itself off by sd / sqrt(n), and the further seed by sd.
    """
    return t_quantile(n, level) * sd * math.sqrt(1 + 1 / n)


def within_limits(low: float, high: float, metric: str, *, difference: bool = False) -> tuple[float, float]:
    """An interval of a metric in percent (of METRICS), less the part that no value, or no difference of two, can take.

    A mean of recalls lies between 0 and 100 (rsum: 600), whatever the seeds. The part beyond cannot hold it, so the
    interval that is left holds it as often as the whole one did (Mandelkern, Setting confidence intervals for bounded
    parameters, Statistical Science 17, 2002, on intersecting an interval with the values that are possible).
    """
    most = 600.0 if metric == "rsum" else 100.0
    return max(low, -most if difference else 0.0), min(high, most)


def welch(a: Sequence[float], b: Sequence[float]) -> float:
    r"""Two-sided p-value that two methods, of n and m >= 2 seeds, have the same mean; spreads may differ.

    $$ t = (\bar a - \bar b) / \sqrt{s_a^2/n + s_b^2/m} $$

    with Welch and Satterthwaite's degrees of freedom. Without any spread: 1 where the means agree, else 0.
    """
    one, other = (statistics.variance(values) / len(values) for values in (a, b))
    difference = abs(statistics.fmean(a) - statistics.fmean(b))
    if one + other == 0:
        return 1.0 if difference == 0 else 0.0
    degrees = (one + other) ** 2 / (one**2 / (len(a) - 1) + other**2 / (len(b) - 1))
    return float(2 * special.stdtr(degrees, -difference / math.sqrt(one + other)))


def t_quantile(n: int, level: float = LEVEL) -> float:
    """Two-sided quantile of t with n - 1 degrees of freedom."""
    return float(special.stdtrit(n - 1, (1 + level) / 2))

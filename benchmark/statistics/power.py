"""The difference that n seeds can tell from one published number, and the number of seeds that a difference needs.

Notation: n seeds of standard deviation s; a published number that is one draw, `shift` away from the mean of
ours. "Told" means outside the 95 % prediction interval of our seeds, mean ± t_{n-1} s sqrt(1 + 1/n). Then
(mean - number) / (s sqrt(1 + 1/n)) has a noncentral t distribution with n - 1 degrees of freedom and
noncentrality shift / (s sqrt(1 + 1/n)), which gives the chance to tell.

The number is one draw however many seeds we add: the interval never gets narrower than ± 1.96 s, and no
number of seeds tells a shift under 2.80 s with 80 % power. All here takes s as known.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import special

from benchmark.statistics.seeds import LEVEL, prediction_half_width, t_quantile

POWER = 0.8
MOST = 1_000_000
"""A number of seeds beyond this is none."""


def power(shift: float, sd: float, n: int, level: float = LEVEL) -> float:
    """Chance that n >= 2 seeds tell a published number `shift` away."""
    return chance_to_tell(abs(shift) / (sd * math.sqrt(1 + 1 / n)), n, level)


def chance_to_tell(centre: float, n: int, level: float = LEVEL) -> float:
    r"""Chance that a two-sided t test of n >= 2 values tells a true shift of `centre` standard errors.

    $$ 1 - F_{n-1,\,\delta}(t) + F_{n-1,\,\delta}(-t) $$

    F: noncentral t distribution with noncentrality centre, t: its central two-sided quantile at `level`.
    """
    bar = t_quantile(n, level)
    tails = special.nctdtr(n - 1, centre, [bar, -bar])
    below, above = np.nan_to_num(tails, nan=0.0)  # scipy gives nan for tails too small to compute
    return float(1 - below + above)


def detectable(sd: float, n: int, level: float = LEVEL, chance: float = POWER) -> float:
    """The smallest shift that n >= 2 seeds tell with the given chance."""
    low, high = 0.0, 2 * prediction_half_width(1.0, n, level) + 10  # in standard deviations
    while high - low > 1e-9 * high:  # power grows with the shift
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle, 1.0, n, level) >= chance else (middle, high)
    return sd * high


def least_told(sd: float, level: float = LEVEL) -> float:
    """Half the interval that very many seeds would have: a difference under it is never told. 1.96 sd."""
    return sd * float(special.ndtri((1 + level) / 2))


def seeds_for_width(half_width: float, sd: float, level: float = LEVEL) -> int | None:
    """The fewest seeds whose prediction interval is no wider than ± half_width; None: no number of them."""
    if least_told(sd, level) >= half_width:
        return None
    return fewest(lambda n: prediction_half_width(sd, n, level) <= half_width)


def fewest(enough: Callable[[int], bool], most: int = MOST) -> int | None:
    """The smallest n >= 2 that is enough, where all larger ones are; None beyond `most`."""
    low, high = 1, 2
    while not enough(high):
        if high >= most:
            return None
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high

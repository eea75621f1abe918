"""How often the verdict errs: seeds and paper's numbers drawn from known distributions, the rule applied.

With one distribution for both, "below" and "above" together should come up in 5 % of all cases, whatever n.
With a shift, as often as power.py says. Where the paper's number is the best of several runs, it is not one
draw, and "below" comes up too often: `best_of` shows how much.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.statistics.seeds import prediction_half_width
from benchmark.statistics.verdict import ROUNDING, margin_of

Draw = Callable[[np.random.Generator, tuple[int, ...]], NDArray[np.float64]]
"""Seeds of mean 0 and standard deviation 1."""


@dataclass(frozen=True)
class ErrorRates:
    """Shares of all replications in which the verdict was of each kind; they add up to 1."""

    n: int
    """Seeds of each replication."""
    replications: int
    below: float
    above: float
    reproduced: float
    cant_tell: float

    @property
    def told(self) -> float:
        """How often a difference was told: a false alarm where there is none, power where there is one."""
        return self.below + self.above


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Standard normal draws."""
    return rng.standard_normal(shape)


def simulate_error_rates(
    n: int,
    *,
    shift: float = 0.0,
    sd: float = 2.0,
    best_of: int = 1,
    replications: int = 20_000,
    seed: int = 0,
    draw: Draw = normal,
) -> ErrorRates:
    """The verdict's rates for n >= 3 seeds of standard deviation `sd` (points of rsum).

    shift: mean of our seeds less that of the paper's; best_of: runs of which the paper prints the best;
    draw: the shape of the distribution.
    """
    rng = np.random.default_rng(seed)
    ours = shift + sd * draw(rng, (replications, n))
    paper = sd * draw(rng, (replications, best_of)).max(axis=1)  # (replications,)
    difference = ours.mean(axis=1) - paper
    half = prediction_half_width(1.0, n) * ours.std(axis=1, ddof=1)
    outside = np.abs(difference) > half + ROUNDING
    wide = half > margin_of("rsum")
    return ErrorRates(
        n=n,
        replications=replications,
        below=float(np.mean(outside & (difference < 0))),
        above=float(np.mean(outside & (difference > 0))),
        reproduced=float(np.mean(~outside & ~wide)),
        cant_tell=float(np.mean(~outside & wide)),
    )

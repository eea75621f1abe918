"""Interval of the difference of two methods on the same images: each draw of images serves both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import UserError

CHUNK = 64  # resamples at a time: a (64, 5000) table of counts is 2.5 MB


@dataclass(frozen=True)
class DifferenceInterval:
    """Percentile bootstrap interval of a mean difference."""

    difference: float
    low: float
    high: float
    n: int
    """Images."""
    level: float
    resamples: int
    seed: int


def paired_bootstrap(
    differences: NDArray[np.floating[Any]], *, resamples: int = 10_000, seed: int = 0, level: float = 0.95
) -> DifferenceInterval:
    """Percentile interval of the mean of the images' differences (n_images,), first method less second.

    Images are drawn with all their captions; each keeps its weight (queries.py), and ranks stay as they are.
    Same seed, same interval. Raises UserError for no image, values that are not finite, fewer than 2
    resamples, or a level outside (0, 1).
    """
    d = np.asarray(differences, np.float64)
    if d.ndim != 1 or not len(d) or not np.isfinite(d).all() or resamples < 2 or not 0 < level < 1:
        raise UserError(
            f"bootstrap: found differences {d.shape}, {resamples} resamples, level {level}, "
            "expected at least one finite difference, 2 resamples, a level in (0, 1)"
        )
    rng = np.random.default_rng(seed)
    n, means = len(d), np.empty(resamples)
    for start in range(0, resamples, CHUNK):
        size = min(CHUNK, resamples - start)
        means[start : start + size] = d[rng.integers(0, n, (size, n))].mean(axis=1)
    low, high = np.percentile(means, [50 * (1 - level), 50 * (1 + level)])
    return DifferenceInterval(float(d.mean()), float(low), float(high), n, level, resamples, seed)

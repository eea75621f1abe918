"""The paired sign-flip test: is the difference of two methods on the same images more than chance?

If the two methods were interchangeable, each image's difference might as well have the other sign. The test
flips signs at random and counts how often the mean is at least as far from zero as the one found, on either
side. Random flips add one to count and total, since the data as found are one of the flips (Phipson and
Smyth 2010: p is never 0); where 2^n flips are no more than those asked for, all of them are counted instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import UserError

CHUNK = 256  # flips at a time: (256, 5000) float64 is 10 MB
ROUNDING = 1e-10
"""Sums closer than this share of the sum of sizes are equal: recalls are few, so exact ties are common."""


@dataclass(frozen=True)
class PairedTest:
    """A two-sided paired test over images."""

    difference: float
    """Mean of the differences, first less second."""
    p_value: float
    n: int
    """Images."""
    permutations: int
    """Flips that were counted."""
    seed: int
    exact: bool = False
    """All flips were counted, so that the seed plays no part."""


def sign_flip(
    differences: NDArray[np.floating[Any]], *, permutations: int = 10_000, seed: int = 0
) -> PairedTest:
    """Two-sided sign-flip test that the differences (n_images,) are symmetric about zero.

    p = (1 + #{|sum s_i d_i| >= |sum d_i|}) / (1 + permutations) for random signs s, or the share of all 2^m
    sign vectors where 2^m <= permutations, m the number of images with a difference: zeros do not change a
    sum. Same seed, same p. Raises UserError for no image, values that are not finite, no permutation.
    """
    d = np.asarray(differences, np.float64)
    if d.ndim != 1 or not len(d) or not np.isfinite(d).all() or permutations < 1:
        raise UserError(
            f"sign-flip test: found differences {d.shape} and {permutations} permutations, "
            "expected at least one finite difference and one permutation"
        )
    moving = d[d != 0]
    exact = len(moving) < permutations.bit_length()  # 2^m <= permutations
    bar = abs(moving.sum()) - ROUNDING * np.abs(moving).sum()
    if exact:
        count = _all_flips(moving, bar)
        p, flips = count / 2 ** len(moving), 2 ** len(moving)
    else:
        count = _random_flips(moving, bar, permutations, seed)
        p, flips = (1 + count) / (1 + permutations), permutations
    return PairedTest(float(d.mean()), float(p), len(d), flips, seed, exact)


def flip_bound(differences: NDArray[np.floating[Any]]) -> float:
    """An upper bound of the sign-flip test's p-value, without a flip: 2 exp(-(sum d)^2 / (2 sum d^2)), at most 1.

    Hoeffding 1963, theorem 2, for independent signs; differences are (n_images,).
    """
    d = np.asarray(differences, np.float64)
    squares = float(d @ d)
    return 1.0 if squares == 0 else min(1.0, 2.0 * math.exp(-(float(d.sum()) ** 2) / (2.0 * squares)))


def _all_flips(d: NDArray[np.float64], bar: float) -> int:
    """Sign vectors, of all, whose sum is at or beyond the bar."""
    sums = np.zeros(1)
    for value in d:
        sums = np.concatenate([sums + value, sums - value])
    return int(np.count_nonzero(np.abs(sums) >= bar))


def _random_flips(d: NDArray[np.float64], bar: float, permutations: int, seed: int) -> int:
    """The same of random sign vectors, one bit a sign: sum s d = sum d - 2 sum over the flipped."""
    rng = np.random.default_rng(seed)
    width, total, count = -(-len(d) // 8), d.sum(), 0
    for start in range(0, permutations, CHUNK):
        size = min(CHUNK, permutations - start)
        packed = np.frombuffer(rng.bytes(size * width), np.uint8).reshape(size, width)
        flipped = np.unpackbits(packed, axis=1, count=len(d)) @ d  # (size,)
        count += int(np.count_nonzero(np.abs(total - 2 * flipped) >= bar))
    return count

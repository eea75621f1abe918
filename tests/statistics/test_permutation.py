"""The sign-flip test: enumeration by hand and by scipy, random flips, its level with clustered captions."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from benchmark.errors import UserError
from benchmark.statistics.permutation import PairedTest, flip_bound, sign_flip


def difference(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
    return np.asarray(np.mean(a, axis=axis) - np.mean(b, axis=axis))


@pytest.mark.parametrize("seed", range(4))
def test_all_flips_are_those_of_a_loop_and_of_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 6, (2, 11)) * 20.0
    d = a - b
    sums = [abs(np.dot(signs, d)) for signs in product((1, -1), repeat=11)]
    found = sign_flip(d)
    assert found.p_value == np.mean([total >= abs(d.sum()) for total in sums])
    theirs = stats.permutation_test(
        (a, b), difference, permutation_type="samples", vectorized=True, n_resamples=2**11
    )
    assert found.p_value == pytest.approx(theirs.pvalue, abs=1e-12)
    assert found.difference == pytest.approx(theirs.statistic)
    assert (found.exact, found.n, found.permutations) == (True, 11, 2 ** int(np.count_nonzero(d)))


def test_by_hand() -> None:
    """Of the eight sign vectors of 1, 2, 3 the sums +6 and -6 are as far out as 6."""
    assert sign_flip(np.array([1.0, 2.0, 3.0])).p_value == 2 / 8
    assert sign_flip(np.array([1.0, 2.0, -3.0])).p_value == 1  # a sum of 0
    assert sign_flip(-np.array([1.0, 2.0, 3.0])) == PairedTest(-2.0, 2 / 8, 3, 8, seed=0, exact=True)


def test_images_without_a_difference_leave_p_as_it_is() -> None:
    d = np.array([1.0, 2.0, 3.0])
    padded = np.concatenate([d, np.zeros(500)])
    assert sign_flip(padded).p_value == sign_flip(d).p_value
    assert sign_flip(padded).n == 503
    assert sign_flip(padded).difference == pytest.approx(6 / 503)
    assert sign_flip(np.zeros(7)).p_value == 1


@pytest.mark.parametrize("shift", [0.0, 0.15, 0.3])
def test_random_flips_agree_with_scipy(shift: float) -> None:
    d = np.random.default_rng(3).normal(shift, 1, 150)
    found = sign_flip(d, permutations=20_000, seed=1)
    theirs = stats.permutation_test(
        (d, np.zeros_like(d)),
        difference,
        permutation_type="samples",
        vectorized=True,
        n_resamples=20_000,
        rng=np.random.default_rng(0),
    ).pvalue
    assert found.p_value == pytest.approx(theirs, abs=5 * (0.5 / 20_000) ** 0.5)
    assert not found.exact


def test_random_flips_are_those_of_a_loop_over_the_same_bits() -> None:
    d = np.random.default_rng(5).integers(-5, 6, 30) * 20.0
    moving = d[d != 0]
    rng, count = np.random.default_rng(9), 0
    for size in (256, 44):
        packed = np.frombuffer(rng.bytes(size * -(-len(moving) // 8)), np.uint8).reshape(size, -1)
        for row in packed:
            signs = [1 - 2 * ((int(row[i // 8]) >> (7 - i % 8)) & 1) for i in range(len(moving))]
            count += abs(np.dot(signs, moving)) >= abs(moving.sum())
    assert sign_flip(d, permutations=300, seed=9).p_value == (1 + count) / 301


def test_p_is_never_zero_and_the_seed_decides() -> None:
    d = np.full(60, 20.0)
    assert sign_flip(d, permutations=999).p_value == 1 / 1000
    noise = np.random.default_rng(0).normal(0.2, 1, 60)
    assert sign_flip(noise, seed=3) == sign_flip(noise, seed=3)
    assert sign_flip(noise, seed=3).p_value != sign_flip(noise, seed=4).p_value


def test_rounding_breaks_no_tie() -> None:
    """0.1 + 0.2 - 0.3 is not 0 in binary: flips that tie with the sum found must still count."""
    d = np.tile([0.1, 0.2, -0.3], 3)
    exact = sign_flip(np.tile([1.0, 2.0, -3.0], 3))
    assert sign_flip(d).p_value == exact.p_value == 1


def test_the_level_holds_where_captions_cluster_by_image() -> None:
    """Two methods alike on average, each with its own good images: flips by image hold 5 %, flips by caption do not.

    1000 replications: three standard deviations of a rate of 5 % are 2.1 points.
    """
    rng = np.random.default_rng(0)
    by_image = by_caption = 0
    for _ in range(1000):
        chance = rng.beta(1, 1, (2, 60, 1))  # of each method and image, shared by the image's five captions
        a, b = 100.0 * (rng.random((2, 60, 5)) < chance)
        by_image += sign_flip((a - b).mean(axis=1), permutations=299).p_value <= 0.05
        by_caption += sign_flip((a - b).ravel(), permutations=299).p_value <= 0.05
    assert by_image / 1000 == pytest.approx(0.05, abs=0.021)
    assert by_caption / 1000 > 0.1


def test_what_can_not_be_tested() -> None:
    for bad in (np.array([]), np.array([1.0, np.nan]), np.zeros((2, 2))):
        with pytest.raises(UserError, match="sign-flip test: found differences"):
            sign_flip(bad)
    with pytest.raises(UserError, match="0 permutations"):
        sign_flip(np.ones(20), permutations=0)


@pytest.mark.parametrize("shift", [0.0, 0.2, 0.5, 2.0])
def test_the_bound_is_never_below_the_share_of_all_flips(shift: float) -> None:
    for seed in range(20):
        d = np.random.default_rng(seed).normal(shift, 1, 12)
        exact = np.mean([abs(np.dot(signs, d)) >= abs(d.sum()) for signs in product((1, -1), repeat=12)])
        assert exact <= flip_bound(d) <= 1


def test_the_bound_by_hand() -> None:
    assert flip_bound(np.array([3.0, 4.0])) == pytest.approx(2 * np.exp(-49 / 50))
    assert flip_bound(np.array([1.0, -1.0])) == 1
    assert flip_bound(np.zeros(3)) == 1
    assert flip_bound(np.full(400, 20.0)) < 1e-80


def test_all_flips_are_tried_where_they_are_no_more_than_asked_for() -> None:
    for images, permutations, exact in ((3, 8, True), (3, 7, False), (4, 15, False), (4, 16, True)):
        found = sign_flip(np.ones(images), permutations=permutations)
        assert (found.exact, found.permutations) == (exact, 2**images if exact else permutations)
    assert sign_flip(np.ones(20), permutations=1).permutations == 1

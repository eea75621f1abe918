"""Holm's correction: by hand, by the stepwise procedure, and its family-wise rate."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from benchmark.errors import UserError
from benchmark.statistics.holm import holm


def stepwise(p_values: list[float], level: float) -> list[bool]:
    """Reject the smallest while p <= level / (hypotheses left), then stop."""
    rejected = [False] * len(p_values)
    left = dict(enumerate(p_values))
    while left:
        index = min(left, key=lambda i: left[i])
        if left[index] > level / len(left):
            break
        rejected[index] = True
        del left[index]
    return rejected


def test_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []
    assert holm([0.0, 1.0]) == [0.0, 1.0]


@pytest.mark.parametrize("seed", range(5))
def test_at_every_level_it_rejects_what_the_procedure_rejects(seed: int) -> None:
    p_values = [float(p) for p in np.round(np.random.default_rng(seed).beta(0.5, 3, 12), 3)]
    adjusted = holm(p_values)
    for level in np.linspace(0.0005, 0.9995, 500):
        assert [p <= level for p in adjusted] == stepwise(p_values, float(level))


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_the_family_wise_rate(correlation: float) -> None:
    """Of 10 tests 6 are null: at least one false alarm in at most 5 % of 4000 families (+ 3 sd: 1 point)."""
    rng = np.random.default_rng(1)
    shared = rng.standard_normal((4000, 1)) * np.sqrt(correlation)
    z = shared + rng.standard_normal((4000, 10)) * np.sqrt(1 - correlation)
    z[:, 6:] += 4
    p_values = 2 * special.ndtr(-np.abs(z))
    alarms = np.mean([min(holm(family)[:6]) <= 0.05 for family in p_values.tolist()])
    assert alarms <= 0.06
    assert np.mean(p_values[:, :6].min(axis=1) <= 0.05) > 0.1  # without the correction
    if correlation == 0:  # with four clear ones gone, six are left: close to the level
        assert alarms == pytest.approx(0.05, abs=0.012)


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan")])
def test_a_p_value_is_a_probability(wrong: float) -> None:
    with pytest.raises(UserError, match=r"found p-value .*, expected 0 to 1"):
        holm([0.5, wrong])

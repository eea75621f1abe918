"""Contenders take turns; ratios and exponents of made-up times come out as they were made."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch

from benchmark.method import TimingGroup
from benchmark.timing.contenders import growth, ratio, time_group

CPU = torch.device("cpu")


def test_contenders_take_turns_and_each_begins_in_its_round() -> None:
    calls: list[str] = []
    group = TimingGroup("task", None, {name: partial(calls.append, name) for name in "abc"})
    rounds: list[int] = []
    found = time_group(group, warm_up=3, rounds=3, device=CPU, each=lambda: rounds.append(len(calls)))
    assert "".join(calls) == "abcbcacab" * 2  # the warm-up, and the rounds that count
    assert rounds == [3, 6, 9, 12, 15, 18]
    assert {name: len(times) for name, times in found.items()} == {"a": 3, "b": 3, "c": 3}
    assert all(seconds > 0 for times in found.values() for seconds in times)


def test_a_ratio_is_taken_round_by_round() -> None:
    """A machine that slows down by ten on the way leaves the ratio where it was."""
    reference = [1.0 * slow for slow in (1, 2, 4, 8, 10)]
    value, low, high = ratio([0.8 * seconds for seconds in reference], reference)
    assert (value, low, high) == pytest.approx((0.8, 0.8, 0.8))


def test_the_interval_of_a_ratio_holds_the_true_one_nineteen_times_in_twenty() -> None:
    draw = np.random.default_rng(7)
    hits = 0
    for _ in range(200):
        reference = draw.lognormal(0.0, 0.3, size=30)
        mine = 0.9 * reference * draw.lognormal(0.0, 0.05, size=30)
        _, low, high = ratio(mine.tolist(), reference.tolist())
        hits += low <= 0.9 <= high
    assert 180 <= hits <= 199  # 190 expected, sd 3.1; the percentile bootstrap of a median is a little wide


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_growth_is_the_exponent(power: float) -> None:
    times = {size: [factor * size**power for factor in (0.9, 1.0, 1.2)] for size in (36, 72, 144, 288)}
    value, low, high = growth(times)
    assert value == pytest.approx(power)
    assert low < power < high
    exact = {size: [2.0 * size**power] * 3 for size in (36, 72, 144)}
    assert growth(exact) == pytest.approx((power, power, power))


def test_growth_is_the_least_squares_slope() -> None:
    times = {2: [1.0], 4: [3.0], 16: [5.0]}
    slope = np.polyfit([math.log(size) for size in times], [math.log(t[0]) for t in times.values()], 1)[0]
    assert growth(times)[0] == pytest.approx(slope)

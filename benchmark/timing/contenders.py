"""Latency of contenders for the same task, taken in turns, so that whatever slows the machine slows all of them.

A round times every contender once; who begins changes from round to round. Ratios are taken round by round: two
calls a moment apart share the machine's state, which absolute times do not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from benchmark.method import TimingGroup
from benchmark.timing.clock import time_call

RESAMPLES = 10_000
Bounds = tuple[float, float, float]
"""An estimate with the ends of its 95 % bootstrap interval over rounds: value, low, high."""


def time_group(
    group: TimingGroup, *, warm_up: int, rounds: int, device: torch.device, each: Callable[[], object]
) -> dict[str, list[float]]:
    """Seconds of every contender in each of `rounds` rounds, after `warm_up` more; `each` is called after a round."""
    names = list(group.calls)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-warm_up, rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            taken, _ = time_call(group.calls[name], device)
            if number >= 0:
                seconds[name].append(taken)
        each()
    return seconds


def ratio(seconds: Sequence[float], reference: Sequence[float]) -> Bounds:
    """Median over the rounds of one contender's time over another's, with its interval."""
    ratios = np.asarray(seconds, dtype=np.float64) / np.asarray(reference, dtype=np.float64)
    medians = np.median(ratios[_resamples(len(ratios))], axis=1)
    return _bounds(float(np.median(ratios)), medians)


def growth(seconds: Mapping[int, Sequence[float]]) -> Bounds:
    """The exponent p of time ~ size^p with its interval, from seconds by size, two sizes or more.

    Least squares of log time on log size, over the medians; rounds are drawn again for each size on its own.
    """
    sizes = np.log(np.array(sorted(seconds), dtype=np.float64))
    rounds = [np.log(np.asarray(seconds[size], dtype=np.float64)) for size in sorted(seconds)]
    slopes = (sizes - sizes.mean()) / ((sizes - sizes.mean()) ** 2).sum()
    medians = np.stack([np.median(times) for times in rounds])
    drawn = [
        np.median(times[_resamples(len(times), seed)], axis=1) for seed, times in enumerate(rounds)
    ]  # each (RESAMPLES,)
    return _bounds(float(slopes @ medians), slopes @ np.stack(drawn))


def _resamples(count: int, seed: int = 0) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """The same rows every time (RESAMPLES, count), so that a table is made twice alike."""
    return np.random.default_rng(seed).integers(count, size=(RESAMPLES, count))


def _bounds(value: float, drawn: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Bounds:
    low, high = np.percentile(drawn, [2.5, 97.5])
    return value, float(low), float(high)

"""Speed of scoring and ranking, as ratios that mean something on any machine (speed.md 5).

A method brings cases: the same scores computed by the published loop and by its fast code. Each case reports
how many times as fast the fast code is, and its time over the floor: the products that cannot be removed, at
the rate that a plain 2048^3 matrix product reached in the same run. Runs of the loop, the fast code and the
plain product take turns, and the best time of each counts: other work on the machine only ever adds time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from benchmark.evaluation.ranking import rank
from benchmark.method import ScoringCase
from benchmark.timing.clock import CPU, time_call

MATRIX = 2048
NAIVE_SECONDS = 10.0  # the published loop is not repeated once it has taken this long
RANK_SIZES = ((1000, 5000), (5000, 25_000))


@dataclass(frozen=True)
class ScoringRow:
    """One case; times are the best of the repeats, in seconds."""

    name: str
    form: str
    naive: float
    fast: float
    floor: float
    """Time of the products that cannot be removed, at the rate of a plain matrix product."""
    difference: float
    """Largest absolute difference of the scores."""

    @property
    def ratio(self) -> float:
        """The speed relative to the published loop."""
        return self.naive / self.fast

    @property
    def over_floor(self) -> float:
        """Time over floor: 1 is the limit."""
        return self.fast / self.floor


@dataclass(frozen=True)
class RankRow:
    """Ranks in both directions of one matrix; best time in seconds."""

    n_images: int
    n_captions: int
    seconds: float


def scoring_benchmark(
    cases: Iterable[ScoringCase], *, repeats: int = 5, threads: int = 1, device: torch.device = CPU
) -> list[ScoringRow]:
    """Time every case on `threads` threads; `device` is where the cases compute (`Method.scoring_cases`).

    Cases are drawn one by one, so that a generator keeps the tensors of one at a time.
    """
    with threads_set(threads), torch.no_grad():
        return [time_case(case, repeats, device) for case in cases]


def rank_benchmark(
    sizes: Iterable[tuple[int, int]] = RANK_SIZES, *, repeats: int = 3, seed: int = 0
) -> list[RankRow]:
    """Time the ranks of random float32 matrices (n_images, n_captions), five captions an image."""
    rows = []
    for n_images, n_captions in sizes:
        sims = np.random.default_rng(seed).standard_normal((n_images, n_captions), np.float32)
        caption_image = np.arange(n_captions, dtype=np.int64) * n_images // n_captions
        call = partial(rank, sims, caption_image)
        seconds = min(time_call(call)[0] for _ in range(max(1, repeats)))
        rows.append(RankRow(n_images, n_captions, seconds))
    return rows


def time_case(case: ScoringCase, repeats: int, device: torch.device = CPU) -> ScoringRow:
    """Time one case; without gradient is the caller's part."""
    matrix = torch.randn(MATRIX, MATRIX, device=device)
    naive: list[float] = []
    fast: list[float] = []
    plain: list[float] = []
    found = expected = time_call(case.fast, device)[1]  # first calls pay for what is set up once
    time_call(lambda: matrix @ matrix, device)
    for _ in range(max(1, repeats)):
        if not naive or sum(naive) < NAIVE_SECONDS:
            seconds, expected = time_call(case.naive, device)
            naive.append(seconds)
        seconds, found = time_call(case.fast, device)
        fast.append(seconds)
        plain.append(time_call(lambda: matrix @ matrix, device)[0])
    floor = floor_seconds(case.floor_flops, min(plain))
    difference = float((found - expected).abs().max())
    return ScoringRow(case.name, case.form, min(naive), min(fast), floor, difference)


def matrix_seconds(device: torch.device, repeats: int) -> float:
    """Time of a plain product of two 2048 x 2048 matrices, the best of the repeats after one that does not count."""
    matrix = torch.randn(MATRIX, MATRIX, device=device)
    return min([time_call(lambda: matrix @ matrix, device)[0] for _ in range(repeats + 1)][1:])


def floor_seconds(flops: float, plain: float) -> float:
    """Time of so many FLOPs at the rate of a plain product that took `plain` seconds."""
    return flops * plain / (2 * MATRIX**3)


@contextmanager
def threads_set(count: int) -> Iterator[None]:
    """PyTorch on `count` threads; as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)

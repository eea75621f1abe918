"""Speed and memory of training steps, beside steps that go about their pairs as published (speed.md 6).

A step is the trainer's: codes, loss, backward, clipping, update. The published way scores all pairs with gradient,
caption by caption, and updates with the optimiser as PyTorch has it by default. Steps of both kinds and a plain matrix
product take turns, and medians count. Where the published way would not fit into the memory that is free, it runs on a
quarter and on half of the batch, and what it would take for the whole is extrapolated, growing with B and with B x B.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial
from statistics import median

import torch
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from benchmark.errors import UserError
from benchmark.method import Progress, TimingGroup, TrainingCase
from benchmark.recipe.training import Training
from benchmark.registry import get_method, method_names
from benchmark.timing.clock import CPU
from benchmark.timing.contenders import ratio, time_group
from benchmark.timing.memory import available, peak_above
from benchmark.timing.scoring import MATRIX, threads_set
from benchmark.training.trainer import Trainer

SPARE = 0.8
"""The share of the free memory that a published step may be expected to take."""


@dataclass(frozen=True)
class TrainingRow:
    """One case: medians in seconds, peaks in bytes above what is there before a step."""

    name: str
    batch: int
    published: float
    own: float
    times_published: float
    """The speed relative to the published way, the median over the rounds."""
    published_peak: int | None
    own_peak: int | None
    floor: float
    """Seconds of all matrix products of our step, at the rate of a plain matrix product."""
    extrapolated: bool
    """True where time and memory of the published way were measured on smaller batches."""

    @property
    def memory_over_published(self) -> float | None:
        """Our peak over the published way's; None where the system does not tell them."""
        known = self.own_peak is not None and self.published_peak is not None
        return self.own_peak / self.published_peak if known else None  # type: ignore[operator]

    @property
    def over_floor(self) -> float:
        """Our time over the floor: 1 is the limit."""
        return self.own / self.floor


def time_training(
    method: str,
    batch: int,
    *,
    repeats: int = 5,
    threads: int = 1,
    device: torch.device = CPU,
    show_progress: bool = False,
) -> list[TrainingRow]:
    """Time the steps of every case of a method on batches of `batch` pairs.

    Raises UserError for an unknown method, one without cases, or a batch that has no whole quarter.
    """
    cases = get_method(method).training_cases
    if cases is None:
        able = [name for name in method_names() if get_method(name).training_cases is not None]
        raise UserError(f"'{method}' brings no training steps to be timed; expected one of {', '.join(able)}")
    if batch % 4:
        raise UserError(f"--batch: found {batch}, expected a multiple of 4, such as {-(-batch // 4) * 4}")
    rows, hidden = [], None if show_progress else True
    with threads_set(threads):
        for case in cases(device):
            with tqdm(total=repeats, desc=case.name, unit="round", leave=False, disable=hidden) as bar:
                rows.append(time_step(case, batch, repeats, device, bar.update))
    return rows


def time_step(
    case: TrainingCase,
    batch: int,
    repeats: int,
    device: torch.device = CPU,
    each: Callable[[], object] = lambda: None,
) -> TrainingRow:
    """Time the steps of one case on batches of `batch` pairs, a multiple of 4; `each` is called after a round."""
    published, own = (_Steps(case, device, published=kind) for kind in (True, False))
    published.step(batch // 4)  # first steps make what optimisers keep
    own.step(batch)
    with FlopCounterMode(display=False) as counter:
        own.step(batch)
    own_peak = peak_above(partial(own.step, batch), device)
    quarter, free = peak_above(partial(published.step, batch // 4), device), available(device)
    fits = quarter is None or free is None or 16 * quarter < SPARE * free
    sizes = [batch] if fits else [batch // 4, batch // 2]
    peaks = [peak_above(partial(published.step, size), device) for size in sizes]

    matrix = torch.randn(MATRIX, MATRIX, device=device)
    calls: dict[str, Callable[[], object]] = {str(size): partial(published.step, size) for size in sizes}
    calls |= {"own": partial(own.step, batch), "plain": lambda: matrix @ matrix}
    group = TimingGroup(case.name, batch, calls)
    seconds = time_group(group, warm_up=0, rounds=repeats, device=device, each=each)
    rounds = [_extrapolate(times) for times in zip(*(seconds[str(size)] for size in sizes), strict=True)]
    known = [peak for peak in peaks if peak is not None]
    return TrainingRow(
        name=case.name,
        batch=batch,
        published=median(rounds),
        own=median(seconds["own"]),
        times_published=ratio(rounds, seconds["own"])[0],
        published_peak=int(_extrapolate(known)) if len(known) == len(sizes) else None,
        own_peak=own_peak,
        floor=counter.get_total_flops() * median(seconds["plain"]) / (2 * MATRIX**3),
        extrapolated=not fits,
    )


def _extrapolate(values: Iterable[float]) -> float:
    """The value at B pairs: the one that there is, or c B + d B^2 through those at a quarter and at half of B."""
    first, *rest = values
    return first if not rest else 6 * rest[0] - 8 * first


class _Steps:
    """A model of its own with its optimiser, and how it takes a step."""

    def __init__(self, case: TrainingCase, device: torch.device, *, published: bool) -> None:
        torch.manual_seed(0)
        model = case.build()
        training = Training.model_validate(
            {
                "batch_size": 2,  # batches are handed in
                "optimizer": {"name": "adam", "lr": 1e-5, "clip_norm": 2.0},
                "schedule": "constant",
                "stages": [{"epochs": 1}],
            }
        )
        self.trainer = Trainer(
            model, training, type(case.loss), lambda _epoch: [case.batch(2)], device, False
        )
        self.loss, self.batch = case.loss, cache(case.batch)
        if published:
            self.trainer.optimizer = torch.optim.Adam(model.parameters(), lr=1e-5)
            if case.published is not None:
                # the model is this object's own, and is asked for no other loss
                model.objective = partial(case.published, model)  # type: ignore[method-assign]
        model.train()

    def step(self, batch: int) -> None:
        """One step on `batch` pairs."""
        self.trainer.step(self.batch(batch), Progress(0, 0, 0, self.loss))

"""Measuring speed that is to be reached: all of results/speed-targets.yaml, one thread, one after the other.

Each measurement is handed out as soon as it is there, so that the same command goes on after a stop.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import torch

from benchmark.devices import device_name
from benchmark.errors import UserError, nearest
from benchmark.places import SPEED, SPEED_TARGETS
from benchmark.records.environment import git_state
from benchmark.records.targets import Measured, Measurements, Target
from benchmark.registry import get_method
from benchmark.run.epochs import time_epoch
from benchmark.timing.clock import CPU
from benchmark.timing.scoring import threads_set, time_case
from benchmark.timing.sorting import times_sorted
from benchmark.timing.training import time_step

THREADS = 1
GIGABYTE = 1e9
NEGATIVES = {"hardest negatives": True, "all negatives": False}


class Named(Protocol):
    """A case of a method."""

    @property
    def name(self) -> str: ...


Case = TypeVar("Case", bound=Named)


def begin_measurements(kept: Measurements | None, targets: Sequence[Target], *, again: bool) -> Measurements:
    """Return what to go on with: what is kept, where it is of this code and machine or whole; else nothing.

    `again`: nothing is kept. Raises UserError where some are lacking and what is kept is of another code or machine.
    """
    here = Measurements(
        hardware=device_name(CPU), torch=torch.__version__, threads=THREADS, commit=git_state()[0]
    )
    if kept is None or again:
        return here
    fields = [
        f"{name} {found}, here {expected}"
        for name in ("hardware", "torch", "threads", "commit")
        if (found := getattr(kept, name)) != (expected := getattr(here, name))
    ]
    if fields and any(target.name not in kept.rows for target in targets):
        raise UserError(
            f"{SPEED.as_posix()}: measured with {'; '.join(fields)}; --again measures everything anew"
        )
    return kept


def measure_targets(targets: Iterable[Target], repeats: int) -> Iterator[dict[str, Measured]]:
    """Measure one target after the other; yields measurements by the targets' names.

    A step and its memory are measured at once; what was measured with another target comes but once.
    """
    known = set[str]()
    with threads_set(THREADS):
        for target in targets:
            found = {} if target.name in known else _measure(target, repeats)
            known |= found.keys()
            yield found


def _measure(target: Target, repeats: int) -> dict[str, Measured]:
    if target.kind in ("step", "memory"):
        return _measure_step(target, repeats)
    if target.kind == "scoring":
        brought = get_method(_method(target)).scoring_cases
        case = _find(target, brought(CPU) if brought else [])
        with torch.no_grad():
            scoring = time_case(case, repeats)
        return {target.name: Measured(reached=scoring.ratio, over_floor=scoring.over_floor)}
    if target.kind == "ranks":
        return {target.name: Measured(reached=times_sorted(*_sizes(target), repeats=repeats))}
    if target.case not in NEGATIVES:
        raise _unknown(target, NEGATIVES)
    row = time_epoch(Path(str(target.recipe)), hardest=NEGATIVES[target.case], repeats=repeats)
    return {target.name: Measured(reached=row.share)}


def _measure_step(target: Target, repeats: int) -> dict[str, Measured]:
    assert target.batch is not None
    brought = get_method(_method(target)).training_cases
    row = time_step(_find(target, brought(CPU) if brought else []), target.batch, repeats)
    peak = None if row.own_peak is None else row.own_peak / GIGABYTE
    names = {kind: target.model_copy(update={"kind": kind}).name for kind in ("step", "memory")}
    step = Measured(reached=row.times_published, over_floor=row.over_floor, extrapolated=row.extrapolated)
    return {names["step"]: step, names["memory"]: Measured(reached=peak)}


def _method(target: Target) -> str:
    assert target.method is not None
    return target.method


def _find(target: Target, cases: Iterable[Case]) -> Case:
    names = []
    for case in cases:  # one at a time, as they hold tensors
        if case.name == target.case:
            return case
        names.append(case.name)
    raise _unknown(target, names)


def _unknown(target: Target, names: Iterable[str]) -> UserError:
    return UserError(
        f"{SPEED_TARGETS.as_posix()}: '{target.kind}': found case '{target.case}'{nearest(target.case, names)}"
    )


def _sizes(target: Target) -> tuple[int, int]:
    """Images, and captions of each."""
    images, _, captions = target.case.partition(" x ")
    if not (images.isdigit() and captions.isdigit()) or not int(images) or int(captions) % int(images):
        raise UserError(
            f"{SPEED_TARGETS.as_posix()}: 'ranks': found case '{target.case}', expected images x captions, "
            "such as 1000 x 5000"
        )
    return int(images), int(captions) // int(images)

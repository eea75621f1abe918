"""Training curves from the sidecars' logs: the loss within each epoch, and the validation metric after it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from benchmark.guarded import parse_json
from benchmark.records.record import RunRecord
from benchmark.records.sidecar import Sidecar
from benchmark.reporting.evidence import Evidence
from benchmark.reporting.leaderboard.rows import Row
from benchmark.reporting.page.svg import Pair, Series, curves

BINS = 60
"""Points that a loss curve is made of."""


@dataclass(frozen=True)
class Epoch:
    """One epoch of a training."""

    number: int
    """The number of the epoch, from 1."""
    loss: float
    validation: float | None
    chosen: bool
    """True where its weights are the run's."""


@dataclass(frozen=True)
class Course:
    """A training: its epochs, and the losses along the way."""

    epochs: list[Epoch]
    losses: list[Pair]
    """Epochs gone by, from 0, and the mean loss around there."""
    metric: str


@dataclass(frozen=True)
class Panel:
    """The charts of some trainings; without validation there is one."""

    metric: str
    loss: Markup
    validation: Markup | None


def course(record: RunRecord, sidecar: Sidecar) -> Course | None:
    """The course of a run's training; None where nothing was trained."""
    log = [entry for entry in parse_json(sidecar.log) if "loss" in entry and "epoch" in entry]
    if not log or record.training is None:
        return None
    metric = record.training.selected_by
    metric = metric if any(metric in (entry.get("validation") or {}) for entry in log) else "rsum"
    epochs = [
        Epoch(
            number=int(entry["epoch"]) + 1,
            loss=float(entry["loss"]),
            validation=(entry.get("validation") or {}).get(metric),
            chosen=int(entry["epoch"]) == record.training.best_epoch,
        )
        for entry in log
    ]
    return Course(epochs, _losses(log), metric)


def _losses(log: Sequence[Mapping[str, Any]]) -> list[Pair]:
    """Means over equal parts of the whole training; of each epoch where single steps were not logged."""
    steps: list[Pair] = []
    for entry in log:
        losses = entry.get("losses") or [entry["loss"]]
        steps += [(entry["epoch"] + (n + 0.5) / len(losses), float(loss)) for n, loss in enumerate(losses)]
    steps = [step for step in steps if math.isfinite(step[1])]
    size = max(1, math.ceil(len(steps) / BINS))
    bins = [steps[at : at + size] for at in range(0, len(steps), size)]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in bins]


def panel(courses: Sequence[Course], name: str) -> Panel:
    """Charts of one or several trainings of the same recipe."""
    metric = courses[0].metric
    chosen = [epoch.number for item in courses for epoch in item.epochs if epoch.chosen]
    validation = [
        [(epoch.number, epoch.validation) for epoch in item.epochs if epoch.validation is not None]
        for item in courses
    ]
    lines = [Series(points, dotted=True) for points in validation if points]
    marked = chosen[0] if len(courses) == 1 and chosen else None
    return Panel(
        metric,
        curves([Series(item.losses) for item in courses], f"{name}: training loss by epoch", "epochs, loss"),
        curves(lines, f"{name}: validation {metric} by epoch", f"epochs, validation {metric}", marked)
        if lines
        else None,
    )


def all_courses(evidence: Evidence) -> dict[Path, Course]:
    """The course of every run that was trained, by `RunRecord.path`."""
    found = {record.path: course(record, evidence.sidecars[record.path]) for record in evidence.records}
    return {path: item for path, item in found.items() if item is not None}


def overview(evidence: Evidence, courses: Mapping[Path, Course]) -> list[tuple[Row, Panel]]:
    """Each row of the leaderboard that was trained, once, with its seeds' curves."""
    panels: dict[tuple[Path, ...], tuple[Row, Panel]] = {}
    for group in evidence.groups:
        for row in group.rows:
            trained = [courses[record.path] for record in row.records if record.path in courses]
            key = tuple(record.path for record in row.records)  # a run under several protocols
            if trained and key not in panels:
                panels[key] = (row, panel(trained, row.name))
    return sorted(panels.values(), key=lambda item: item[0].name)

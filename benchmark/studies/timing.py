"""Studies of latency: recipes/<method>/studies/<name>.yaml with `kind: latency`, and how one is run.

A method brings groups of contenders (`Method.timing_groups`), such as itself and its host on the same tensors. They
are timed in turns; each finished group is kept in the work folder, so that a study that was stopped goes on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from tqdm import tqdm

from benchmark import __version__
from benchmark.errors import UserError
from benchmark.files import sweep
from benchmark.method import TimingGroup
from benchmark.places import WORK
from benchmark.recipe.faults import validated
from benchmark.recipe.files import read_document
from benchmark.records.environment import Environment, collect
from benchmark.records.parts import Part
from benchmark.records.study import read_part, write_part
from benchmark.records.timed_study import TimedGroup, TimingResults
from benchmark.registry import get_method
from benchmark.strict import Strict
from benchmark.studies.definition import FOLDER
from benchmark.timing.contenders import time_group
from benchmark.timing.scoring import threads_set


class TimingStudy(Strict):
    """The file of a study of latency."""

    kind: Literal["latency"]
    summary: str
    reading: list[str] = []
    """Paragraphs for the page: the claim, and how far the numbers can answer it."""
    method: str
    """The method whose groups of contenders are timed."""
    warm_up: int = Field(default=3, ge=1)
    """Rounds before those that count."""
    rounds: int = Field(default=30, ge=3)
    threads: int = Field(default=1, ge=1)
    """The number of threads of the processor; one gives the steadiest times."""


class GroupFile(Part):
    """The file that a finished group leaves in the work folder."""

    digest: str
    """The sha256 of the definition and the environment."""
    group: TimedGroup


@dataclass(frozen=True)
class TimingPlan:
    """A study of latency that is ready to run on a device."""

    name: str
    study: TimingStudy
    device: torch.device
    work: Path = WORK

    @property
    def folder(self) -> Path:
        return self.work / FOLDER / self.name


def is_timing_study(path: Path) -> bool:
    """Return True if the file says that it is about latency."""
    return read_document(path).get("kind") == "latency"


def load_timing_study(path: Path) -> TimingStudy:
    """Read the definition; raises UserError for a field at fault, an unknown method, or one that times nothing."""
    study = validated(TimingStudy, read_document(path), path)
    if get_method(study.method).timing_groups is None:
        raise UserError(f"{path.as_posix()}: field 'method': {study.method} brings nothing to be timed")
    return study


def groups_of(plan: TimingPlan) -> list[tuple[str, int | None]]:
    """Task and size of every group, in their order."""
    return [(group.task, group.size) for group in _groups(plan)]


def run_timing_study(plan: TimingPlan, *, show_progress: bool) -> TimingResults:
    """Time the groups that are missing; all of them together are the results."""
    study = plan.study
    found = []
    with threads_set(study.threads):
        environment = collect(plan.device, "float32")
        digest = _digest(study, environment)
        for number, group in enumerate(_groups(plan)):
            file = plan.folder / f"{number}.json"
            sweep(plan.folder, file.name)
            timed = _finished(file, digest, group)
            if timed is None:
                timed = _run_group(plan, group, show_progress=show_progress)
                write_part(GroupFile(digest=digest, group=timed), file)
            found.append(timed)
    return TimingResults(
        kind="latency",
        study=plan.name,
        summary=study.summary,
        reading=study.reading,
        version=__version__,
        warm_up=study.warm_up,
        environment=environment,
        groups=found,
    )


def _groups(plan: TimingPlan) -> Iterable[TimingGroup]:
    groups = get_method(plan.study.method).timing_groups
    assert groups is not None, "checked when the definition was read"
    return groups(plan.device)


def _digest(study: TimingStudy, environment: Environment) -> str:
    """Groups of another definition, machine or version of anything are timed again."""
    where = environment.model_dump(mode="json", exclude={"git_commit", "git_dirty"})
    text = json.dumps([study.model_dump(mode="json"), where, __version__], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _finished(file: Path, digest: str, group: TimingGroup) -> TimedGroup | None:
    if not file.is_file():
        return None
    kept = read_part(file, GroupFile)
    same = (kept.digest, kept.group.task, kept.group.size, list(kept.group.seconds))
    return kept.group if same == (digest, group.task, group.size, list(group.calls)) else None


def _run_group(plan: TimingPlan, group: TimingGroup, *, show_progress: bool) -> TimedGroup:
    study = plan.study
    label = group.task if group.size is None else f"{group.task}, {group.size}"
    with tqdm(
        total=study.warm_up + study.rounds, desc=label, unit="round", disable=None if show_progress else True
    ) as bar:
        seconds = time_group(
            group,
            warm_up=study.warm_up,
            rounds=study.rounds,
            device=plan.device,
            each=bar.update,
        )
    rounded = {name: [float(f"{value:.6g}") for value in times] for name, times in seconds.items()}
    return TimedGroup(task=group.task, size=group.size, seconds=rounded)

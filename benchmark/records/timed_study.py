"""Results of a study of latency: results/studies/<name>.json, every time that was taken, and on what machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from benchmark.guarded import read_json
from benchmark.records.environment import Environment
from benchmark.records.parts import Count, Part

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class TimedGroup(Part):
    """One task at one size: the seconds of every round by contender; the first one is the reference."""

    task: str
    size: Count | None
    seconds: dict[str, list[Seconds]] = Field(min_length=1)

    @model_validator(mode="after")
    def _as_many_rounds(self) -> Self:
        counts = {len(times) for times in self.seconds.values()}
        if len(counts) > 1 or 0 in counts:
            raise ValueError(
                f"task '{self.task}': contenders have {sorted(counts)} rounds, expected as many each"
            )
        return self

    @property
    def reference(self) -> str:
        return next(iter(self.seconds))

    @property
    def rounds(self) -> int:
        return len(self.seconds[self.reference])


class TimingResults(Part):
    """All groups of a study of latency."""

    schema_version: Literal[1] = 1
    kind: Literal["latency"]
    study: str
    summary: str
    reading: list[str]
    """The definition's advice on reading the numbers."""
    version: str
    """The version of Rematch."""
    warm_up: Count
    environment: Environment
    groups: list[TimedGroup] = Field(min_length=1)

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        keys = [(group.task, group.size) for group in self.groups]
        if len(set(keys)) < len(keys):
            raise ValueError("a task has a size twice")
        for task, groups in self.by_task().items():
            if any(list(group.seconds) != list(groups[0].seconds) for group in groups):
                raise ValueError(f"task '{task}': not all sizes have the same contenders")
        return self

    def by_task(self) -> Mapping[str, list[TimedGroup]]:
        """The groups of each task, tasks in their order, sizes rising."""
        tasks: dict[str, list[TimedGroup]] = {}
        for group in self.groups:
            tasks.setdefault(group.task, []).append(group)
        return {task: sorted(groups, key=lambda group: group.size or 0) for task, groups in tasks.items()}


def is_timing(path: Path) -> bool:
    """Return True if a file of results says that it is about latency; reading it finds any other fault."""
    try:
        document = read_json(path)
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and document.get("kind") == "latency"

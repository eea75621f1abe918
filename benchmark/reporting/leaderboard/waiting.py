"""Rows of the papers that no run of ours answers to yet, with the command that would make one, and what that takes.

Recipes are read as their files say, without importing a method; what is at fault in one is said where it is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmark.evaluation.protocol import find_protocol
from benchmark.places import PAPER, RECIPES, listing
from benchmark.recipe.files import read_document, run_name
from benchmark.records.estimate import Estimate
from benchmark.records.paper import REPORTED, Paper, ReportedRow, load_papers, reported_protocols
from benchmark.records.record import recipe_digest
from benchmark.reporting.leaderboard.rows import Row, row_title
from benchmark.reporting.sheet import show_bytes, show_duration

BENCHMARKS: tuple[str, ...] = REPORTED
"""The protocols that the papers here report."""


@dataclass(frozen=True)
class Needs:
    """Estimated time and memory of the trainings behind a row; an ensemble's members are trained one by one."""

    seconds: float
    memory_bytes: int
    hardware: tuple[str, ...]

    def __str__(self) -> str:
        return f"{show_duration(self.seconds)}, {show_bytes(self.memory_bytes)}"


@dataclass(frozen=True)
class Waiting:
    """A row of a paper without a run of ours."""

    title: str
    method: str
    variant: str
    protocol: str
    paper: ReportedRow | None
    """None: the variant is known to exist, its values are not."""
    recipe: str | None
    """The recipe that answers to it; None: there is none."""
    needs: Needs | None = None
    """None: nothing was estimated for this version of the recipe."""

    @property
    def run(self) -> str | None:
        """The name that a run of the recipe would have."""
        return None if self.recipe is None else run_name(Path(self.recipe), _dataset(self.recipe))

    @property
    def command(self) -> str | None:
        """The command that runs it; None where no recipe does."""
        if self.recipe is None:
            return None
        return f"nox -s reproduce-{self.method.replace('_', '-')} -- {_dataset(self.recipe)}"

    @property
    def remedy(self) -> str:
        """How to make a number of ours, and that the paper's is unknown where it is."""
        unknown = "paper value unknown; " if self.paper is None else ""
        return f"{unknown}{self.command or 'no recipe of it here'}"

    @property
    def status(self) -> str:
        """Why there is no number of ours, and how to make one."""
        if self.command is None:
            return self.remedy
        return self.remedy.replace(self.command, f"not run yet: {self.command}")


def _dataset(recipe: str) -> str:
    return Path(recipe).stem.split("-")[0]


class Shelf:
    """The recipes of a folder with their estimates; no file is read twice."""

    def __init__(self, folder: Path = RECIPES, estimates: Mapping[str, Estimate] | None = None) -> None:
        """Take estimates by their recipes' paths, for whichever version of these."""
        self._paths = listing(folder, "*/*.yaml")
        self._estimates = estimates or {}
        self._read = cache(read_document)

    def answers(self, method: str, protocol: str) -> dict[str, Path]:
        """Variant -> the recipe of a method that answers to it under a protocol, the most faithful one."""
        known = find_protocol(protocol)
        dataset = None if known is None else known.dataset
        paths = [
            path for path in self._paths if path.parent.name == method and _dataset(path.name) == dataset
        ]
        paths.sort(key=lambda path: len(self._read(path)["departures"]))
        answering = [path for path in paths if self._read(path).get("paper_row") is not None]
        return {self._read(path)["paper_row"]["variant"]: path for path in reversed(answering)}

    def needs(self, path: Path) -> Needs | None:
        """Return what the trainings behind a recipe take; None where one has no estimate of its present version."""
        found = []
        for name in self._read(path).get("ensemble", [path.stem]):
            member = path.with_name(f"{name}.yaml")
            estimate = self._estimates.get(place(member))
            if estimate is None or estimate.recipe_digest != recipe_digest(self._read(member)):
                return None
            found.append(estimate)
        return Needs(
            seconds=sum(estimate.seconds for estimate in found),
            memory_bytes=max(estimate.memory_bytes for estimate in found),
            hardware=tuple(dict.fromkeys(estimate.hardware for estimate in found)),
        )


def place(recipe: Path) -> str:
    """The path of a recipe in a checkout."""
    return (RECIPES / recipe.parent.name / recipe.name).as_posix()


def waiting_rows(
    protocol: str, rows: Sequence[Row], paper_dir: Path = PAPER, shelf: Shelf | None = None
) -> list[Waiting]:
    """The rows that papers have under a protocol and `rows` do not, best rsum of the papers first.

    Variants whose values are unknown are among them where a recipe runs them. Raises UserError for a paper's file at
    fault, and for a recipe that cannot be read.
    """
    if protocol not in reported_protocols(paper_dir):
        return []
    shelf = shelf or Shelf()
    answered = {(row.method, row.variant) for row in rows}
    found = []
    for paper in load_papers(paper_dir):
        recipes = shelf.answers(paper.method, protocol)
        for variant in _variants(paper, protocol, recipes):
            if (paper.method, variant) not in answered:
                found.append(_waiting(paper, variant, protocol, recipes.get(variant), shelf, paper_dir))
    return sorted(found, key=lambda row: (-_rank(row.paper), row.method, row.title))


def _variants(paper: Paper, protocol: str, recipes: Mapping[str, Path]) -> list[str]:
    """The paper's variants under a protocol: with values, or expected and run by a recipe."""
    reported = [row.variant for row in paper.rows if row.dataset == protocol]
    run = [variant for variant in paper.expected_variants if variant in recipes]
    return list(dict.fromkeys([*reported, *run]))


def _waiting(
    paper: Paper, variant: str, protocol: str, path: Path | None, shelf: Shelf, paper_dir: Path
) -> Waiting:
    reported = [row for row in paper.rows if (row.variant, row.dataset) == (variant, protocol)]
    value = reported[0] if reported else None
    if path is None:
        return Waiting(paper.names.get(variant, variant), paper.method, variant, protocol, value, recipe=None)
    recipe = place(path)
    title = row_title(paper.method, recipe, variant, paper_dir)
    return Waiting(title, paper.method, variant, protocol, value, recipe, shelf.needs(path))


def _rank(paper: ReportedRow | None) -> float:
    """The paper's rsum, or three times both R@1; unknown values come last."""
    if paper is None:
        return -1.0
    return paper.rsum if paper.rsum is not None else 6 * (paper.value("mean_r1") or 0.0)

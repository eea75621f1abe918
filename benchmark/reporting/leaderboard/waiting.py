"""Rows of the papers that no run of ours answers to yet, with the command that would make one.

Recipes are read as their files say, without importing a method; what is at fault in one is said where it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from benchmark.evaluation.protocol import PROTOCOLS
from benchmark.places import PAPER, RECIPES, listing
from benchmark.recipe.files import read_document
from benchmark.records.paper import Paper, ReportedProtocol, ReportedRow, load_papers
from benchmark.reporting.leaderboard.rows import Row, row_title

BENCHMARKS: tuple[str, ...] = get_args(ReportedProtocol)
"""The protocols that papers report."""


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

    @property
    def command(self) -> str | None:
        """The command that runs it; None where no recipe does."""
        if self.recipe is None:
            return None
        dataset = Path(self.recipe).stem.split("-")[0]
        return f"nox -s reproduce-{self.method.replace('_', '-')} -- {dataset}"

    @property
    def status(self) -> str:
        """Why there is no number of ours, and how to make one."""
        unknown = "paper value unknown; " if self.paper is None else ""
        if self.command is None:
            return f"{unknown}no recipe of it here"
        return f"{unknown}not run yet: {self.command}"


@dataclass(frozen=True)
class _Answer:
    """A recipe that answers to a row of a paper."""

    path: str
    variant: str
    departures: int


def waiting_rows(
    protocol: str, rows: Sequence[Row], paper_dir: Path = PAPER, recipes: Path = RECIPES
) -> list[Waiting]:
    """The rows that papers have under a protocol and `rows` do not, best rsum of the papers first.

    Variants whose values are unknown are among them where a recipe runs them. Raises UserError for a paper's file at
    fault, and for a recipe that cannot be read.
    """
    if protocol not in BENCHMARKS:
        return []
    answered = {(row.method, row.variant) for row in rows}
    found = []
    for paper in load_papers(paper_dir):
        answers = _answers(recipes, paper.method, protocol)
        for variant in _variants(paper, protocol, answers):
            if (paper.method, variant) not in answered:
                found.append(_waiting(paper, variant, protocol, answers, paper_dir))
    return sorted(found, key=lambda row: (-_rank(row.paper), row.method, row.title))


def _variants(paper: Paper, protocol: str, answers: Sequence[_Answer]) -> list[str]:
    """The paper's variants under a protocol: with values, or expected and run by a recipe."""
    reported = [row.variant for row in paper.rows if row.dataset == protocol]
    run = [answer.variant for answer in answers if answer.variant in paper.expected_variants]
    return list(dict.fromkeys([*reported, *run]))


def _waiting(
    paper: Paper, variant: str, protocol: str, answers: Sequence[_Answer], paper_dir: Path
) -> Waiting:
    mine = sorted((found for found in answers if found.variant == variant), key=lambda item: item.departures)
    recipe = mine[0].path if mine else None
    reported = [row for row in paper.rows if (row.variant, row.dataset) == (variant, protocol)]
    title = paper.names.get(variant, variant)
    if recipe is not None:
        title = row_title(paper.method, recipe, variant, paper_dir)
    return Waiting(title, paper.method, variant, protocol, reported[0] if reported else None, recipe)


def _rank(paper: ReportedRow | None) -> float:
    """The paper's rsum, or three times both R@1; unknown values come last."""
    if paper is None:
        return -1.0
    return paper.rsum if paper.rsum is not None else 6 * (paper.value("mean_r1") or 0.0)


def _answers(folder: Path, method: str, protocol: str) -> list[_Answer]:
    """The recipes of a method whose dataset has the protocol."""
    if protocol not in PROTOCOLS:
        return []
    dataset = PROTOCOLS[protocol].dataset
    paths = [path for path in listing(folder / method, "*.yaml") if path.stem.split("-")[0] == dataset]
    return [_Answer((RECIPES / method / path.name).as_posix(), *_head(path)) for path in paths]


def _head(path: Path) -> tuple[str, int]:
    """The variant that a recipe answers to, and the number of its departures."""
    document = read_document(path)
    return document["paper_row"]["variant"], len(document["departures"])

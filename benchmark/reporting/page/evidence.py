"""The evidence of the page: everything under results/ that people made or runs wrote, read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmark.errors import UserError
from benchmark.places import PAPER, RECIPES, REFERENCE, RUNS, STUDIES
from benchmark.records.paper import Paper, load_papers
from benchmark.records.record import RunRecord, read_all
from benchmark.records.reference import Reference, read_reference
from benchmark.records.sidecar import Sidecar, read_sidecar
from benchmark.records.study import StudyResults, read_part, read_results
from benchmark.records.timed_study import TimingResults, is_timing
from benchmark.reporting.leaderboard.comparisons import tied_with_best
from benchmark.reporting.leaderboard.content import board_protocols, of_protocol
from benchmark.reporting.leaderboard.rows import Group, Row, leaderboard
from benchmark.reporting.leaderboard.waiting import Waiting, waiting_rows


@dataclass(frozen=True)
class PageEvidence:
    """All that the page says is in here, or follows from it."""

    records: list[RunRecord]
    sidecars: Mapping[Path, Sidecar]
    """The sidecars by `RunRecord.path`."""
    groups: list[Group]
    tied: list[frozenset[str]]
    """The rows of each group that the paired test over images does not tell apart from the best."""
    waiting: Mapping[str, list[Waiting]]
    """The rows of the papers that wait for a run, by protocol."""
    papers: Mapping[str, Paper]
    references: Mapping[tuple[str, str], Reference]
    """The references by dataset and run."""
    studies: list[StudyResults]
    timings: list[TimingResults]

    @cached_property
    def addresses(self) -> dict[Path, str]:
        """The address of each run's page, by `RunRecord.path`."""
        return {record.path: f"run/{record.path.with_suffix('').as_posix()}" for record in self.records}


def read_evidence(root: Path) -> PageEvidence:
    """Read everything below `root`, the top of a checkout.

    Raises UserError where there is no run record, or a file is at fault: a report must not leave one out silently.
    """
    records = read_all(root / RUNS)
    if not records:
        raise UserError(f"{(root / RUNS).as_posix()}: no run records; make some with `rematch reproduce hat`")
    groups = leaderboard(records, root / PAPER)
    studies = sorted((root / STUDIES).glob("*.json"))
    return PageEvidence(
        records=records,
        sidecars={record.path: read_sidecar(record, root / RUNS) for record in records},
        groups=groups,
        tied=[tied_with_best(group, runs_dir=root / RUNS) for group in groups],
        waiting={
            protocol: waiting_rows(protocol, rows_of(groups, protocol), root / PAPER, root / RECIPES)
            for protocol in board_protocols(groups, root / PAPER, root / RECIPES)
        },
        papers={paper.method: paper for paper in load_papers(root / PAPER)},
        references={
            (path.parent.name, path.stem): read_reference(path)
            for path in sorted((root / REFERENCE).glob("*/*.json"))
        },
        studies=[read_results(path) for path in studies if not is_timing(path)],
        timings=[read_part(path, TimingResults) for path in studies if is_timing(path)],
    )


def rows_of(groups: list[Group], protocol: str) -> list[Row]:
    """The rows of all groups of a protocol."""
    return [row for group in of_protocol(groups, protocol) for row in group.rows]

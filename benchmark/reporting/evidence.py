"""The evidence: everything under results/ that people made or runs wrote, read, checked and judged once.

Tables, claims and the report page are all made of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmark.errors import UserError
from benchmark.places import CLAIMS, PAPER, REFERENCE, RUNS, STUDIES, locate
from benchmark.records.paper import Paper, load_papers
from benchmark.records.record import RunRecord, read_all
from benchmark.records.reference import Reference, read_reference
from benchmark.records.sidecar import Sidecar, read_sidecar
from benchmark.records.study import StudyResults, read_part, read_results
from benchmark.records.timed_study import TimingResults, is_timing
from benchmark.reporting.claims.judge import JudgedClaim, judge_claims
from benchmark.reporting.leaderboard.boards import Board, boards_below
from benchmark.reporting.leaderboard.rows import Group


@dataclass(frozen=True)
class Evidence:
    """All that tables and page say is in here, or follows from it."""

    records: list[RunRecord]
    sidecars: Mapping[Path, Sidecar]
    """The sidecars by `RunRecord.path`."""
    boards: list[Board]
    papers: Mapping[str, Paper]
    references: Mapping[tuple[str, str], Reference]
    """The references by dataset and run."""
    studies: list[StudyResults]
    timings: list[TimingResults]
    claims: list[JudgedClaim]
    """[] where there is no ledger."""

    @property
    def groups(self) -> list[Group]:
        """The groups of all boards."""
        return [group for board in self.boards for group in board.groups]

    @cached_property
    def addresses(self) -> dict[Path, str]:
        """The address of each run's section of the page, by `RunRecord.path`."""
        return {record.path: f"run/{record.path.with_suffix('').as_posix()}" for record in self.records}


def read_evidence(root: Path = Path()) -> Evidence:
    """Read everything below `root`, the top of a checkout.

    Raises UserError where there is no run record, or a file is at fault: nothing must be left out silently.
    """
    records = read_all(root / RUNS)
    if not records:
        own = "scores of your own go there with `rematch score MATRIX --dataset scenes --record NAME`"
        raise UserError(
            f"{(root / RUNS).as_posix()}: no run records; make some with `rematch reproduce hat`; {own}"
        )
    boards = [board.tested(root / RUNS) for board in boards_below(root, records)]
    studies = sorted((root / STUDIES).glob("*.json"))
    return Evidence(
        records=records,
        sidecars={record.path: read_sidecar(record, root / RUNS) for record in records},
        boards=boards,
        papers={paper.method: paper for paper in load_papers(root / PAPER)},
        references={
            (path.parent.name, path.stem): read_reference(path)
            for path in sorted((root / REFERENCE).glob("*/*.json"))
        },
        studies=[read_results(path) for path in studies if not is_timing(path)],
        timings=[read_part(path, TimingResults) for path in studies if is_timing(path)],
        claims=judge_claims(root, [row for board in boards for row in board.rows])
        if locate(root / CLAIMS).is_file()
        else [],
    )

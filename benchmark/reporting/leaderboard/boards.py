"""The boards of the leaderboard, one a benchmark: its runs, the papers' rows that wait, and what tests say of the best.

They are worked out once; the tables, the report page and `rematch table` are all made of them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmark.errors import UserError, nearest
from benchmark.places import ESTIMATES, PAPER, RECIPES, RUNS
from benchmark.records.estimate import read_estimates
from benchmark.records.paper import reported_protocols
from benchmark.records.record import RunRecord
from benchmark.reporting.leaderboard.comparisons import tied_with_best
from benchmark.reporting.leaderboard.rows import Group, Row, leaderboard
from benchmark.reporting.leaderboard.waiting import Shelf, Waiting, waiting_rows

NAMES = {
    "flickr30k": "Flickr30K",
    "mscoco-1k": "MSCOCO 1K",
    "mscoco-5k": "MSCOCO 5K",
    "cuhk-pedes": "CUHK-PEDES",
}
"""The protocols that papers report, as they write them."""


@dataclass(frozen=True)
class Board:
    """A benchmark: one protocol, with a table for each test split."""

    protocol: str
    groups: tuple[Group, ...]
    waiting: tuple[Waiting, ...]
    papers: Path = PAPER
    """The folder of the papers' numbers."""
    tied: tuple[frozenset[str] | None, ...] = ()
    """For each group the rows that tests do not tell apart from its best (tied_with_best); None: untested."""

    @property
    def title(self) -> str:
        """The benchmark's name as papers write it."""
        return NAMES.get(self.protocol, self.protocol)

    @property
    def reported(self) -> bool:
        """True where papers report the protocol; False for embedded and own data."""
        return self.protocol in reported_protocols(self.papers)

    @property
    def own(self) -> bool:
        """True where the runs are on an own dataset."""
        return any(group.chance is not None for group in self.groups)

    @property
    def rows(self) -> list[Row]:
        """The rows of all groups."""
        return [row for group in self.groups for row in group.rows]

    def tested(self, runs_dir: Path = RUNS) -> Board:
        """The same, tested from the sidecars; raises UserError where one is missing or changed."""
        return replace(self, tied=tuple(tied_with_best(group, "rsum", runs_dir) for group in self.groups))

    def only(self, names: Collection[str]) -> Board:
        """The rows of the methods and runs named; raises UserError for a name that no row has."""
        known = {name for row in self.rows for name in _names(row)}
        known |= {name for row in self.waiting for name in _names(row)}
        for name in names:
            if name not in known:
                raise UserError(f"table '{self.protocol}': no row of '{name}'{nearest(name, known)}")
        kept = [
            replace(group, rows=tuple(r for r in group.rows if _names(r) & {*names})) for group in self.groups
        ]
        places = [place for place, group in enumerate(kept) if group.rows]
        return replace(
            self,
            groups=tuple(kept[place] for place in places),
            tied=tuple(self.tied[place] for place in places),
            waiting=tuple(row for row in self.waiting if _names(row) & {*names}),
        )


def _names(row: Row | Waiting) -> set[str]:
    """The names that a row goes by: its method's, and that of its run or of the run that it waits for."""
    run = row.name if isinstance(row, Row) else row.run
    return {row.method, *([run] if run else [])}


def make_boards(
    records: Sequence[RunRecord], paper_dir: Path = PAPER, shelf: Shelf | None = None
) -> list[Board]:
    """All boards: those of the papers' benchmarks first, the rest after them; nothing is tested yet.

    Raises UserError where a paper's file or a recipe is at fault, or a record's `paper_row` names no variant.
    """
    shelf, groups = shelf or Shelf(), leaderboard(records, paper_dir)
    ours = {group.protocol for group in groups}
    boards = []
    benchmarks = reported_protocols(paper_dir)
    for protocol in (*benchmarks, *sorted(ours - {*benchmarks})):
        mine = tuple(group for group in groups if group.protocol == protocol)
        rows = [row for group in mine for row in group.rows]
        waits = tuple(waiting_rows(protocol, rows, paper_dir, shelf))
        if mine or waits:
            boards.append(Board(protocol, mine, waits, paper_dir, (None,) * len(mine)))
    return boards


def boards_below(root: Path, records: Sequence[RunRecord]) -> list[Board]:
    """The boards of records, beside the papers' numbers, the recipes and the estimates below a folder."""
    return make_boards(records, root / PAPER, Shelf(root / RECIPES, read_estimates(root / ESTIMATES)))

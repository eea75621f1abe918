"""Records that the tests of the tables share: three seeds, a rival, runs that depart, an ensemble, odd characters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmark.records.record import RunRecord
from benchmark.reporting.leaderboard.boards import Board, make_boards
from benchmark.reporting.leaderboard.content import make_page
from benchmark.reporting.leaderboard.waiting import Shelf
from benchmark.reporting.sheet import Cell, Column, Page, Section, Sheet, SheetRow
from tests.reporting import factory
from tests.reporting.leaderboard.test_rows import PAPERS, sgr

ODD = "\\ { } & % $ # _ ~ ^ < > | ` \" ' -- ± × ≈ ≤ ≥ ∞ − → µ ° … – —"
"""What LaTeX, Markdown or HTML would take for something else."""
SHARED = "half of the data"
RECORDS = [
    *(sgr(seed, shift=seed / 10) for seed in range(3)),
    sgr(run="saf_a&b", variant="SAF (repository)", shift=0.1, recalls=(75.0, 94.7, 96.6, 56.1, 81.9, 88.0)),
    sgr(run="short", departures=["10 of 30 epochs", SHARED], recalls=(70.0, 90.0, 95.0, 50.0, 80.0, 85.0)),
    sgr(run="odd", departures=[SHARED, ODD], recalls=(71.0, 90.0, 95.0, 50.0, 80.0, 85.0)),
    factory.record(departures=["embedded data"], latency=factory.latency(2.5)),
]


def ensemble(*members: RunRecord, departures: Sequence[str] = (), run: str = "both") -> RunRecord:
    """The mean of runs of SGR; their departures become its own, with their names."""
    return sgr(
        run=run,
        variant="SGRAF (repository)",
        weights="members",
        training=None,
        departures=list(departures),
        members=[factory.member(member) for member in members],
    )


def page(
    records: Sequence[RunRecord], protocol: str = "flickr30k", tied: frozenset[str] | None = None
) -> Page:
    """The page of a board."""
    return make_page(board(records, protocol, tied))


def board(
    records: Sequence[RunRecord], protocol: str = "flickr30k", tied: frozenset[str] | None = None
) -> Board:
    """The board of a protocol; no recipe answers to a row of a paper."""
    boards = {found.protocol: found for found in make_boards(records, PAPERS, Shelf(Path("no recipes")))}
    return replace(boards[protocol], tied=(tied,) * len(boards[protocol].groups))


def row_of(found: Page, run: str) -> SheetRow:
    """The row of a run, whichever sheet it stands on."""
    return next(
        row for sheet in found.sheets for row in sheet.rows if cells_of(found, row)["run"].text == run
    )


def cells_of(found: Page, row: SheetRow) -> dict[str, Cell]:
    """The cells of a row by their columns' keys."""
    sheet = next(sheet for sheet in found.sheets if any(row is other for other in sheet.rows))
    return dict(zip(keys_of(sheet), row.cells, strict=True))


def keys_of(sheet: Sheet) -> list[str]:
    return [column.key for column in sheet.columns]


def table_rows(text: str) -> list[list[str]]:
    """Cells of all Markdown table lines."""
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


# one of everything that a sheet can hold, small enough to write down whole in every format

OVER = "image to text"
COLUMNS = (
    Column("run", "run", "text"),
    Column("full", "name", "text", second_name=True),
    Column("r1", "i2t R@1", over=OVER, under="R@1"),
    Column("r5", "i2t R@5", over=OVER, under="R@5"),
    Column("ms", "time", unit="ms", spread=True),
    Column("raw", "raw", hidden=True),
)
BEST, SECOND = Cell("1.5", 1.5, "best", tied=True), Cell("9", 9, "second", tail=" of 9", spread="0.3")
ROWS = (
    SheetRow(
        (Cell("a_1", "a_1", link="x.md"), Cell("A & B"), BEST, SECOND, Cell("2", 2, spread="0.1"), Cell("7")),
        marks=("a", "b"),
    ),
    SheetRow((Cell("a_1"), Cell("C"), Cell("0.5"), Cell("8"), Cell("3"), Cell("7")), group="x"),
    SheetRow((Cell(), Cell("paper"), Cell("0.4"), Cell("7"), Cell(), Cell()), kind="reference", group="x"),
    SheetRow((Cell("z"), Cell(), Cell("0.1"), Cell("1"), Cell("5"), Cell("7")), kind="alarm", group="y"),
)
SMALL = Sheet("one <b>", COLUMNS, ROWS, ("A note_.",), "two images", {"a": "first", "b": "second"}, "k:1|m:2")
FOOTNOTES = {"a": "why", "b": "of <members>."}
SMALL_PAGE = Page("scenes", (Section("Part", (SMALL,), "A lead."),), "Read it.", "README.md", FOOTNOTES)

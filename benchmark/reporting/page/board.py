"""The page's leaderboard, paper against ours, seed strips, and accuracy against latency: from the leaderboard's rows.

What a row says, verdict included, is the leaderboard's; here it is only put into words and drawn.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from benchmark.evaluation.protocol import PROTOCOLS
from benchmark.records.parts import Latency
from benchmark.registry import method_names, method_title
from benchmark.reporting.evidence import Evidence
from benchmark.reporting.leaderboard.boards import Board
from benchmark.reporting.leaderboard.cells import (
    ALONE,
    COLUMNS,
    NUMBERS,
    column_names,
    group_cells,
    milliseconds,
    waiting_cells,
)
from benchmark.reporting.leaderboard.rows import Group, Row
from benchmark.reporting.leaderboard.waiting import Waiting
from benchmark.reporting.leaderboard.words import needs_remark
from benchmark.reporting.page.svg import Marks, Point, scatter, strips
from benchmark.reporting.sheet import NONE, Cell, Column, Sheet, make_sheet

SHOWN = (
    *("n", *NUMBERS, "interval", "paper", "difference", "query_ms", "reads", "models", "precision"),
    *("departures", "needs"),
)
"""The columns of a board, as far as a row has a value there; method and verdict stand before them."""
SPEEDS = (
    Column("run", "run", "text"),
    Column("query_ms", "query", unit="ms"),
    Column("rsum", "rsum", spec=".1f"),
    *(Column(name, name) for name in ("95 % interval", "parameters")),
)
FORMATS = {"md": "Markdown", "csv": "CSV", "tex": "LaTeX", "json": "JSON"}
"""The formats in which a table lies beside the page."""
UNKNOWN = "unknown"
"""The grid's word for a row whose value in the paper could not be read."""
SMOKE = "smoke test"
"""The grid's word for a run on embedded data, which is never held against a paper."""


def fixed(value: float | None, digits: int = 1, sign: bool = False) -> str:
    """A number as text; n/a where there is none."""
    return NONE if value is None else f"{value:{'+' if sign else ''}.{digits}f}"


def between(bounds: tuple[float, float] | None, digits: int = 1, sign: bool = False) -> str:
    """An interval as text."""
    return NONE if bounds is None else " to ".join(fixed(bound, digits, sign) for bound in bounds)


def remark(row: Row) -> str:
    """Return the remarks of the judgement besides its verdict."""
    found = row.judgement
    said = []
    if found.kind == "cannot tell" and found.seeds_needed is not None:
        said.append(f"{found.seeds_needed} seeds would tell, at this spread")
    if found.kind == "cannot tell" and found.seeds_needed is None:
        said.append("no number of seeds would tell, at this spread")
    if found.within_test_noise:
        said.append("no more than other test images could change")
    return "; ".join(said)


@dataclass(frozen=True)
class BoardRow:
    """A row of the leaderboard: a run with where its pages are, or a row of a paper that waits for one."""

    title: str
    name: str
    """The run's name; empty: it waits for one."""
    method: str
    status: str
    remark: str
    kind: Literal["single", "ensemble"]
    comparable: Literal["yes", "no"]
    protocol: str
    cells: Mapping[str, Cell]
    """By the keys of the leaderboard's columns."""
    seeds: Sequence[tuple[int, str]]
    """Each seed and the address of its page."""
    links: Sequence[tuple[str, str]]
    """Names and targets: recipe, record, paper, code."""

    @property
    def words(self) -> str:
        """The text that the filter searches."""
        return f"{self.name} {self.title} {self.method} {self.protocol} {self.status} {self.remark}".lower()


@dataclass(frozen=True)
class BoardTable:
    """A table of the leaderboard: one protocol and test split."""

    protocol: str
    size: str
    signature: str
    columns: list[Column]
    lines: list[BoardRow]
    notes: list[str]
    files: list[tuple[str, str]]
    """Name and target of each format in which the table lies beside the page."""


def board_tables(evidence: Evidence) -> list[BoardTable]:
    """All tables of the leaderboard: those of the papers' benchmarks first, the embedded data last."""
    found = []
    for board in evidence.boards:
        waits = [_waiting_line(row, evidence) for row in board.waiting]
        for number, (group, tied) in enumerate(zip(board.groups, board.tied, strict=True)):
            cells = zip(group.rows, group_cells(group, tied), strict=True)
            lines = [*(_line(row, found, evidence) for row, found in cells), *(waits if number == 0 else [])]
            dull = {"models", "precision"}.difference(column_names(group))
            found.append(_table(board, group.size, group.signature, lines, dull))
        if not board.groups:
            found.append(_table(board, "no run of ours yet", "", waits))
    return found


def _table(
    board: Board, size: str, signature: str, lines: list[BoardRow], dull: Collection[str] = ()
) -> BoardTable:
    filled = [
        key
        for key in SHOWN
        if key not in dull and any(key in line.cells and line.cells[key].value is not None for line in lines)
    ]
    return BoardTable(
        protocol=board.protocol,
        size=size,
        signature=signature,
        columns=[(COLUMNS if board.groups else ALONE)[key] for key in filled],
        lines=lines,
        notes=needs_remark(board.waiting) if "needs" in filled else [],
        files=[(name, f"tables/{board.protocol}.{kind}") for kind, name in FORMATS.items()],
    )


def _line(row: Row, cells: Mapping[str, Cell], evidence: Evidence) -> BoardRow:
    record = row.records[0]
    return BoardRow(
        title=row.title,
        name=row.name,
        method=row.method,
        status=row.judgement.kind,
        remark=remark(row),
        kind="ensemble" if row.models > 1 else "single",
        comparable="yes" if row.comparable else "no",
        protocol=row.protocol,
        cells=cells,
        seeds=[(found.seed, evidence.addresses[found.path]) for found in row.records],
        links=[
            ("recipe", f"../{record.recipe_path}"),
            ("record", f"runs/{record.path.as_posix()}"),
            *_paper_links(record.paper_method, evidence),
        ],
    )


def _waiting_line(row: Waiting, evidence: Evidence) -> BoardRow:
    """A row of a paper; its numbers stand where ours will."""
    return BoardRow(
        title=row.title,
        name="",
        method=row.method,
        status="not run",
        remark=row.remedy,
        kind="ensemble" if row.paper is not None and row.paper.ensemble else "single",
        comparable="no",
        protocol=row.protocol,
        cells=waiting_cells(row),
        seeds=(),
        links=[
            *([] if row.recipe is None else [("recipe", f"../{row.recipe}")]),
            *_paper_links(row.method, evidence),
        ],
    )


def _paper_links(method: str, evidence: Evidence) -> list[tuple[str, str]]:
    """The paper and its code, where they are known."""
    paper = evidence.papers.get(method)
    if paper is None:
        return []
    code = [] if paper.code is None else [("code", paper.code)]
    return [("paper", f"https://arxiv.org/abs/{paper.arxiv}"), *code]


# -------------------------------------------------------------------------------------- first screen


@dataclass(frozen=True)
class Verdicts:
    """A cell of the grid: what is known of a method on a benchmark."""

    kinds: dict[str, int]
    """The number of rows of each verdict."""
    target: str
    """The board that has them."""


def grid(evidence: Evidence) -> dict[str, list[Verdicts]]:
    """Method's title -> a cell for each of `grid_boards`."""
    papers = [name for name, paper in evidence.papers.items() if paper.rows or name in method_names()]
    methods = dict.fromkeys([*(record.method for record in evidence.records), *papers])
    return {
        method_title(method) if method in method_names() else method: [
            _verdicts(method, board) for board in grid_boards(evidence)
        ]
        for method in sorted(methods)
    }


def grid_boards(evidence: Evidence) -> list[Board]:
    """The boards of the grid: of protocols that Rematch can run."""
    return [board for board in evidence.boards if board.protocol in PROTOCOLS]


def _verdicts(method: str, board: Board) -> Verdicts:
    found: list[str] = [
        row.judgement.kind if board.reported else SMOKE for row in board.rows if row.method == method
    ]
    found += [UNKNOWN if row.paper is None else "not run" for row in board.waiting if row.method == method]
    found = [UNKNOWN if kind == "paper value unknown" else kind for kind in found]
    return Verdicts({kind: found.count(kind) for kind in dict.fromkeys(found)}, f"board-{board.protocol}")


def basis(evidence: Evidence) -> str:
    """Say in a sentence what the verdicts rest on today."""
    real = [row for board in evidence.boards if board.reported for row in board.rows]
    judged = [row for row in real if row.comparable]
    kinds: dict[str, int] = {}
    for row in judged:
        kinds[row.judgement.kind] = kinds.get(row.judgement.kind, 0) + 1
    others = len({record.path for record in evidence.records}) - len(
        {r.path for row in real for r in row.records}
    )
    if not judged:
        said = "No run in a paper's set-up is committed yet, so nothing here says whether a paper reproduces."
    else:
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        said = f"{len(judged)} rows are in a paper's set-up: {counts}."
    return f"{said} {others} of the {len(evidence.records)} run records are smoke tests on embedded data."


# ------------------------------------------------------------------------------ paper against ours


@dataclass(frozen=True)
class Drawn:
    """Rows of a table with a strip each, and the axis above them."""

    group: Group
    axis: Markup
    rows: list[tuple[Row, Markup]]


def versus(evidence: Evidence) -> list[Drawn]:
    """The rows of each group that are in the paper's set-up, with the papers' values."""
    found = []
    for group in evidence.groups:
        rows = [row for row in group.rows if row.comparable]
        for metric in ("rsum", "mean_r1"):
            same = [row for row in rows if row.headline == metric]
            marks = [
                Marks(row.mean(metric), row.judgement.interval, row.values(metric), row.paper_value)
                for row in same
            ]
            if same:
                axis, *drawn = strips(marks)
                found.append(Drawn(group, axis, list(zip(same, drawn, strict=True))))
    return found


# ------------------------------------------------------------------------------------------- seeds


def seed_strips(evidence: Evidence) -> list[Drawn]:
    """Each group with a dot a seed, and the paper's value as a line where the two may be compared."""
    found = []
    for group in evidence.groups:
        marks = [
            Marks(
                mean=row.mean("rsum"),
                dots=row.values("rsum"),
                paper=row.paper.rsum if row.paper is not None and row.comparable else None,
            )
            for row in group.rows
        ]
        axis, *drawn = strips(marks)
        found.append(Drawn(group, axis, list(zip(group.rows, drawn, strict=True))))
    return found


# ----------------------------------------------------------------------------------------- latency


@dataclass(frozen=True)
class Speed:
    """Accuracy against latency of a group: only rows whose latency was measured alike."""

    group: Group
    where: str
    chart: Markup
    sheet: Sheet


def speeds(evidence: Evidence) -> list[Speed]:
    """A scatter for each group and way of measuring; rows without latency are left out."""
    found = []
    for group in evidence.groups:
        alike: dict[str, list[Row]] = {}
        for row in group.rows:
            measured = [record.latency for record in row.records if record.latency is not None]
            if row.query_ms is not None:
                alike.setdefault(" / ".join(sorted({_where(item) for item in measured})), []).append(row)
        for where, rows in alike.items():
            found.append(Speed(group, where, _scatter(group, rows, evidence), _speed_sheet(rows)))
    return found


def _speed_sheet(rows: Sequence[Row]) -> Sheet:
    """The rows of a scatter, the fastest first."""
    lines = []
    for row in sorted(rows, key=lambda row: row.query_ms or 0.0):
        sizes = [record.latency.parameters for record in row.records if record.latency is not None]
        assert row.query_ms is not None
        query = Cell(milliseconds(row.query_ms), row.query_ms)
        lines.append((row.name, query, row.mean("rsum"), between(row.bounds("rsum")), *sizes[:1]))
    return make_sheet("accuracy and latency", SPEEDS, lines)


def _where(latency: Latency) -> str:
    """Return the conditions that two latencies must share to stand on one axis."""
    threads = f"{latency.threads} thread{'' if latency.threads == 1 else 's'}"
    return f"{latency.hardware}, {latency.device}, {threads}, {latency.precision}; {latency.method}"


def _scatter(group: Group, rows: Sequence[Row], evidence: Evidence) -> Markup:
    points = [
        Point(
            row.name,
            row.query_ms or 0.0,
            row.mean("rsum"),
            row.bounds("rsum"),
            "#" + evidence.addresses[row.records[0].path],
        )
        for row in rows
    ]
    label = f"rsum against the time to score one caption, {group.protocol}: the table below has the numbers"
    return scatter(points, label, "milliseconds to score one caption against the gallery (logarithmic)")

"""The page's leaderboard, paper against ours, seed strips, and accuracy against latency: from the leaderboard's rows.

What a row says, verdict included, is the leaderboard's; here it is only put into words and drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

from markupsafe import Markup

from benchmark.records.paper import ReportedRow
from benchmark.records.parts import RECALLS, Latency
from benchmark.reporting.leaderboard.rows import Group, Row
from benchmark.reporting.page.evidence import PageEvidence
from benchmark.reporting.page.svg import Marks, Point, scatter, strips
from benchmark.reporting.sheet import NONE, Cell, Column, Sheet, make_sheet
from benchmark.statistics.verdict import Kind

COLUMNS = (
    *(Column(name, name.replace("_r", " R@"), spec=".1f", missing=NONE) for name in (*RECALLS, "rsum")),
    Column("sd", "sd", spec=".2f", missing=NONE),
    *(Column(name, name) for name in ("95 % interval", "paper")),
    Column("difference", "difference", spec="+.2f", missing=NONE),
    Column("query_ms", "query", unit="ms"),
)
SPEEDS = (
    Column("run", "run", "text"),
    Column("query_ms", "query", unit="ms"),
    Column("rsum", "rsum", spec=".1f"),
    *(Column(name, name) for name in ("95 % interval", "parameters")),
)
NAMES = {
    "flickr30k": "Flickr30K",
    "mscoco-1k": "MSCOCO 1K",
    "mscoco-5k": "MSCOCO 5K",
    "cuhk-pedes": "CUHK-PEDES",
}
MEAN_R1 = "mean R@1"


def fixed(value: float | None, digits: int = 1, sign: bool = False) -> str:
    """A number as text; n/a where there is none."""
    return NONE if value is None else f"{value:{'+' if sign else ''}.{digits}f}"


def between(bounds: tuple[float, float] | None, digits: int = 1, sign: bool = False) -> str:
    """An interval as text."""
    return NONE if bounds is None else " to ".join(fixed(bound, digits, sign) for bound in bounds)


def milliseconds(value: float | None) -> str:
    """Return the number with two decimals, or with three digits below a millisecond."""
    return NONE if value is None else f"{value:.2f}" if value >= 1 else f"{value:.3g}"


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
    """A row of the leaderboard with where its pages are."""

    row: Row
    method: str
    status: str
    seeds: list[tuple[int, str]]
    """Each seed and the address of its page."""
    cells: list[Cell]

    @property
    def words(self) -> str:
        """The text that the filter searches."""
        return f"{self.row.name} {self.row.variant} {self.method} {self.row.protocol} {self.status}".lower()


@dataclass(frozen=True)
class Board:
    """A group of the leaderboard: numbers that may stand in one column."""

    group: Group
    columns: list[Column]
    """The columns of COLUMNS for which a row has a value."""
    lines: list[BoardRow]
    apart: str
    """The difference of its signature from others of the same protocol; empty: there is none."""

    @property
    def kind(self) -> str:
        return "ensemble" if self.group.ensemble else "single"

    @property
    def comparable(self) -> str:
        return "yes" if self.group.comparable else "no"


def boards(evidence: PageEvidence) -> list[Board]:
    """All groups of the leaderboard."""
    return [_board(group, tied, evidence) for group, tied in zip(evidence.groups, evidence.tied, strict=True)]


def _board(group: Group, tied: frozenset[str], evidence: PageEvidence) -> Board:
    cells = [_cells(row, row.name in tied) for row in group.rows]
    filled = [
        place for place in range(len(COLUMNS)) if any(found[place].value is not None for found in cells)
    ]
    for place in range(len(RECALLS) + 1) if len(cells) > 1 else ():
        best = max((found[place] for found in cells), key=lambda cell: float(cell.value or 0)).text
        for found in cells:
            found[place] = replace(found[place], emphasis="best" if found[place].text == best else "")
    lines = []
    for row, found in zip(group.rows, cells, strict=True):
        seeds = [(record.seed, evidence.addresses[record.path]) for record in row.records]
        shown = [found[place] for place in filled]
        lines.append(BoardRow(row, row.records[0].method, row.judgement.kind, seeds, shown))
    return Board(group, [COLUMNS[place] for place in filled], lines, apart(group, evidence.groups))


def _cells(row: Row, tied: bool) -> list[Cell]:
    """A cell for each of COLUMNS; intervals are sorted by their width."""
    bounds, paper = row.bounds("rsum"), row.paper_value
    metric = f" ({MEAN_R1})" if row.headline == "mean_r1" and paper is not None else ""
    kind = (
        "" if row.paper is None or row.paper.kind == "reported" or paper is None else f" ({row.paper.kind})"
    )
    values = [
        *(row.mean(name) for name in (*RECALLS, "rsum")),
        row.spread("rsum"),
        Cell(between(bounds), None if bounds is None else bounds[1] - bounds[0]),
        Cell(fixed(paper), paper, tail=metric + kind),
        row.difference,
        Cell(milliseconds(row.query_ms), row.query_ms),
    ]
    cells = [column.cell(value) for column, value in zip(COLUMNS, values, strict=True)]
    cells[len(RECALLS)] = replace(cells[len(RECALLS)], tied=tied)
    return cells


def apart(group: Group, groups: Sequence[Group]) -> str:
    """Fields of the signature in which it differs from others of the same protocol and kind."""
    alike = [other for other in groups if (other.protocol, other.title) == (group.protocol, group.title)]
    signatures = [other.signature.split("|") for other in alike]
    parts = [
        part
        for place, part in enumerate(group.signature.split("|"))
        if any(signature[place] != part for signature in signatures)
    ]
    return ", ".join(part.replace(":", " ") for part in parts)


def tally(evidence: PageEvidence) -> dict[str, int]:
    """Count the rows of each verdict."""
    counts: dict[str, int] = {}
    for group in evidence.groups:
        for row in group.rows:
            counts[row.judgement.kind] = counts.get(row.judgement.kind, 0) + 1
    return {kind: counts[kind] for kind in get_args(Kind) if kind in counts}


# ------------------------------------------------------------------------------ paper against ours


@dataclass(frozen=True)
class Drawn:
    """Rows of a table with a strip each, and the axis above them."""

    group: Group
    axis: Markup
    rows: list[tuple[Row, Markup]]


def versus(evidence: PageEvidence) -> list[Drawn]:
    """Each comparable group with its papers' values; groups that cannot be compared are left to `waiting`."""
    found = []
    for group in evidence.groups:
        rows = [row for row in group.rows if group.comparable]
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


def waiting(evidence: PageEvidence) -> list[tuple[Row, str]]:
    """List the rows that cannot be compared with their paper, with the paper's report of the variant."""
    rows = [row for group in evidence.groups if not group.comparable for row in group.rows]
    return [(row, _reported(evidence, row)) for row in rows]


def _reported(evidence: PageEvidence, row: Row) -> str:
    paper = evidence.papers.get(row.records[0].paper_row.method)
    rows = [] if paper is None else paper.rows
    found = [item for item in rows if item.variant == row.variant]
    return "; ".join(f"{NAMES[item.dataset]} {_value(item)}" for item in found) or "unknown"


def _value(item: ReportedRow) -> str:
    kind = "" if item.kind == "reported" else f" ({item.kind})"
    if item.rsum is not None:
        return f"rsum {item.rsum:.1f}{kind}"
    mean = item.value("mean_r1")
    return f"no rsum{kind}" if mean is None else f"{MEAN_R1} {mean:.1f}{kind}"


# ------------------------------------------------------------------------------------------- seeds


def seed_strips(evidence: PageEvidence) -> list[Drawn]:
    """Each group with a dot a seed, and the paper's value as a line where the two may be compared."""
    found = []
    for group in evidence.groups:
        marks = [
            Marks(
                mean=row.mean("rsum"),
                dots=row.values("rsum"),
                paper=row.paper.rsum if row.paper is not None and group.comparable else None,
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


def speeds(evidence: PageEvidence) -> list[Speed]:
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
        query = Cell(milliseconds(row.query_ms), row.query_ms)
        lines.append((row.name, query, row.mean("rsum"), between(row.bounds("rsum")), *sizes[:1]))
    return make_sheet("accuracy and latency", SPEEDS, lines)


def _where(latency: Latency) -> str:
    """Return the conditions that two latencies must share to stand on one axis."""
    threads = f"{latency.threads} thread{'' if latency.threads == 1 else 's'}"
    return f"{latency.hardware}, {latency.device}, {threads}, {latency.precision}; {latency.method}"


def _scatter(group: Group, rows: Sequence[Row], evidence: PageEvidence) -> Markup:
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

"""The page's leaderboard, paper against ours, seed strips, and accuracy against latency: from the leaderboard's rows.

What a row says, verdict included, is the leaderboard's; here it is only put into words and drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from markupsafe import Markup

from benchmark.records.paper import ReportedRow
from benchmark.records.parts import RECALLS, Latency
from benchmark.reporting.leaderboard.rows import Group, Row
from benchmark.reporting.page.evidence import PageEvidence
from benchmark.reporting.page.svg import Marks, Point, scatter, strips
from benchmark.statistics.verdict import Kind

NONE = "n/a"
HEADS = (*RECALLS, "rsum", "sd", "95 % interval", "paper", "difference", "query ms")
NAMES = {
    "flickr30k": "Flickr30K",
    "mscoco-1k": "MSCOCO 1K",
    "mscoco-5k": "MSCOCO 5K",
    "cuhk-pedes": "CUHK-PEDES",
}
MEAN_R1 = "mean R@1"
Number = tuple[str, float | None]
"""As printed, and its value; None: there is none."""


def fixed(value: float | None, digits: int = 1, sign: bool = False) -> str:
    """A number as text; n/a where there is none."""
    return NONE if value is None else f"{value:{'+' if sign else ''}.{digits}f}"


def between(bounds: tuple[float, float] | None, digits: int = 1, sign: bool = False) -> str:
    """An interval as text."""
    return NONE if bounds is None else " to ".join(fixed(bound, digits, sign) for bound in bounds)


def milliseconds(value: float | None) -> str:
    """Two decimals, or three digits of what is shorter than a millisecond."""
    return NONE if value is None else f"{value:.2f}" if value >= 1 else f"{value:.3g}"


def remark(row: Row) -> str:
    """What the judgement has to say besides its verdict."""
    found = row.judgement
    said = []
    if found.kind == "can't tell" and found.seeds_needed is not None:
        said.append(f"{found.seeds_needed} seeds would tell, at this spread")
    if found.kind == "can't tell" and found.seeds_needed is None:
        said.append("no number of seeds would tell, at this spread")
    if found.within_test_noise:
        said.append("no more than other test images could change")
    return "; ".join(said)


@dataclass(frozen=True)
class BoardCell:
    """A number of the leaderboard."""

    text: str
    value: float | None
    """What it is sorted by."""
    best: bool = False
    tied: bool = False
    """Not told from the best."""


@dataclass(frozen=True)
class BoardRow:
    """A row of the leaderboard with where its pages are."""

    row: Row
    method: str
    status: str
    seeds: list[tuple[int, str]]
    """Each seed and the address of its page."""
    cells: list[BoardCell]

    @property
    def words(self) -> str:
        """What the text filter looks through."""
        return f"{self.row.name} {self.row.variant} {self.method} {self.row.protocol} {self.status}".lower()


@dataclass(frozen=True)
class Board:
    """A group of the leaderboard: numbers that may stand in one column."""

    group: Group
    heads: list[str]
    """Of the cells: those of HEADS for which a row has a value."""
    lines: list[BoardRow]
    apart: str
    """What sets its signature apart from those of the same protocol; empty: nothing does."""

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
    numbers = [_numbers(row) for row in group.rows]
    places = [place for place in range(len(HEADS)) if any(cells[place][1] is not None for cells in numbers)]
    return Board(
        group,
        [HEADS[place] for place in places],
        _lines(group, tied, places, evidence.addresses),
        apart(group, evidence.groups),
    )


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


def _lines(
    group: Group, tied: frozenset[str], places: Sequence[int], addresses: Mapping[Path, str]
) -> list[BoardRow]:
    numbers = [_numbers(row) for row in group.rows]
    best = [_best(numbers, place) if len(group.rows) > 1 else "" for place in range(len(RECALLS) + 1)]
    lines = []
    for row, cells in zip(group.rows, numbers, strict=True):
        marked = [
            BoardCell(
                *cells[n], n < len(best) and cells[n][0] == best[n], HEADS[n] == "rsum" and row.name in tied
            )
            for n in places
        ]
        seeds = [(record.seed, addresses[record.path]) for record in row.records]
        lines.append(BoardRow(row, row.records[0].method, row.judgement.kind, seeds, marked))
    return lines


def _best(numbers: Sequence[Sequence[Number]], place: int) -> str:
    """The best number of a column, as it is printed."""
    return max((cells[place] for cells in numbers), key=lambda cell: cell[1] or 0.0)[0]


def _numbers(row: Row) -> list[Number]:
    """Text and value of each of HEADS."""
    bounds, spread = row.bounds("rsum"), row.spread("rsum")
    metric = f" ({MEAN_R1})" if row.headline == "mean_r1" and row.paper_value is not None else ""
    kind = "" if row.paper is None or row.paper.kind == "reported" else f" ({row.paper.kind})"
    paper = row.paper_value
    return [
        *((fixed(row.mean(name)), row.mean(name)) for name in (*RECALLS, "rsum")),
        (fixed(spread, 2), spread),
        (between(bounds), None if bounds is None else bounds[1] - bounds[0]),
        (fixed(paper) if paper is None else f"{paper:.1f}{metric}{kind}", paper),
        (fixed(row.difference, 2, sign=True), row.difference),
        (milliseconds(row.query_ms), row.query_ms),
    ]


def tally(evidence: PageEvidence) -> dict[str, int]:
    """How many rows have which verdict."""
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
    """Rows that cannot be held against their paper, with what the paper reports of the variant."""
    rows = [row for group in evidence.groups if not group.comparable for row in group.rows]
    return [(row, _reported(evidence, row)) for row in rows]


def _reported(evidence: PageEvidence, row: Row) -> str:
    paper = evidence.papers[row.records[0].paper_row.method]
    found = [item for item in paper.rows if item.variant == row.variant]
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
    rows: list[Row]


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
            found.append(Speed(group, where, _scatter(group, rows, evidence), rows))
    return found


def _where(latency: Latency) -> str:
    """What two latencies must share to stand on one axis."""
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

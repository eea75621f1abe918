"""The page's leaderboard, paper against ours, seed strips, and accuracy against latency: from the leaderboard's rows.

What a row says, verdict included, is the leaderboard's; here it is only put into words and drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from markupsafe import Markup

from benchmark.evaluation.protocol import PROTOCOLS
from benchmark.records.parts import RECALLS, Latency
from benchmark.registry import method_names, method_title
from benchmark.reporting.leaderboard.content import NAMES
from benchmark.reporting.leaderboard.rows import Group, Row
from benchmark.reporting.leaderboard.waiting import BENCHMARKS, Waiting
from benchmark.reporting.page.evidence import PageEvidence, rows_of
from benchmark.reporting.page.svg import Marks, Point, scatter, strips
from benchmark.reporting.sheet import NONE, Cell, Column, Sheet, make_sheet

COLUMNS = (
    *(Column(name, name.replace("_r", " R@"), spec=".1f", missing=NONE) for name in (*RECALLS, "rsum")),
    Column("sd", "sd", spec=".2f", missing=NONE),
    *(Column(name, name) for name in ("95 % interval", "paper")),
    Column("difference", "difference", spec="+.2f", missing=NONE),
    Column("query_ms", "query", unit="ms"),
    Column("reads", "reads", "text"),
    Column("departures", "departures"),
)
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
    seeds: list[tuple[int, str]]
    """Each seed and the address of its page."""
    cells: list[Cell]
    links: list[tuple[str, str]]
    """Names and targets: recipe, record, paper, code."""

    @property
    def words(self) -> str:
        """The text that the filter searches."""
        return f"{self.name} {self.title} {self.method} {self.protocol} {self.status}".lower()


@dataclass(frozen=True)
class Board:
    """A table of the leaderboard: one protocol and test split."""

    protocol: str
    title: str
    size: str
    signature: str
    columns: list[Column]
    """The columns of COLUMNS for which a row has a value."""
    lines: list[BoardRow]
    files: list[tuple[str, str]]
    """Name and target of each format in which the table lies beside the page."""


def boards(evidence: PageEvidence) -> list[Board]:
    """All tables of the leaderboard: those of the papers' benchmarks first, the embedded data last."""
    found = []
    for protocol, waits in evidence.waiting.items():
        pairs = [
            (g, t) for g, t in zip(evidence.groups, evidence.tied, strict=True) if g.protocol == protocol
        ]
        lines = [_waiting_line(row, evidence) for row in waits]
        made = [
            _board(group, _lines(group, tied, evidence), lines if number == 0 else [])
            for number, (group, tied) in enumerate(pairs)
        ]
        found += made or [_board(protocol, [], lines)]
    return found


def _board(group: Group | str, runs: Sequence[BoardRow], waits: Sequence[BoardRow]) -> Board:
    protocol = group if isinstance(group, str) else group.protocol
    lines = [*runs, *waits]
    filled = [n for n in range(len(COLUMNS)) if any(line.cells[n].value is not None for line in lines)]
    lines = [replace(line, cells=[line.cells[place] for place in filled]) for line in lines]
    return Board(
        protocol=protocol,
        title=NAMES.get(protocol, protocol),
        size="no run of ours yet" if isinstance(group, str) else group.size,
        signature="" if isinstance(group, str) else group.signature,
        columns=[COLUMNS[place] for place in filled],
        lines=lines,
        files=[(name, f"tables/{protocol}.{kind}") for kind, name in FORMATS.items()],
    )


def _lines(group: Group, tied: frozenset[str], evidence: PageEvidence) -> list[BoardRow]:
    cells = [_cells(row, row.name in tied) for row in group.rows]
    for place in range(len(RECALLS) + 1) if len(cells) > 1 else ():
        best = max((found[place] for found in cells), key=lambda cell: float(cell.value or 0)).text
        for found in cells:
            found[place] = replace(found[place], emphasis="best" if found[place].text == best else "")
    return [_line(row, found, evidence) for row, found in zip(group.rows, cells, strict=True)]


def _line(row: Row, cells: list[Cell], evidence: PageEvidence) -> BoardRow:
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
        seeds=[(found.seed, evidence.addresses[found.path]) for found in row.records],
        cells=cells,
        links=[
            ("recipe", f"../{record.recipe_path}"),
            ("record", f"runs/{record.path.as_posix()}"),
            *_paper_links(record.paper_row.method, evidence),
        ],
    )


def _waiting_line(row: Waiting, evidence: PageEvidence) -> BoardRow:
    """A row of a paper; its numbers stand where ours will."""
    values = {name: None if row.paper is None else row.paper.value(name) for name in (*RECALLS, "rsum")}
    cells = [column.cell(values.get(column.key)) for column in COLUMNS]
    recipe = [] if row.recipe is None else [("recipe", f"../{row.recipe}")]
    return BoardRow(
        title=row.title,
        name="",
        method=row.method,
        status="not run",
        remark=row.status,
        kind="ensemble" if row.paper is not None and row.paper.ensemble else "single",
        comparable="no",
        protocol=row.protocol,
        seeds=[],
        cells=cells,
        links=[*recipe, *_paper_links(row.method, evidence)],
    )


def _paper_links(method: str, evidence: PageEvidence) -> list[tuple[str, str]]:
    """The paper and its code, where they are known."""
    paper = evidence.papers.get(method)
    if paper is None:
        return []
    code = [] if paper.code is None else [("code", paper.code)]
    return [("paper", f"https://arxiv.org/abs/{paper.arxiv}"), *code]


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
        row.reads,
        len(row.departures),
    ]
    cells = [column.cell(value) for column, value in zip(COLUMNS, values, strict=True)]
    cells[len(RECALLS)] = replace(cells[len(RECALLS)], tied=tied)
    return cells


# -------------------------------------------------------------------------------------- first screen


@dataclass(frozen=True)
class Verdicts:
    """A cell of the grid: what is known of a method on a benchmark."""

    kinds: dict[str, int]
    """The number of rows of each verdict."""
    target: str
    """The board that has them."""


def grid(evidence: PageEvidence) -> dict[str, list[Verdicts]]:
    """Method's title -> a cell for each of `grid_protocols`."""
    methods = dict.fromkeys([*(record.method for record in evidence.records), *evidence.papers])
    return {
        method_title(method) if method in method_names() else method: [
            _verdicts(method, protocol, evidence) for protocol in grid_protocols(evidence)
        ]
        for method in sorted(methods)
    }


def grid_protocols(evidence: PageEvidence) -> list[str]:
    """The protocols of the grid: those that Rematch can run."""
    return [protocol for protocol in evidence.waiting if protocol in PROTOCOLS]


def _verdicts(method: str, protocol: str, evidence: PageEvidence) -> Verdicts:
    rows = [row for row in rows_of(evidence.groups, protocol) if row.method == method]
    found = [row.judgement.kind if protocol in BENCHMARKS else SMOKE for row in rows]
    waits = [row for row in evidence.waiting[protocol] if row.method == method]
    found += [UNKNOWN if row.paper is None else "not run" for row in waits]
    found = [UNKNOWN if kind == "paper value unknown" else kind for kind in found]
    return Verdicts({kind: found.count(kind) for kind in dict.fromkeys(found)}, f"board-{protocol}")


def basis(evidence: PageEvidence) -> str:
    """Say in a sentence what the verdicts rest on today."""
    real = [row for group in evidence.groups for row in group.rows if group.protocol in BENCHMARKS]
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


def versus(evidence: PageEvidence) -> list[Drawn]:
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


def seed_strips(evidence: PageEvidence) -> list[Drawn]:
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

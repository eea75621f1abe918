"""The columns of the leaderboard and the cells of its rows, the same in the tables and on the report page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from benchmark.records.paper import ReportedRow
from benchmark.records.parts import RECALLS
from benchmark.reporting.leaderboard.rows import Group, Row
from benchmark.reporting.leaderboard.waiting import BENCHMARKS, Waiting
from benchmark.reporting.sheet import NONE, Cell, Column, Emphasis, Value

NUMBERS = (*RECALLS, "rsum")
OVER = {"i2t": "image to text", "t2i": "text to image"}
COLUMNS = {
    column.key: column
    for column in (
        Column("method", "method", "text"),
        Column("run", "run", "text", second_name=True),
        Column("reads", "reads", "text"),
        Column("models", "models"),
        Column("precision", "scores in", "text"),
        Column("n", "n"),
        *(
            Column(f"{way}_r{k}", f"{way} R@{k}", over=OVER[way], under=f"R@{k}", spec=".1f", missing=NONE)
            for way in OVER
            for k in (1, 5, 10)
        ),
        Column("rsum", "rsum ± sd", over="rsum", under="mean ± sd", spec=".1f", missing=NONE, spread=True),
        Column("sd", "sd", hidden=True),
        Column("interval", "95 % interval", over="rsum"),
        Column("query_ms", "query", unit="ms", missing=NONE),
        Column("paper", "paper", spec=".1f"),
        Column("difference", "difference", spec="+.2f", missing=NONE),
        Column("verdict", "verdict", "text"),
        Column("departures", "departures"),
        Column("needs", "needs", "text"),
    )
}
"""All columns that a table of the leaderboard may have, by their keys."""
ALONE = COLUMNS | {"rsum": replace(COLUMNS["rsum"], heading="rsum", over="", under="")}
"""The same where there is no run of ours: papers' numbers have no spread."""
KINDS = {"reported": "paper", "cited": "paper (cited)", "derived": "paper (derived)"}
"""The name of a paper's line, by the kind of its numbers."""


CHANCE = "chance"
"""The name of the line of what a random order scores."""


def group_cells(group: Group, tied: frozenset[str] | None) -> list[dict[str, Cell]]:
    """The cells of each row by their columns' keys; best and second are marked, and ties with the best rsum."""
    places = {name: _places(group.rows, name) for name in NUMBERS}
    found = []
    for number, row in enumerate(group.rows):
        cells = _cells(row)
        for name in NUMBERS:
            cells[name] = replace(cells[name], emphasis=places[name][number])
        cells["rsum"] = replace(cells["rsum"], tied=tied is not None and row.name in tied)
        found.append(cells)
    return found


def _cells(row: Row) -> dict[str, Cell]:
    bounds, mean_r1 = row.bounds("rsum"), " (mean R@1)" if row.headline == "mean_r1" else ""
    values: dict[str, Value] = {
        "method": row.title,
        "run": row.name,
        "reads": row.reads,
        "models": row.models,
        "precision": row.records[0].score_precision,
        "n": len(row.records),
        **{name: row.mean(name) for name in NUMBERS},
        "sd": row.spread("rsum"),
        "interval": NONE if bounds is None else f"{bounds[0]:.1f} to {bounds[1]:.1f}",
        "query_ms": row.query_ms,
        "paper": row.paper_value,
        "difference": row.difference,
        "verdict": "not comparable" if row.departures else row.verdict,
        "departures": len(row.departures),
    }
    cells = {key: column.cell(values.get(key)) for key, column in COLUMNS.items()}
    for name in NUMBERS:
        spread = row.spread(name)
        text = "" if spread is None else f"{spread:.1f}"
        if name == "rsum":  # always said
            text = NONE if spread is None else f"{spread:.2f}"
        cells[name] = replace(cells[name], spread=text)
    if row.query_ms is not None:
        cells["query_ms"] = Cell(milliseconds(row.query_ms), row.query_ms)
    if row.paper is not None and row.paper_value is not None:
        kind = "" if row.paper.kind == "reported" else f" ({row.paper.kind})"
        cells["paper"] = replace(cells["paper"], tail=mean_r1 + kind)
    if row.difference is not None:
        cells["difference"] = replace(cells["difference"], tail=mean_r1)
    return cells


def milliseconds(value: float) -> str:
    """Return the number with two decimals, or with three digits below a millisecond."""
    return f"{value:.2f}" if value >= 1 else f"{value:.3g}"


def paper_cells(title: str, paper: ReportedRow) -> dict[str, Cell]:
    """The cells of a line of a paper: its numbers; what stands under `method` in CSV and JSON is not shown."""
    cells = {key: COLUMNS[key].cell(paper.value(key)) for key in NUMBERS}
    return {"method": Cell(value=title), "run": COLUMNS["run"].cell(KINDS[paper.kind]), **cells}


def chance_cells(chance: Mapping[str, float]) -> dict[str, Cell]:
    """The cells of the line of what a random order scores."""
    cells = {key: COLUMNS[key].cell(chance.get(key)) for key in NUMBERS}
    return {"method": Cell(value=CHANCE), "run": COLUMNS["run"].cell(CHANCE), **cells}


def waiting_cells(row: Waiting) -> dict[str, Cell]:
    """The cells of a row of a paper that waits for a run; its numbers stand where ours will."""
    cells = {key: COLUMNS[key].cell(None) for key in NUMBERS}
    if row.paper is not None:
        cells = paper_cells(row.title, row.paper)
    needs = Cell() if row.needs is None else Cell(str(row.needs), str(row.needs))
    return cells | {
        "method": Cell(row.title, row.title),
        "verdict": Cell(row.status, row.status),
        "needs": needs,
    }


def column_names(group: Group) -> tuple[str, ...]:
    """The keys of the columns that a group needs; what all rows share needs none, but for the number of seeds."""
    latency = ["query_ms"] if any(row.query_ms is not None for row in group.rows) else []
    models = ["models"] if any(row.models > 1 for row in group.rows) else []
    precisions = {row.records[0].score_precision for row in group.rows}
    precision = ["precision"] if len(precisions) > 1 else []
    departures = ["departures"] if any(row.departures for row in group.rows) else []
    reported = group.protocol in BENCHMARKS or any(row.paper is not None for row in group.rows)
    judged = ["difference", "verdict"] if reported else []
    return (
        *("method", "run", "reads", *models, *precision, "n", *NUMBERS, "sd", "interval"),
        *(*latency, *judged, *departures),
    )


def _places(rows: Sequence[Row], name: str) -> list[Emphasis]:
    """Best and second of a column, as shown: equal texts share a place; alone there is no best, of two no second."""
    shown = [f"{row.mean(name):.1f}" for row in rows]
    values = sorted(set(shown), key=float, reverse=True)
    order: dict[str, Emphasis] = {}
    if len(shown) > 1:
        order[values[0]] = "best"
    if len(shown) > 2 and len(values) > 1:
        order[values[1]] = "second"
    return [order.get(text, "") for text in shown]

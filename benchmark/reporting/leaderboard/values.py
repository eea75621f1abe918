"""Every number and every word of the leaderboard's rows, for CSV and JSON."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from benchmark.records.paper import ReportedRow
from benchmark.records.parts import METRICS
from benchmark.reporting.leaderboard.boards import Board
from benchmark.reporting.leaderboard.rows import Row
from benchmark.reporting.leaderboard.waiting import Waiting
from benchmark.reporting.leaderboard.words import members, paper_remark
from benchmark.reporting.sheet import Column, Sheet, Value, make_sheet

HEAD = ("protocol", "comparable", "models", "method", "title", "variant", "run", "n_seeds", "seeds")
"""The first columns of `values_sheet`."""
TAIL = (
    *("headline", "difference", "query_ms", "verdict", "departures", "members", "features"),
    *("paper_kind", "paper_source", "paper_remark", "command", "recipe"),
    *("estimated_seconds", "estimated_bytes", "estimated_on", "signature"),
)
PARTS = ("", "_sd", "_low", "_high", "_paper")


def values_sheet(boards: Iterable[Board]) -> Sheet:
    """Every row with all its numbers and all its words."""
    numbers = [f"{name}{part}" for name in METRICS for part in PARTS]
    keys = [*HEAD, *numbers, *TAIL]
    columns = [Column(key, key, decimals=4) for key in keys]
    found = []
    for board in boards:
        found += [_values(row, board.papers) for row in board.rows]
        found += [_waiting_values(row, board.papers) for row in board.waiting]
    return make_sheet("leaderboard", columns, [[values.get(key) for key in keys] for values in found])


def _values(row: Row, paper_dir: Path) -> dict[str, Value]:
    first = row.records[0]
    values: dict[str, Value] = {
        "protocol": row.protocol,
        "comparable": row.comparable,
        "models": row.models,
        "method": first.method,
        "title": row.title,
        "variant": row.variant,
        "run": row.name,
        "n_seeds": len(row.records),
        "seeds": " ".join(map(str, row.seeds)),
        "headline": row.headline,
        "difference": row.difference,
        "query_ms": row.query_ms,
        "verdict": row.verdict,
        "departures": "; ".join(row.departures),
        "members": members(row),
        "features": row.features,
        **_paper_words(row.paper, first.paper_method, paper_dir),
        "recipe": first.recipe_path,
        "signature": row.signature,
    }
    for name in METRICS:
        low, high = row.bounds(name) or (None, None)
        paper = None if row.paper is None else row.paper.value(name)
        parts = (row.mean(name), row.spread(name), low, high, paper)
        values |= {f"{name}{part}": value for part, value in zip(PARTS, parts, strict=True)}
    return values


def _waiting_values(row: Waiting, paper_dir: Path) -> dict[str, Value]:
    values: dict[str, Value] = {
        "protocol": row.protocol,
        "method": row.method,
        "title": row.title,
        "variant": row.variant,
        "n_seeds": 0,
        "verdict": row.status,
        **_paper_words(row.paper, row.method, paper_dir),
        "command": row.command,
        "recipe": row.recipe,
    }
    if row.needs is not None:
        values["estimated_seconds"] = round(row.needs.seconds)
        values["estimated_bytes"] = row.needs.memory_bytes
        values["estimated_on"] = f"one thread of {' and '.join(row.needs.hardware)}"
    paper = {} if row.paper is None else {f"{name}_paper": row.paper.value(name) for name in METRICS}
    return values | paper


def _paper_words(paper: ReportedRow | None, method: str, paper_dir: Path) -> dict[str, Value]:
    return {
        "paper_kind": None if paper is None else paper.kind,
        "paper_source": None if paper is None else paper.source,
        "paper_remark": paper_remark(method, paper_dir),
    }

"""Tables as CSV: every row of a protocol with all its numbers and all its words."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from benchmark.records.paper import PAPER
from benchmark.records.parts import METRICS
from benchmark.reporting.leaderboard.content import features, paper_remark
from benchmark.reporting.leaderboard.rows import Group, Row

CSV_KEYS = ("protocol", "comparable", "ensemble", "method", "variant", "run", "n_seeds", "seeds")
CSV_COLUMNS = (
    *CSV_KEYS,
    *(f"{name}{part}" for name in METRICS for part in ("", "_sd", "_low", "_high", "_paper")),
    *("headline", "difference", "query_ms", "verdict", "departures", "members", "features"),
    *("paper_kind", "paper_source", "paper_remark", "signature"),
)


def comma_separated(groups: Sequence[Group], paper_dir: Path = PAPER) -> str:
    """Every row of every group, all numbers, four decimals; empty: unknown."""
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for group in groups:
        for row in group.rows:
            writer.writerow(_words(group, row, paper_dir) | _numbers(row))
    return out.getvalue()


def _words(group: Group, row: Row, paper_dir: Path) -> dict[str, str]:
    first = row.records[0]
    return {
        "protocol": row.protocol,
        "comparable": "yes" if group.comparable else "no",
        "ensemble": "yes" if group.ensemble else "no",
        "method": first.method,
        "variant": row.variant,
        "run": row.name,
        "n_seeds": str(len(row.records)),
        "seeds": " ".join(map(str, row.seeds)),
        "headline": row.headline,
        "verdict": row.verdict,
        "departures": "; ".join(row.departures),
        "members": " + ".join(dict.fromkeys(member.run for member in first.members)),
        "features": features(first),
        "paper_kind": "" if row.paper is None else row.paper.kind,
        "paper_source": "" if row.paper is None else row.paper.source,
        "paper_remark": paper_remark(first.paper_row.method, paper_dir) or "",
        "signature": group.signature,
    }


def _numbers(row: Row) -> dict[str, str]:
    values = {"difference": row.difference, "query_ms": row.query_ms}
    for name in METRICS:
        low, high = row.bounds(name) or (None, None)
        paper = None if row.paper is None else row.paper.value(name)
        parts = {"": row.mean(name), "_sd": row.spread(name), "_low": low, "_high": high, "_paper": paper}
        values |= {f"{name}{part}": value for part, value in parts.items()}
    return {name: "" if value is None else f"{value:.4f}" for name, value in values.items()}

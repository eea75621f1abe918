"""Drift's report as text, Markdown or JSON: a table that names run and quantity, and the queries that moved."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from benchmark.checks.drift.findings import Finding, Report
from benchmark.files import plain
from benchmark.reporting.diff.show import queries_sheet
from benchmark.reporting.sheet import Format, Sheet, markdown_of, number, text_of

HEADER = ("run", "check", "quantity", "reference", "found", "change", "tolerance", "", "")


def render(report: Report, form: Format) -> str:
    """The whole report in one of the formats."""
    if form == "json":
        return json.dumps(document(report), indent=1, ensure_ascii=False, allow_nan=False)
    return text_of(text_sheets(report)) if form == "text" else markdown_of(markdown_sheets(report))


def document(report: Report) -> Any:
    """The report as JSON types; a number that isn't finite is null."""
    findings = [asdict(item) | {"state": item.state} for item in report.findings]
    queries = {run: asdict(changes) for run, changes in report.queries.items()}
    return _finite(
        plain({"ok": report.ok, "drifted": report.drifted(), "findings": findings, "queries": queries})
    )


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def text_sheets(report: Report) -> list[Sheet]:
    """All findings in one table, then the queries."""
    return [_findings("drift", report.findings), *_queries(report)]


def markdown_sheets(report: Report) -> list[Sheet]:
    """What drifted, with its queries; what is undecided; all findings, folded."""
    drifted = report.drifted()
    runs = list(dict.fromkeys(item.run for item in report.findings))
    title = f"drift: {len(drifted)} of {len(runs)} runs" if drifted else f"no drift in {len(runs)} runs"
    notes = tuple(f"{run}: {', '.join(checks)}" for run, checks in drifted.items())
    sheets = [Sheet(title, notes=notes)]
    for name, state in (("out of tolerance", "drift"), ("undecided", "undecided")):
        found = [item for item in report.findings if item.state == state]
        if found:
            sheets.append(_findings(name, found))
    everything = _findings(f"all {len(report.findings)} findings", report.findings)
    return [*sheets, *_queries(report), replace(everything, folded=True)]


def _findings(title: str, findings: Sequence[Finding]) -> Sheet:
    loud = frozenset(place for place, item in enumerate(findings) if not item.ok)
    return Sheet(title, HEADER, tuple(map(_row, findings)), left=3, loud=loud)


def _row(item: Finding) -> tuple[str, ...]:
    numbers = (item.reference, item.found, item.found - item.reference, item.tolerance)
    return (item.run, item.check, item.quantity, *map(number, numbers), item.state, item.note)


def _queries(report: Report) -> list[Sheet]:
    return [
        queries_sheet(f"{run}: queries that changed most", changes) for run, changes in report.queries.items()
    ]

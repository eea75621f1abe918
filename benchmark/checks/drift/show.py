"""Drift's report as sheets and as a document: every compared quantity, and the queries that moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from benchmark.checks.drift.findings import Finding, Report
from benchmark.reporting.diff.show import queries_sheet
from benchmark.reporting.sheet import Column, Sheet, Value, make_sheet

COLUMNS = (
    *(Column(name, name, "text") for name in ("run", "check", "quantity")),
    *(Column(name, name) for name in ("reference", "found", "change", "tolerance")),
    *(Column("state"), Column("note")),
)


def document(report: Report) -> dict[str, Any]:
    """The report as JSON types."""
    findings = [asdict(item) | {"state": item.state} for item in report.findings]
    queries = {run: asdict(changes) for run, changes in report.queries.items()}
    return {"ok": report.ok, "drifted": report.drifted(), "findings": findings, "queries": queries}


def text_sheets(report: Report) -> list[Sheet]:
    """All findings in one table, then the queries."""
    return [_findings("drift", report.findings), *_queries(report)]


def markdown_sheets(report: Report) -> list[Sheet]:
    """Make the sheets: the runs that drifted, with their queries; the undecided ones; all findings, folded."""
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
    alarms = [number for number, item in enumerate(findings) if not item.ok]
    return make_sheet(title, COLUMNS, map(_row, findings), alarms=alarms)


def _row(item: Finding) -> tuple[Value, ...]:
    numbers = (item.reference, item.found, item.found - item.reference, item.tolerance)
    return item.run, item.check, item.quantity, *numbers, item.state, item.note


def _queries(report: Report) -> list[Sheet]:
    return [
        queries_sheet(f"{run}: queries that changed most", changes) for run, changes in report.queries.items()
    ]

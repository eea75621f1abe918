"""The verification of a dataset as a sheet: every check, and below them what to do about those that differ."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.data.published.verification import Check
from benchmark.reporting.sheet import Sheet, make_sheet


def checks_sheet(checks: Sequence[Check], title: str = "verification") -> Sheet:
    """All checks, a line between splits; each advice stands once."""
    heads = ("split", "check", "state", "expected", "found")
    rows = [(check.split, check.what, check.verdict, check.expected, check.found) for check in checks]
    alarms = [number for number, check in enumerate(checks) if check.differs]
    advice: dict[str, list[str]] = {}
    for check in checks:
        if check.hint:
            advice.setdefault(check.hint, []).append(f"{check.split} {check.what}")
    notes = [f"{', '.join(names)}: {hint}" for hint, names in advice.items()]
    return make_sheet(title, heads, rows, left=5, notes=notes, alarms=alarms, group=0)

"""The findings of drift: one line a compared quantity, and the queries of runs whose ranks moved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from benchmark.reporting.diff.queries import QueryChanges


@dataclass(frozen=True)
class Finding:
    """One compared quantity."""

    run: str
    check: str
    quantity: str
    reference: float
    found: float
    tolerance: float | None
    """Absolute; None: there is too little to decide with."""
    note: str = ""

    @property
    def state(self) -> Literal["ok", "drift", "undecided"]:
        if self.tolerance is None:
            return "undecided"
        within = abs(self.found - self.reference) <= self.tolerance  # false for NaN
        return "ok" if within else "drift"

    @property
    def ok(self) -> bool:
        """True unless the quantity drifted; an undecided one is no drift."""
        return self.state != "drift"


@dataclass
class Report:
    """All that one call of drift found."""

    findings: list[Finding] = field(default_factory=list)
    queries: dict[str, QueryChanges] = field(default_factory=dict)
    """The changed queries of each run with a differing rank; queries that moved by more than rounding are named."""

    @property
    def ok(self) -> bool:
        return all(finding.ok for finding in self.findings)

    def drifted(self) -> dict[str, list[str]]:
        """Runs that drifted with their checks that say so, in order."""
        found: dict[str, list[str]] = {}
        for item in self.findings:
            if not item.ok and item.check not in found.setdefault(item.run, []):
                found[item.run].append(item.check)
        return found


def worst(
    run: str, check: str, quantity: str, reference: Sequence[float], found: Sequence[float], tolerance: float
) -> Finding:
    """The entry that is furthest off stands for a whole series; a missing entry is a NaN."""
    padded = np.full(len(reference), math.nan)
    padded[: len(found)] = found[: len(reference)]
    off = np.abs(padded - np.array(reference))
    place = int(np.argmax(np.where(np.isnan(off), np.inf, off)))
    name = f"{quantity} {place} of {len(reference)}, the worst"
    return Finding(run, check, name, reference[place], float(padded[place]), tolerance)

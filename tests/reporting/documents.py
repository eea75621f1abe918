"""A few of the committed documents: one of every kind, and quick to read."""

from __future__ import annotations

from pathlib import Path

from benchmark.places import RUNS, STUDIES
from benchmark.records.record import read_all
from tests.paths import ROOT


def chosen_documents() -> list[Path]:
    """A record of each method, an ensemble with its members, and all studies."""
    records = read_all(ROOT / RUNS)
    kept = {record.method: record for record in reversed(records) if not record.members}
    both = next(record for record in records if record.members)
    names = {(member.run, member.seed) for member in both.members}
    members = [
        record
        for record in records
        if record.dataset.name == both.dataset.name and (record.run, record.seed) in names
    ]
    paths = {record.path for record in [*kept.values(), both, *members]}
    studies = [path.relative_to(ROOT) for path in (ROOT / STUDIES).glob("*.json")]
    return sorted([RUNS / path for path in paths]) + sorted(studies)
